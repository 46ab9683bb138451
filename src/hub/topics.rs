//! The table of a hub's topics.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, RandomState},
    ops::Bound::{Excluded, Unbounded},
    sync::{Arc, PoisonError},
};

use super::{
    interrupted::Interrupted,
    position::Position,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    topic::{Topic, TopicKey},
};

/// The table of a hub's topics, sorted by the hashes of their names.
///
/// It is a tree, because a hash table moves all its rows when it grows.
#[derive(Debug)]
pub(super) struct Topics {
    hasher: RandomState,
    table: RwLock<Table>,
}

#[derive(Debug)]
struct Table {
    rows: BTreeMap<TopicKey, Arc<Topic>>,
    /// The number of topics that were ever created.
    created: u64,
    /// Topics that are not in the table have lost no event after this position.
    forgotten: Position,
    /// The generation of the hub that `forgotten` belongs to.
    generation: u64,
    interrupted: Interrupted,
}

/// The number of topics that are visited under one lock.
const PAGE: usize = 256;

impl Topics {
    pub(super) fn new(start: Position) -> Self {
        Self {
            hasher: RandomState::new(),
            table: RwLock::new(Table {
                rows: BTreeMap::new(),
                created: 0,
                forgotten: start,
                generation: 0,
                interrupted: Interrupted::default(),
            }),
        }
    }

    /// Returns the topic with this name, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.read().find(self.hasher.hash_one(name), name).cloned()
    }

    /// Returns the topic with this name, which is created if there is none, and whether it was.
    pub(super) fn get_or_create(&self, name: &str) -> (Arc<Topic>, bool) {
        let hash = self.hasher.hash_one(name);
        if let Some(topic) = self.read().find(hash, name) {
            return (topic.clone(), false);
        }
        let name: Arc<str> = name.into();
        let mut table = self.write();
        if let Some(topic) = table.find(hash, &name) {
            return (topic.clone(), false);
        }
        table.created += 1;
        let key = (hash, table.created);
        let (generation, floor) = (table.generation, table.forgotten);
        let is_interrupted = table.interrupted.take(hash);
        let topic = Arc::new(Topic::new(name, key, generation, floor, is_interrupted));
        table.rows.insert(key, topic.clone());
        (topic, true)
    }

    /// Removes a topic whose events up to `lost` are no longer available. Returns the heap memory that
    /// it takes to remember the topic, in bytes, or `None` if it was not in the table.
    pub(super) fn remove(
        &self,
        topic: &Topic,
        lost: Position,
        is_interrupted: bool,
    ) -> Option<usize> {
        let mut table = self.write();
        table.forgotten = table.forgotten.max(lost);
        table.rows.remove(&topic.key)?;
        Some(match is_interrupted {
            true => table.interrupted.add(topic.key.0),
            false => 0,
        })
    }

    /// Forgets that a topic was interrupted. It is not in the table.
    pub(super) fn begin_anew(&self, name: &str) {
        self.write().interrupted.take(self.hasher.hash_one(name));
    }

    /// Begins a generation whose topics know no event up to `floor`.
    pub(super) fn begin_generation(&self, generation: u64, floor: Position) {
        let mut table = self.write();
        table.generation = generation;
        table.forgotten = floor;
        table.interrupted.clear();
    }

    /// Returns the next topics after `after`, in the order of their keys. Returns none at the end.
    pub(super) fn page(&self, after: Option<TopicKey>) -> Vec<Arc<Topic>> {
        let start = after.map_or(Unbounded, Excluded);
        let table = self.read();
        let rows = table.rows.range((start, Unbounded));
        rows.take(PAGE).map(|(_, topic)| topic.clone()).collect()
    }

    /// Returns all topics, one page after the other. Topics that are created meanwhile may be
    /// missing.
    pub(super) fn iter(&self) -> impl Iterator<Item = Arc<Topic>> {
        let mut after = None;
        let pages = std::iter::from_fn(move || {
            let page = self.page(after);
            after = Some(page.last()?.key);
            Some(page)
        });
        pages.flatten()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn find(&self, hash: u64, name: &str) -> Option<&Arc<Topic>> {
        let same_hash = self.rows.range((hash, 0)..=(hash, u64::MAX));
        same_hash
            .map(|(_, topic)| topic)
            .find(|topic| &*topic.name == name)
    }
}
