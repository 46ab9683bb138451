//! The configuration of a hub.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use super::{
    backing::Backing,
    history::Limits,
    hub::Hub,
    memory::Memory,
    metrics::HubMetrics,
    order::Order,
    position::Position,
    reset::{ResetEvent, ResetReason, default_reset},
    shared::Shared,
    topics::Topics,
};
use crate::wire::Event;

/// The configuration of a [`Hub`], returned by [`Hub::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HubBuilder {
    limits: Limits,
    age: Option<Duration>,
    memory: usize,
    finished_for: Duration,
    name: Option<Arc<str>>,
    reset: ResetEvent,
}

impl Hub {
    /// Creates a hub with the default bounds of [`builder`](Self::builder).
    ///
    /// # Panics
    ///
    /// Panics on `wasm32-unknown-unknown`, which has no clock.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns a builder with the default bounds.
    ///
    /// The history of a topic holds 1,024 events and 1 MiB, of any age. All histories together use
    /// 64 MiB of memory. A finished topic keeps its history for 5 minutes.
    pub fn builder() -> HubBuilder {
        HubBuilder {
            limits: Limits {
                events: 1024,
                bytes: 1 << 20,
            },
            age: None,
            memory: 64 << 20,
            finished_for: Duration::from_secs(5 * 60),
            name: None,
            reset: ResetEvent(Box::new(default_reset)),
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl HubBuilder {
    /// Sets the maximum number of events in the history of a topic. An item of several events counts
    /// once. The newest one is kept even if this is 0.
    pub fn history(mut self, events: usize) -> Self {
        self.limits.events = events;
        self
    }

    /// Sets the maximum size of the history of a topic, in bytes on the wire. The newest event is
    /// kept even if it is larger.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets the maximum age of events in the history. By default there is none. With a log, the age
    /// counts from the time at which this server has read the event.
    ///
    /// There is no timer: events that are too old are dropped at the next publish to any topic, at most
    /// 128 at once.
    pub fn history_age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Sets the maximum memory of all histories together, in bytes. It includes all overhead, and
    /// topics without subscribers. It does not include subscriptions, the topics that have some, and
    /// the 128 KiB in which dropped topics are remembered. [`Hub::memory`] returns everything.
    ///
    /// Each publish enforces it. Cached copies of events are dropped first, and then the oldest
    /// events, whatever their topic. The newest event of the hub is never dropped for this bound.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// Sets the time for which a [finished](Hub::finish) topic keeps its history. With a log, it counts
    /// from the time at which this server has read the end.
    ///
    /// After that time, a handler can [stop](crate::Sse::stop) clients that come back, and the topic
    /// can be published to again. There is no timer: the history is dropped at the next publish or
    /// subscribe.
    pub fn finished_for(mut self, time: Duration) -> Self {
        self.finished_for = time;
        self
    }

    /// Sets the name of the hub, which is the label `hub` of its metrics. By default it is
    /// `default`.
    ///
    /// Hubs of one process with the same name report their sums.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the event that notifies a client of a gap, so that it reloads what it shows.
    ///
    /// The hub sets the id of the event. The client gets every event after that id.
    ///
    /// By default the event type is `reset`, and the data is the reason: `expired`, `unknown` or
    /// `lagged`.
    pub fn reset_event(
        mut self,
        event: impl Fn(ResetReason) -> Event + Send + Sync + 'static,
    ) -> Self {
        self.reset = ResetEvent(Box::new(event));
        self
    }

    /// Creates the hub.
    ///
    /// # Panics
    ///
    /// Panics on `wasm32-unknown-unknown`, which has no clock.
    #[must_use]
    pub fn build(self) -> Hub {
        self.starting_at(Position::new(new_epoch(), 0), None)
    }

    pub(super) fn starting_at(self, start: Position, backing: Option<Backing>) -> Hub {
        Hub(Arc::new(Shared {
            limits: self.limits,
            finished_for: self.finished_for,
            started: Instant::now(),
            order: Order::new(start),
            topics: Topics::new(start),
            memory: Memory::new(self.memory, self.age),
            sets: Default::default(),
            generation: Default::default(),
            beginning: Default::default(),
            idle: Default::default(),
            finished: Default::default(),
            watchers: Default::default(),
            reset: self.reset,
            metrics: HubMetrics::new(self.name),
            backing,
        }))
    }
}

/// Returns the epoch of a new hub: the microseconds since 1970, or more if another hub of the process
/// already has them. Ids of another hub, and those from before a restart, are then recognised as
/// unknown.
fn new_epoch() -> u64 {
    static LAST: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since_1970.unwrap_or_default().as_micros() as u64;
    let next = |last: u64| now.max(last + 1);
    let last = LAST.fetch_update(SeqCst, SeqCst, |last| Some(next(last)));
    last.map_or(now, next)
}
