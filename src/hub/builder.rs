//! The bounds of a hub, and how it begins.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    hub::Hub,
    metrics::Metrics,
    position::Position,
    reset::{ResetEvent, ResetReason, default_reset},
    shared::{Backing, Shared},
    state::{Limits, State},
    sync::{AtomicU64, Mutex},
};
use crate::wire::Event;

/// How a hub is set up; made by [`Hub::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct HubBuilder {
    limits: Limits,
    reset: ResetEvent,
}

impl Hub {
    /// A hub with the bounds that [`builder`](Self::builder) begins with.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A hub to be set up. Each topic has a history of 1,024 events and 1 MiB, of any age; all
    /// together have 64 MiB.
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
    /// Sets how many events a topic keeps; at least one.
    pub fn history(mut self, events: usize) -> Self {
        self.limits.events = events;
        self
    }

    /// Sets how many bytes of events a topic keeps; at least one event.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets how long events are kept. They are dropped when something is published.
    pub fn history_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(age);
        self
    }

    /// Sets how many bytes all topics together may cost, with what they need beyond the bytes of
    /// their events. The oldest events are dropped first, whatever their topic.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// Sets the event by which a client is told that it cannot have all that it missed, so that
    /// it loads anew what it shows. Its id is the position from which on it gets all.
    ///
    /// By default it has the event type `reset`, and the reason as its data: `expired`, `unknown`
    /// or `lagged`.
    pub fn reset_event(
        mut self,
        event: impl Fn(ResetReason) -> Event + Send + Sync + 'static,
    ) -> Self {
        self.reset = ResetEvent(Box::new(event));
        self
    }

    /// The hub.
    #[must_use]
    pub fn build(self) -> Hub {
        // Later than that of any hub before it, so that their ids are told apart.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let epoch = since_1970.unwrap_or_default().as_micros() as u64;
        self.starting_at(Position::new(epoch, 0), None)
    }

    pub(super) fn starting_at(self, start: Position, backing: Option<Backing>) -> Hub {
        Hub(Arc::new(Shared {
            ages: self.limits.age.is_some(),
            state: Mutex::new(State::new(self.limits, start)),
            version: AtomicU64::new(0),
            reset: self.reset,
            metrics: Metrics::default(),
            backing,
        }))
    }
}
