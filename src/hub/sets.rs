//! Sets of topics that several subscriptions have in common.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::Ordering::SeqCst},
};

use super::{
    encoded_events::EncodedEvents,
    memory::{CacheOwner, Memory, SharedRuns},
    position::Position,
    runs::Run,
    sync::{Mutex, MutexGuard, lock},
    topic::TopicKey,
};

/// The sets of topics that subscriptions of several topics have, so that subscriptions with the
/// same set share joined events.
#[derive(Debug, Default)]
pub(super) struct Sets(Mutex<Table>);

type Table = BTreeMap<Arc<[SetKey]>, Weak<SharedRuns>>;

/// A topic, and the epoch of the subscriptions. Those of another epoch get other events.
pub(super) type SetKey = (TopicKey, u32);

/// A set of topics.
#[derive(Debug)]
pub(super) struct Set {
    keys: Arc<[SetKey]>,
    runs: Arc<SharedRuns>,
}

/// The largest set that is shared. Subscriptions to more topics rarely have the same ones.
pub(super) const MAX_TOPICS: usize = 32;

impl Sets {
    /// Returns the set of these topics.
    pub(super) fn join(&self, mut keys: Vec<SetKey>) -> Set {
        keys.sort_unstable();
        let keys: Arc<[SetKey]> = keys.into();
        let mut sets = lock(&self.0);
        if let Some(runs) = sets.get(&keys).and_then(Weak::upgrade) {
            return Set { keys, runs };
        }
        let runs = Arc::new(SharedRuns::default());
        sets.insert(keys.clone(), Arc::downgrade(&runs));
        Set { keys, runs }
    }

    /// Locks the sets, so that none is given up meanwhile.
    pub(super) fn lock(&self) -> MutexGuard<'_, impl Sized + use<>> {
        lock(&self.0)
    }

    /// Gives up a set.
    pub(super) fn leave(&self, set: Set, memory: &Memory) {
        let mut sets = lock(&self.0);
        if Arc::strong_count(&set.runs) == 1 {
            sets.remove(&set.keys);
            drop(sets);
            set.runs.clear(memory);
        }
    }
}

impl Set {
    /// Returns the joined events for a reader that has read up to `after`.
    pub(super) fn get(
        &self,
        after: Position,
        generation: u64,
    ) -> Option<(Position, EncodedEvents)> {
        lock(&self.runs.runs).get(after, generation)
    }

    /// Shares joined events.
    pub(super) fn share(&self, run: Run, generation: u64, memory: &Memory) {
        let mut runs = lock(&self.runs.runs);
        let before = runs.heap_bytes();
        runs.push(run, generation);
        memory.report_caches(before, runs.heap_bytes());
        drop(runs);
        if !self.runs.is_cached.swap(true, SeqCst) {
            memory.cache(CacheOwner::Set(Arc::downgrade(&self.runs)));
        }
    }
}
