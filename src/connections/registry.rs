//! The table of open streams under one lock, and the orders that the server gives them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    info::{ConnectionId, ConnectionInfo, Totals},
    keys::{Key, Keys},
    sums::Sums,
    telemetry::{Counts, StreamMetrics},
};
use crate::{slots::Slots, wire::EncodedEvent};

pub(super) struct Server {
    pub(super) settings: Settings,
    pub(super) started: Instant,
    pub(super) registry: Mutex<Registry>,
    /// The end of the drain, in nanoseconds since `started`, or [`NO_END`]. It is an atomic, so that
    /// no poll takes a lock that all streams share.
    pub(super) drain_end: AtomicU64,
    /// Notified when the last stream has closed.
    pub(super) emptied: Notify,
    pub(super) sums: Sums,
    pub(super) metrics: StreamMetrics,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) max: usize,
    pub(super) max_per_key: usize,
    pub(super) retry_after: Duration,
    pub(super) goodbye: Option<EncodedEvent>,
    pub(super) reconnect_within: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Registry {
    /// Open streams. A stream keeps its index for as long as it is open.
    pub(super) places: Slots<Option<Arc<OpenStream>>>,
    pub(super) keys: Keys,
    pub(super) phase: Phase,
    /// `OpenStream::opened` of the newest stream, so that the next one gets a greater value.
    pub(super) last: Option<u64>,
    /// `open` is not maintained here, nor are the events, bytes and keep-alives, which are in
    /// `Server::sums`.
    pub(super) totals: Totals,
}

/// The value of `Server::drain_end` without an end.
pub(super) const NO_END: u64 = u64::MAX;

#[derive(Clone, Copy, Default)]
pub(super) enum Phase {
    #[default]
    Running,
    /// Draining until `Server::drain_end`.
    Draining,
    Shutdown,
}

/// The state that the server and the body of one stream share.
pub(super) struct OpenStream {
    /// Nanoseconds since `Server::started`. Unique: ties are broken by counting up.
    pub(super) opened: u64,
    pub(super) key: Key,
    pub(super) state: Mutex<StreamState>,
}

pub(super) struct StreamState {
    /// Written by the server. It only increases.
    pub(super) order: Order,
    /// The waker of the task that polls the body.
    pub(super) waker: Option<Waker>,
    pub(super) counts: Counts,
    /// True if the body has not been polled since the connection took its last frame.
    pub(super) stalled: bool,
    /// The time at which that frame was taken, in milliseconds since `Server::started`. It wraps
    /// after 49 days.
    pub(super) taken: u32,
}

/// An instruction from the server to a stream. A later variant overrides an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    GoOn,
    Drain,
    Shutdown,
    Close,
}

impl Registry {
    pub(super) fn open(&self) -> usize {
        self.places.taken()
    }

    pub(super) fn open_stream(
        &mut self,
        now: Duration,
        key: Arc<str>,
    ) -> (ConnectionId, Arc<OpenStream>) {
        let key = self.keys.add(key);
        let now = now.as_nanos() as u64;
        let opened = self.last.map_or(now, |last| now.max(last + 1));
        self.last = Some(opened);
        let order = match self.phase {
            Phase::Running => Order::GoOn,
            Phase::Draining => Order::Drain,
            Phase::Shutdown => Order::Shutdown,
        };
        let stream = Arc::new(OpenStream {
            opened,
            key,
            state: Mutex::new(StreamState {
                order,
                waker: None,
                counts: Counts::default(),
                stalled: false,
                taken: 0,
            }),
        });
        let place = self.places.take();
        self.places[place] = Some(stream.clone());
        let place = place as u32;
        self.totals.opened += 1;
        (ConnectionId { opened, place }, stream)
    }
}

impl Server {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        // Only a failed allocation can panic under this lock, and it leaves no partial update.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the order to shut down to every stream that is opened from now on.
    pub(super) fn enter_shutdown(&self) {
        self.registry().phase = Phase::Shutdown;
    }

    /// Gives the order to drain to every stream that is opened from now on. `None` if the clock
    /// cannot represent the end. After a shutdown this has no effect.
    pub(super) fn enter_drain(&self, until: Option<Instant>) {
        let mut registry = self.registry();
        if matches!(registry.phase, Phase::Shutdown) {
            return;
        }
        registry.phase = Phase::Draining;
        let nanos = until.map(|until| (until - self.started).as_nanos());
        let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
        // Relaxed, because a stream reads it after an order, which comes through a lock.
        self.drain_end.store(nanos.unwrap_or(NO_END), Relaxed);
    }

    /// Returns the end of the drain, for a stream that has the order to drain.
    pub(super) fn drain_end(&self) -> Option<Instant> {
        let nanos = self.drain_end.load(Relaxed);
        let end = (nanos != NO_END).then(|| Duration::from_nanos(nanos))?;
        self.started.checked_add(end)
    }

    /// Returns the time since `started`.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn describe(&self, id: ConnectionId, stream: &OpenStream) -> ConnectionInfo {
        let now = self.now();
        let state = stream.state();
        ConnectionInfo {
            id,
            key: (*stream.key.0).clone(),
            age: stream.age(now),
            events: state.counts.events,
            bytes: state.counts.bytes,
            keep_alives: state.counts.keep_alives,
            stalled_for: state.stalled.then(|| {
                let millis = (now.as_millis() as u32).wrapping_sub(state.taken);
                Duration::from_millis(millis.into())
            }),
        }
    }
}

impl OpenStream {
    pub(super) fn state(&self) -> MutexGuard<'_, StreamState> {
        // No foreign code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.opened))
    }

    /// Raises the order to at least `order`, and returns the waker of the body.
    #[must_use = "the body learns of the order only if it is woken"]
    pub(super) fn give(&self, order: Order) -> Option<Waker> {
        let mut state = self.state();
        state.order = state.order.max(order);
        state.waker.take()
    }
}
