//! The permit of an admitted client, which the body of its stream holds.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    task::Waker,
    thread,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    info::ConnectionId,
    registry::{OpenStream, Order, Server},
    report::CloseReason,
    telemetry::{Counts, Trace},
};
use crate::wire::EncodedEvent;

/// Permission for one client to have a stream, returned by
/// [`Connections::admit`](super::Connections::admit).
///
/// Pass it to [`Sse::permit`](crate::Sse::permit). The client counts against the limits until the
/// stream ends for any reason, or until the permit is dropped. A permit that is dropped without a
/// body counts as [`CloseReason::ClientGone`].
#[must_use = "the client no longer counts as admitted if its permit is dropped"]
pub struct Permit {
    pub(super) server: Arc<Server>,
    pub(super) stream: Arc<OpenStream>,
    pub(super) trace: Trace,
    pub(super) place: u32,
    pub(super) closed: bool,
}

impl Permit {
    /// Returns the identifier of the stream, for [`Connections::close`](super::Connections::close).
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        ConnectionId {
            opened: self.stream.opened,
            place: self.place,
        }
    }

    /// Returns the current order to the stream. `waker` is woken when it changes.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        {
            let mut state = self.stream.state();
            state.stalled = false;
            let stored = state.waker.as_ref();
            if stored.is_some_and(|stored| stored.will_wake(waker)) {
                return state.order;
            }
        }
        // A clone and a drop of a waker run foreign code, and so need to be without the lock. The
        // order is read after the waker was stored, so that none is missed.
        let waker = waker.clone();
        let (order, replaced) = {
            let mut state = self.stream.state();
            (state.order, state.waker.replace(waker))
        };
        drop(replaced);
        order
    }

    /// Returns the end of the drain, for a stream with [`Order::Drain`]. `None` if the end is later
    /// than the clock can represent.
    pub(crate) fn drained_at(&self) -> Option<Instant> {
        self.server.drain_end()
    }

    /// Records that the connection took a frame: the stream's counts so far, and the time.
    pub(crate) fn sent(&self, counts: Counts, now: Instant) {
        let taken = (now - self.server.started).as_millis() as u32;
        let added = self.count(counts, Some(taken));
        self.server.metrics.sent(added);
    }

    pub(crate) fn goodbye(&self) -> Option<EncodedEvent> {
        self.server.settings.goodbye.clone()
    }

    pub(crate) fn reconnect_within(&self) -> Option<Duration> {
        self.server.settings.reconnect_within
    }

    /// Returns the span of the stream, in which its source is polled.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Gives the permit back, with the reason for the end and the final counts.
    ///
    /// # Panics
    ///
    /// Panics if the recorder or the subscriber panics. The permit is given back even then.
    pub(crate) fn close(mut self, reason: CloseReason, counts: Counts) {
        let added = self.count(counts, None);
        self.release(reason, added);
    }

    /// Sets the counts of the stream, and returns what they added.
    fn count(&self, counts: Counts, taken: Option<u32>) -> Counts {
        let before = {
            let mut state = self.stream.state();
            state.stalled = taken.is_some();
            state.taken = taken.unwrap_or_default();
            mem::replace(&mut state.counts, counts)
        };
        let added = Counts {
            events: counts.events - before.events,
            bytes: counts.bytes - before.bytes,
            keep_alives: counts.keep_alives - before.keep_alives,
        };
        self.server.sums.add(self.place, added);
        added
    }

    /// Reports the end and gives the place back. Later calls do nothing.
    fn release(&mut self, reason: CloseReason, added: Counts) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let age = self.stream.age(self.server.now());
        let counts = self.stream.state().counts;
        let reported = catch_unwind(AssertUnwindSafe(|| {
            self.server.metrics.sent(added);
            self.server.metrics.closed(reason, age);
            self.trace.closed(reason, counts, age);
        }));
        self.give_back(reason);
        match reported {
            // A second panic would abort the process.
            Err(panic) if !thread::panicking() => resume_unwind(panic),
            _ => {}
        }
    }

    fn give_back(&self, reason: CloseReason) {
        let mut guard = self.server.registry();
        let registry = &mut *guard;
        registry.places[self.place as usize] = None;
        registry.places.give_back(self.place as usize);
        registry.totals.closed[reason as usize] += 1;
        registry.keys.remove(&self.stream.key);
        if registry.open() == 0 {
            drop(guard);
            self.server.emptied.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(CloseReason::ClientGone, Counts::default());
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("id", &self.id())
            .field("key", &self.stream.key.0)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        sync::mpsc,
        task::{Context, Poll},
    };

    use futures_util::{Stream as _, stream};

    use super::*;
    use crate::{Connections, Event, Sse};

    #[tokio::test(start_paused = true)]
    async fn a_poll_takes_no_lock_that_streams_share() {
        let connections = Connections::new();
        connections.drain(Duration::from_secs(1));
        let mut body = Sse::new(stream::pending::<Event>())
            .permit(connections.admit("a").unwrap())
            .into_body();
        let runtime = tokio::runtime::Handle::current();
        let (sender, polls) = mpsc::channel();

        let registry = connections.0.registry();
        let polling = thread::spawn(move || {
            let _entered = runtime.enter();
            for _ in 0..3 {
                let mut cx = Context::from_waker(Waker::noop());
                let polled = Pin::new(&mut body).poll_next(&mut cx);
                sender
                    .send(polled.map(|frame| frame.unwrap().unwrap()))
                    .unwrap();
            }
            body
        });
        let next = || polls.recv_timeout(Duration::from_secs(60)).expect("a poll");
        assert_eq!(next(), Poll::Ready(":\n".into()));
        assert_eq!([next(), next()], [Poll::Pending, Poll::Pending]);
        drop(registry);
        drop(polling.join().unwrap());
    }
}
