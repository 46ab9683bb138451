//! This crate: events, clones of an encoded event, constants, and the encoder alone.

use std::hint::black_box;

use bytes::BytesMut;
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{EncodedEvent, Event, EventType, Json, Sse};

use crate::{FRAME, Payload, Peer, poll_body};

/// A stream of events as an `Sse` body.
pub struct HttpSse;

impl HttpSse {
    pub fn events(payload: Payload) -> impl Stream<Item = Event> + Send + Sync + Unpin + use<> {
        const DELTA: EventType = EventType::from_static("delta");
        stream::iter(payload.items()).map(|item| {
            let event = Event::data(item.data);
            match item.id {
                None => event,
                Some(id) => event.event_type(DELTA).id(id),
            }
        })
    }
}

impl Peer for HttpSse {
    const NAME: &'static str = "http-sse";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        if let Some(json) = payload.json {
            let source = stream::iter(payload.items()).map(move |_| Json(black_box(json)));
            return poll_body(Sse::new(source).into_body(), each);
        }
        let source = Self::events(payload);
        poll_body(Sse::new(source).into_body(), each);
    }
}

/// Clones of one encoded event.
pub struct HttpSseEncoded;

impl Peer for HttpSseEncoded {
    const NAME: &'static str = "http-sse, EncodedEvent";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let event = EncodedEvent::from(Event::data(payload.data));
        let source = stream::repeat(event).take(payload.events as usize);
        poll_body(Sse::new(source).into_body(), each);
    }
}

/// Copies of a constant event, which have no reference count.
pub struct HttpSseConstant;

impl Peer for HttpSseConstant {
    const NAME: &'static str = "http-sse, EncodedEvent::from_static";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let event = EncodedEvent::from_static(payload.wire().leak());
        let source = stream::repeat(event).take(payload.events as usize);
        poll_body(Sse::new(source).into_body(), each);
    }
}

/// The encoder alone, without a body. It writes into a buffer of the size of a frame.
pub struct HttpSseEncode;

impl Peer for HttpSseEncode {
    const NAME: &'static str = "http-sse, encode";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        let mut buffer = BytesMut::with_capacity(FRAME + payload.data.len() + 64);
        for item in payload.items() {
            let Ok(()) = http_sse::encode(Event::data(item.data), &mut buffer);
            if buffer.len() >= FRAME {
                each(&buffer);
                buffer.clear();
            }
        }
        each(&buffer);
    }
}
