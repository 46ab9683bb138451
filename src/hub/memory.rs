//! The memory of a hub, and the order in which it is freed.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak, atomic::Ordering::SeqCst},
    time::Duration,
};

use super::{
    position::Position,
    runs::Runs,
    sync::{AtomicBool, AtomicUsize, Mutex, lock},
    topic::{Footprint, Topic, TopicKey},
};

/// The memory of all topics together.
#[derive(Debug)]
pub(super) struct Memory {
    /// The maximum of `history`, in bytes.
    limit: usize,
    /// The maximum age of an event, in microseconds.
    age: Option<u64>,
    history: AtomicUsize,
    live: AtomicUsize,
    caches: AtomicUsize,
    /// Each topic that has a history or was finished, with a position up to its oldest event, and
    /// the time of that event. The row is corrected when it is the first.
    eldest: Mutex<Eldest>,
    /// The owners of caches, the oldest cache first. Some may have no cache any more.
    caching: Mutex<VecDeque<CacheOwner>>,
    /// The number of owners to look at, so that those without a cache leave the list.
    unchecked: AtomicUsize,
}

type Eldest = BTreeMap<(Position, TopicKey), (u64, Arc<Topic>)>;

/// The runs that subscriptions to the same several topics share.
#[derive(Debug, Default)]
pub(super) struct SharedRuns {
    pub(super) runs: Mutex<Runs>,
    /// True if it is in the list of owners of caches.
    pub(super) is_cached: AtomicBool,
}

impl SharedRuns {
    /// Drops the runs, and counts that.
    pub(super) fn clear(&self, memory: &Memory) {
        let mut runs = lock(&self.runs);
        let before = runs.heap_bytes();
        runs.clear();
        self.is_cached.store(false, SeqCst);
        memory.report_caches(before, 0);
    }
}

/// An owner of caches.
#[derive(Debug)]
pub(super) enum CacheOwner {
    Topic(Arc<Topic>),
    Set(Weak<SharedRuns>),
}

impl Memory {
    pub(super) fn new(limit: usize, age: Option<Duration>) -> Self {
        Self {
            limit,
            age: age.map(|age| age.as_micros().try_into().unwrap_or(u64::MAX)),
            history: AtomicUsize::new(0),
            live: AtomicUsize::new(0),
            caches: AtomicUsize::new(0),
            eldest: Mutex::default(),
            caching: Mutex::default(),
            unchecked: AtomicUsize::new(0),
        }
    }

    /// Returns all memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let parts = [&self.history, &self.live, &self.caches];
        parts.iter().map(|part| part.load(SeqCst)).sum()
    }

    /// Counts the memory of something that had `before` and has `now`.
    pub(super) fn report(&self, before: Footprint, now: Footprint) {
        let parts = [
            (&self.history, before.history, now.history),
            (&self.live, before.live, now.live),
            (&self.caches, before.caches, now.caches),
        ];
        for (part, before, now) in parts {
            // The sum may be negative for a moment, so it wraps.
            if before != now {
                part.fetch_add(now.wrapping_sub(before), SeqCst);
            }
        }
    }

    /// Counts caches that had `before` bytes and have `now`.
    pub(super) fn report_caches(&self, before: usize, now: usize) {
        self.caches.fetch_add(now.wrapping_sub(before), SeqCst);
    }

    pub(super) fn has_age(&self) -> bool {
        self.age.is_some()
    }

    /// Returns whether the history exceeds its limit.
    pub(super) fn is_over(&self) -> bool {
        self.history.load(SeqCst) > self.limit
    }

    /// Returns whether the history and the caches together exceed the limit of the history.
    fn wants_caches(&self) -> bool {
        let caches = self.caches.load(SeqCst);
        caches > 0 && self.history.load(SeqCst).saturating_add(caches) > self.limit
    }

    /// Returns whether events of this time are too old, `now` microseconds after the creation of
    /// the hub.
    pub(super) fn is_too_old(&self, time: u64, now: u64) -> bool {
        self.age.is_some_and(|age| now.saturating_sub(time) > age)
    }

    /// Adds a row for a topic whose oldest event is at `at`.
    pub(super) fn list(&self, at: Position, time: u64, topic: Arc<Topic>) {
        lock(&self.eldest).insert((at, topic.key), (time, topic));
    }

    /// Removes the row of a topic that was removed. It may have been taken meanwhile.
    pub(super) fn unlist(&self, at: Position, topic: &Topic) {
        let _row = lock(&self.eldest).remove(&(at, topic.key));
    }

    /// Takes the first row if it is to be dropped: because there is too much, or because it is too old
    /// and `drops_old` is set. Its position may be before that of the topic's oldest event.
    pub(super) fn take_eldest(&self, now: u64, drops_old: bool) -> Option<(Position, Arc<Topic>)> {
        let mut eldest = lock(&self.eldest);
        let first = eldest.first_entry()?;
        let (time, _) = *first.get();
        let is_old = drops_old && self.is_too_old(time, now);
        if !self.is_over() && !is_old {
            return None;
        }
        let ((at, _), (_, topic)) = first.remove_entry();
        Some((at, topic))
    }

    /// Adds an owner of a cache to the list.
    pub(super) fn cache(&self, owner: CacheOwner) {
        lock(&self.caching).push_back(owner);
        self.unchecked.fetch_add(2, SeqCst);
    }

    /// Takes the owner of the oldest cache: always if caches are to go, or else if it is to be looked
    /// at. Returns whether its cache is to go.
    pub(super) fn take_oldest_cache(&self) -> Option<(CacheOwner, bool)> {
        let must_go = self.wants_caches();
        if !must_go && self.unchecked.load(SeqCst) == 0 {
            return None;
        }
        let mut caching = lock(&self.caching);
        self.unchecked
            .store(self.unchecked.load(SeqCst).saturating_sub(1), SeqCst);
        let owner = caching.pop_front();
        if caching.is_empty() {
            *caching = VecDeque::new();
            self.unchecked.store(0, SeqCst);
        }
        Some((owner?, must_go))
    }

    /// Puts back an owner that keeps its cache.
    pub(super) fn keep_cache(&self, owner: CacheOwner) {
        lock(&self.caching).push_back(owner);
    }
}
