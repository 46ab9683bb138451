//! The peer [salvo](https://docs.rs/salvo).

use std::convert::Infallible;

use futures_util::{Stream, StreamExt as _, stream};
use salvo::{Response, sse};

use crate::{Payload, Peer, ok, poll_body, to_json};

/// salvo's `SseKeepAlive`.
pub struct Salvo;

impl Salvo {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<sse::SseEvent, Infallible>> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let event = sse::SseEvent::default();
            let event = match item.json {
                Some(json) => to_json(event.json(json)),
                None => event.text(item.data),
            };
            ok(match item.id {
                None => event,
                Some(id) => event.name("delta").id(id.to_string()),
            })
        })
    }
}

impl Peer for Salvo {
    const NAME: &'static str = "salvo";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let source = Self::events(payload);
        let mut response = Response::new();
        sse::SseKeepAlive::new(source).stream(&mut response);
        poll_body(response.take_body(), each);
    }
}
