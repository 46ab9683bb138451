//! The handler of all servers of these tests.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Connections, EncodedEvent, Event, Sse};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

/// The bytes for the client that pauses, more than its sockets hold.
pub(super) const PAUSING: usize = 8_000_000;

pub(super) type Source = Pin<Box<dyn Stream<Item = EncodedEvent> + Send>>;

/// The state of the handlers.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) connections: Connections,
    pub(super) fed: Arc<Mutex<Vec<Fed>>>,
}

/// A stream that the test feeds.
pub(super) struct Fed {
    pub(super) events: UnboundedSender<u64>,
    /// The number of polls of its source.
    pub(super) polls: Arc<AtomicU64>,
}

impl Streams {
    pub(super) fn answer(&self, key: &str) -> Sse<Source> {
        let event = |length| EncodedEvent::from(Event::data("x".repeat(length)));
        let flood = stream::repeat(event(1_000));
        let source: Source = if key == "silent" {
            stream::pending().boxed()
        } else if key == "pausing" {
            let events = flood.take(PAUSING / 1_000);
            events.chain(stream::pending()).boxed()
        } else if key.starts_with("fed") {
            let (sender, receiver) = unbounded_channel::<u64>();
            let polls = Arc::new(AtomicU64::new(0));
            self.fed.lock().unwrap().push(Fed {
                events: sender,
                polls: polls.clone(),
            });
            let mut sent = UnboundedReceiverStream::new(receiver)
                .map(|sent| Event::data(sent.to_string()).into());
            stream::poll_fn(move |cx| {
                polls.fetch_add(1, Relaxed);
                sent.poll_next_unpin(cx)
            })
            .boxed()
        } else {
            flood.boxed()
        };
        match self.connections.admit(key) {
            Ok(permit) => Sse::new(source).keep_alive(None).permit(permit),
            Err(full) => full.into(),
        }
    }
}
