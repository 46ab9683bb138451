//! The signal to a subscription of several topics: which of them have news.

use std::{mem, sync::atomic::Ordering::SeqCst, task::Waker};

use super::sync::{AtomicU64, Mutex, lock};

/// The signal to a subscription of several topics, shared with the seats in its topics.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Counts the signals. It is incremented under the lock, before the waker is taken.
    version: AtomicU64,
    signals: Mutex<Signals>,
}

#[derive(Debug, Default)]
struct Signals {
    /// The places whose topics have news. Each of them is disarmed.
    news: Vec<u32>,
    waker: Option<Waker>,
}

/// The place that stands for the subscription as a whole, when its hub is closed or its topics
/// change.
pub(super) const WHOLE: u32 = u32::MAX;

/// The largest capacity of a list of news that is kept.
const KEPT: usize = 64;

impl Listener {
    /// Signals that a place has news. Returns the waker to wake.
    pub(super) fn signal(&self, place: u32) -> Option<Waker> {
        let mut signals = lock(&self.signals);
        self.version.fetch_add(1, SeqCst);
        signals.news.push(place);
        signals.waker.take()
    }

    /// Swaps the places with news and an empty list, whose room the next ones use.
    pub(super) fn take(&self, news: &mut Vec<u32>) {
        if news.capacity() > KEPT {
            *news = Vec::new();
        }
        mem::swap(news, &mut lock(&self.signals).news);
    }

    /// Stores the waker unless there are news. Returns the version at that time, or `None` if there
    /// are news, and a waker that is no longer needed.
    pub(super) fn wait(&self, waker: Waker) -> (Option<u64>, Option<Waker>) {
        let mut signals = lock(&self.signals);
        if !signals.news.is_empty() {
            return (None, Some(waker));
        }
        let version = self.version();
        match &signals.waker {
            Some(stored) if stored.will_wake(&waker) => (Some(version), Some(waker)),
            _ => (Some(version), signals.waker.replace(waker)),
        }
    }

    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }
}
