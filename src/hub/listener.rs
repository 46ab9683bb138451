//! The signal to a subscription of several topics: which of them have news.

use std::{iter, mem, sync::atomic::Ordering::SeqCst, task::Waker};

use super::sync::{AtomicU64, Mutex, lock};

/// The signal to a subscription of several topics, shared with the seats in its topics.
#[derive(Debug, Default)]
pub(super) struct Listener {
    /// Counts the signals that took the waker. It is written under the lock, before the waker is
    /// taken.
    version: AtomicU64,
    /// The places whose topics have news, as bits. The bit of [`LISTED`] stands for those in the
    /// list. Each of these places is disarmed. The signal that sets the first bit takes the waker.
    news: AtomicU64,
    signals: Mutex<Signals>,
}

#[derive(Debug, Default)]
struct Signals {
    /// The places with news from [`LISTED`] on.
    listed: Vec<u32>,
    waker: Option<Waker>,
}

/// The place that stands for the subscription as a whole, when its hub is closed or its topics
/// change.
pub(super) const WHOLE: u32 = u32::MAX;

/// The first place without a bit of its own.
const LISTED: u32 = u64::BITS - 1;

/// The largest capacity of a list of news that is kept.
const KEPT: usize = 64;

impl Listener {
    /// Signals that a place has news. Returns the waker to wake.
    pub(super) fn signal(&self, place: u32) -> Option<Waker> {
        if place >= LISTED {
            let mut signals = lock(&self.signals);
            // The signal of the whole can come again before it is taken.
            if signals.listed.last() != Some(&place) {
                signals.listed.push(place);
            }
            let is_first = self.news.fetch_or(1 << LISTED, SeqCst) == 0;
            return is_first.then(|| self.take_waker(&mut signals)).flatten();
        }
        let is_first = self.news.fetch_or(1 << place, SeqCst) == 0;
        is_first
            .then(|| self.take_waker(&mut lock(&self.signals)))
            .flatten()
    }

    fn take_waker(&self, signals: &mut Signals) -> Option<Waker> {
        self.version.fetch_add(1, SeqCst);
        signals.waker.take()
    }

    /// Takes the places with news. Those without a bit are swapped with `listed`, which is empty.
    pub(super) fn take(&self, listed: &mut Vec<u32>) -> impl Iterator<Item = u32> + use<> {
        let mut bits = self.news.swap(0, SeqCst);
        if bits >> LISTED == 1 {
            bits &= !(1 << LISTED);
            if listed.capacity() > KEPT {
                *listed = Vec::new();
            }
            mem::swap(listed, &mut lock(&self.signals).listed);
        }
        iter::from_fn(move || {
            let place = bits.trailing_zeros();
            bits &= bits.checked_sub(1)?;
            Some(place)
        })
    }

    /// Stores the waker unless there are news. Returns the version at that time, or `None` if there
    /// are news, and a waker that is no longer needed.
    pub(super) fn wait(&self, waker: Waker) -> (Option<u64>, Option<Waker>) {
        let mut signals = lock(&self.signals);
        if self.news.load(SeqCst) != 0 {
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
