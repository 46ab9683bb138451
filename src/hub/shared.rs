//! The state that the handles and subscriptions of a hub share.

use std::{
    sync::{Arc, PoisonError},
    task::Waker,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    log::EventLog,
    metrics::HubMetrics,
    reset::ResetEvent,
    state::State,
    sync::{AtomicU64, Mutex, MutexGuard},
};

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Counts the changes that wake subscribers. It is incremented under the lock, before any waker
    /// is taken. A subscriber that finds it unchanged since it left its waker therefore knows that
    /// the waker is still in its place.
    pub(super) version: AtomicU64,
    /// True if the history has a maximum age, so that entries need the time of their publication.
    pub(super) ages: bool,
    pub(super) reset: ResetEvent,
    pub(super) metrics: HubMetrics,
    /// The log that is read if the history does not reach back far enough.
    pub(super) backing: Option<Backing>,
}

pub(super) struct Backing {
    pub(super) log: Arc<dyn EventLog>,
    /// Limits concurrent reads, because after a restart all clients reconnect at the same time.
    pub(super) readers: Semaphore,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // The only foreign code under this lock is the `clone` of a waker and the `as_ref` of a
        // topic's name. If one panics, the state is still consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Option<Instant> {
        self.ages.then(Instant::now)
    }
}

/// Wakes the wakers. The caller must not hold the lock, because a waker runs foreign code.
pub(super) fn wake(woken: Vec<Waker>) {
    woken.into_iter().for_each(Waker::wake);
}
