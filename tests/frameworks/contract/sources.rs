//! Sources and keep-alives of the cases.

use std::{panic::panic_any, time::Duration};

use futures_util::{StreamExt as _, stream};
use http_sse::{Event, KeepAlive};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::Source;
use crate::serving::WANTED_PANIC;

pub(super) const INTERVAL: Duration = Duration::from_millis(400);

pub(super) fn events<T: Into<String>, const N: usize>(data: [T; N]) -> Source {
    stream::iter(data.map(|data| Ok(Event::data(data.into())))).boxed()
}

pub(super) fn silence() -> Source {
    stream::pending().boxed()
}

pub(super) fn failing() -> Source {
    events(["a", "b"])
        .chain(stream::iter([Err(std::io::Error::other(
            "the source failed",
        ))]))
        .boxed()
}

/// Returns a source that yields an event and then panics.
pub(super) fn panicking() -> Source {
    let panics = stream::once(async { panic_any(WANTED_PANIC) });
    events(["a"]).chain(panics).boxed()
}

/// Returns a source, and the sender of its events.
pub(super) fn channel() -> (UnboundedSender<Event>, Source) {
    let (sender, receiver) = unbounded_channel();
    (
        sender,
        UnboundedReceiverStream::new(receiver).map(Ok).boxed(),
    )
}

pub(super) fn every(interval: Duration) -> KeepAlive {
    KeepAlive::new().interval(interval).comment("idle")
}
