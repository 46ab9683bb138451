//! The peer [poem](https://docs.rs/poem).

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use poem::{IntoResponse as _, web::sse};

use crate::{Payload, Peer};

/// poem's `SSE` with a keep-alive.
pub struct Poem;

impl Poem {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = sse::Event> + Send + Sync + Unpin + use<> {
        stream::iter(payload.items()).map(|item| {
            let id = item.id;
            let event = sse::Event::message(item.into_text());
            match id {
                None => event,
                Some(id) => event.event_type("delta").id(id.to_string()),
            }
        })
    }
}

impl Peer for Poem {
    const NAME: &'static str = "poem";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        let source = Self::events(payload);
        let sse = sse::SSE::new(source).keep_alive(Duration::from_secs(15));
        poll_stream(sse.into_response().into_body().into_bytes_stream(), each);
    }
}

fn poll_stream<E>(stream: impl Stream<Item = Result<Bytes, E>>, mut each: impl FnMut(&[u8])) {
    let mut stream = pin!(stream);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match stream.as_mut().poll_next(&mut cx) {
            Poll::Ready(Some(bytes)) => each(&bytes.ok().expect("nothing fails here")),
            Poll::Ready(None) => return,
            Poll::Pending => {}
        }
    }
}
