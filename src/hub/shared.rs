//! The parts of a hub that its handles and subscriptions share.

use std::{
    sync::{Arc, PoisonError},
    task::Waker,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    log::EventLog,
    metrics::Metrics,
    reset::ResetEvent,
    state::State,
    sync::{AtomicU64, Mutex, MutexGuard},
};

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Counts what changes the state for those who wait. It is raised under the lock, before any
    /// waker is taken, so that a subscriber which finds it as it was when it left its waker knows
    /// that the waker is still there.
    pub(super) version: AtomicU64,
    /// Whether entries have an age.
    pub(super) ages: bool,
    pub(super) reset: ResetEvent,
    pub(super) metrics: Metrics,
    /// What is read where the history does not reach.
    pub(super) backing: Option<Backing>,
}

pub(super) struct Backing {
    pub(super) log: Arc<dyn EventLog>,
    /// How many may read at once: a restart brings every client back at the same time.
    pub(super) readers: Semaphore,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Under the lock nothing of a caller runs, so a panic there can come from memory alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Option<Instant> {
        self.ages.then(Instant::now)
    }
}

/// Wakes without the lock: a waker may run the code of anybody.
pub(super) fn wake(woken: Vec<Waker>) {
    woken.into_iter().for_each(Waker::wake);
}
