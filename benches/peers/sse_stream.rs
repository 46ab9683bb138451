//! The peer [sse-stream](https://docs.rs/sse-stream).

use std::convert::Infallible;

use futures_util::{Stream, StreamExt as _, stream};
use sse_stream::{Sse, SseBody};

use crate::{Payload, Peer, ok, poll_body};

/// The `SseBody` of sse-stream.
pub struct SseStream;

impl SseStream {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<Sse, Infallible>> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let id = item.id;
            let event = match item.json {
                Some(_) => Sse::default().data(item.into_text()),
                None => Sse::default().data(item.data),
            };
            ok(match id {
                None => event,
                Some(id) => event.event("delta").id(id.to_string()),
            })
        })
    }
}

impl Peer for SseStream {
    const NAME: &'static str = "sse-stream";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let source = Self::events(payload);
        poll_body(SseBody::new(source), each);
    }
}
