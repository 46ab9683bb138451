//! The peer [warp](https://docs.rs/warp).

use std::convert::Infallible;

use futures_util::{Stream, StreamExt as _, stream};
use warp::{Reply as _, sse};

use crate::{Payload, Peer, ok, poll_body, to_json};

/// warp's `sse::reply` with its default keep-alive.
pub struct Warp;

impl Warp {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let event = sse::Event::default();
            let event = match item.json {
                Some(json) => to_json(event.json_data(json)),
                None => event.data(item.data),
            };
            ok(match item.id {
                None => event,
                Some(id) => event.event("delta").id(id.to_string()),
            })
        })
    }
}

impl Peer for Warp {
    const NAME: &'static str = "warp";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let source = Self::events(payload);
        let reply = sse::reply(sse::keep_alive().stream(source));
        poll_body(reply.into_response().into_body(), each);
    }
}
