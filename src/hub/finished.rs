//! The finished topics of a hub, until their histories are dropped.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use tokio::time::Instant;

use super::{
    position::Position,
    sync::{AtomicBool, Mutex, lock},
    topic::Topic,
};

/// The finished topics of a hub, until their histories are dropped.
#[derive(Default)]
pub(super) struct Finished {
    /// By the positions of their ends.
    rows: Mutex<BTreeMap<Position, (Instant, Arc<Topic>)>>,
    /// True if there are some, so that a publish need not lock them.
    any: AtomicBool,
}

impl Finished {
    /// Adds a topic that ended at this position, and the time at which its history is dropped.
    pub(super) fn add(&self, at: Position, due: Instant, topic: Arc<Topic>) {
        lock(&self.rows).insert(at, (due, topic));
        self.any.store(true, SeqCst);
    }

    /// Removes the topic that ended at this position.
    pub(super) fn remove(&self, at: Position) {
        lock(&self.rows).remove(&at);
    }

    /// Removes all topics.
    pub(super) fn clear(&self) {
        lock(&self.rows).clear();
    }

    /// Takes a topic whose history is to be dropped now.
    pub(super) fn take_due(&self) -> Option<(Position, Arc<Topic>)> {
        if !self.any.load(SeqCst) {
            return None;
        }
        let mut rows = lock(&self.rows);
        self.any.store(!rows.is_empty(), SeqCst);
        let first = rows.first_entry()?;
        if first.get().0 > Instant::now() {
            return None;
        }
        let (at, (_, topic)) = first.remove_entry();
        Some((at, topic))
    }
}
