//! The watchers of the demand for topics.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Weak, atomic::Ordering::SeqCst},
    task::Waker,
};

use super::sync::{AtomicBool, Mutex, lock};

/// The watchers of the demand for topics.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    any: AtomicBool,
    watchers: Mutex<Vec<Weak<Watcher>>>,
}

/// The topics whose first subscriber came or whose last one left, for one watcher.
#[derive(Debug, Default)]
pub(super) struct Watcher(Mutex<Changed>);

#[derive(Debug, Default)]
struct Changed {
    /// In the order of their changes. None is listed twice.
    topics: VecDeque<Arc<str>>,
    listed: HashSet<Arc<str>>,
    waker: Option<Waker>,
}

impl Watchers {
    /// Adds a watcher.
    pub(super) fn add(&self) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher::default());
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&watcher));
        self.any.store(true, SeqCst);
        watcher
    }

    /// Lists a topic that has got its first subscriber or lost its last one. Returns the wakers to
    /// wake.
    pub(super) fn changed(&self, topic: &str) -> Vec<Waker> {
        if !self.any.load(SeqCst) {
            return Vec::new();
        }
        let watchers: Vec<Arc<Watcher>> = {
            let mut watchers = lock(&self.watchers);
            watchers.retain(|watcher| watcher.strong_count() > 0);
            self.any.store(!watchers.is_empty(), SeqCst);
            watchers.iter().filter_map(Weak::upgrade).collect()
        };
        let wakers = watchers.iter();
        wakers
            .filter_map(|watcher| watcher.change(topic.into()))
            .collect()
    }
}

impl Watcher {
    /// Lists a topic. Returns the waker to wake.
    pub(super) fn change(&self, topic: Arc<str>) -> Option<Waker> {
        let mut changed = lock(&self.0);
        if changed.listed.insert(topic.clone()) {
            changed.topics.push_back(topic);
        }
        changed.waker.take()
    }

    /// Takes the next topic, or stores the waker. Returns also a waker that is no longer needed.
    pub(super) fn take(&self, waker: Waker) -> (Option<Arc<str>>, Option<Waker>) {
        let mut changed = lock(&self.0);
        let Some(topic) = changed.topics.pop_front() else {
            return (None, changed.waker.replace(waker));
        };
        changed.listed.remove(&topic);
        (Some(topic), Some(waker))
    }
}
