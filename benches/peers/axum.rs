//! The peer [axum](https://docs.rs/axum).

use std::convert::Infallible;

use axum::response::{IntoResponse as _, sse};
use futures_util::{Stream, StreamExt as _, stream};

use crate::{Item, Payload, Peer, ok, poll_body, to_json};

/// axum's `Sse` with its default keep-alive.
pub struct Axum;

impl Axum {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<sse::Event, Infallible>> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let event = sse::Event::default();
            ok(match item {
                Item {
                    json: Some(json), ..
                } => to_json(event.json_data(json)),
                Item { id: None, data, .. } => event.data(data),
                Item {
                    id: Some(id), data, ..
                } => event.event("delta").id(id.to_string()).data(data),
            })
        })
    }
}

impl Peer for Axum {
    const NAME: &'static str = "axum";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let source = Self::events(payload);
        let sse = sse::Sse::new(source).keep_alive(sse::KeepAlive::default());
        poll_body(sse.into_response().into_body(), each);
    }
}
