//! The configuration of a hub.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    hub::Hub,
    metrics::HubMetrics,
    position::Position,
    reset::{ResetEvent, ResetReason, default_reset},
    shared::{Backing, Shared},
    state::{Limits, State},
    sync::{AtomicU64, Mutex},
};
use crate::wire::Event;

/// The configuration of a [`Hub`], returned by [`Hub::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct HubBuilder {
    limits: Limits,
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
    /// The history of a topic holds 1,024 events and 1 MiB, of any age. All topics together use
    /// 64 MiB of memory.
    pub fn builder() -> HubBuilder {
        HubBuilder {
            limits: Limits {
                events: 1024,
                bytes: 1 << 20,
                age: None,
                memory: 64 << 20,
            },
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
    /// Sets the maximum number of events in the history of a topic. The newest event is
    /// kept even if this is 0.
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

    /// Sets the maximum age of events in the history. By default there is none.
    ///
    /// There is no timer: events that are too old are dropped at the next publish to any topic.
    pub fn history_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(age);
        self
    }

    /// Sets the maximum memory of all topics together, in bytes. It covers events and an estimate
    /// of their overhead.
    ///
    /// Each publish enforces it. The oldest events are dropped first, whatever their topic. The
    /// newest event of the hub is never dropped for this bound.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.limits.memory = bytes;
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
            ages: self.limits.age.is_some(),
            state: Mutex::new(State::new(self.limits, start)),
            version: AtomicU64::new(0),
            reset: self.reset,
            metrics: HubMetrics::default(),
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
