//! A stream that reports which topics have subscribers.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{shared::Shared, watchers::Watcher};

/// A change of the demand for a topic, reported by [`Demand`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DemandChange {
    /// The topic has a subscriber.
    Wanted(Arc<str>),
    /// The topic has had no subscriber for the delay of the [`Demand`].
    Unwanted(Arc<str>),
}

/// A stream that reports when a topic gets its first subscriber, and when it has lost its last one.
/// Returned by [`Hub::demand`](crate::Hub::demand).
///
/// For each topic it alternates between [`DemandChange::Wanted`] and [`DemandChange::Unwanted`]. A
/// change that is undone before it is reported is not reported. The stream does not end, not even
/// when the hub is closed.
///
/// It holds one entry for each topic that it has reported as wanted, or has yet to report. Poll it
/// regularly. It keeps the hub in memory. A `Demand` that is dropped costs nothing more.
///
/// # Panics
///
/// It panics when it is polled outside a tokio runtime with time enabled, if a topic has lost its last
/// subscriber.
#[must_use = "streams do nothing until they are polled"]
pub struct Demand {
    hub: Arc<Shared>,
    watcher: Arc<Watcher>,
    delay: Duration,
    /// The topics that were reported as wanted.
    wanted: HashSet<Arc<str>>,
    /// The topics that lost their last subscriber, and the times at which they are reported.
    leaving: BTreeSet<(Instant, Arc<str>)>,
    /// The time of each of them.
    due: HashMap<Arc<str>, Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Demand {
    pub(super) fn new(hub: Arc<Shared>, delay: Duration) -> Self {
        let watcher = hub.watchers.add();
        for topic in hub.topics.iter() {
            if !topic.lock().seats.is_empty() {
                watcher.change(topic.name.clone());
            }
        }
        Self {
            hub,
            watcher,
            delay,
            wanted: HashSet::new(),
            leaving: BTreeSet::new(),
            due: HashMap::new(),
            timer: None,
        }
    }

    fn is_wanted(&self, topic: &str) -> bool {
        let topic = self.hub.topics.get(topic);
        topic.is_some_and(|topic| !topic.lock().seats.is_empty())
    }

    /// Returns the first topic whose delay is over and that still has no subscriber.
    fn poll_leaving(&mut self, cx: &mut Context<'_>) -> Poll<Arc<str>> {
        while let Some((due, _)) = self.leaving.first() {
            let due = *due;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            if let Some((_, topic)) = self.leaving.pop_first() {
                self.due.remove(&topic);
                if !self.is_wanted(&topic) && self.wanted.remove(&topic) {
                    return Poll::Ready(topic);
                }
            }
        }
        self.timer = None;
        Poll::Pending
    }
}

impl Stream for Demand {
    type Item = DemandChange;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<DemandChange>> {
        let this = &mut *self;
        loop {
            let (changed, _replaced) = this.watcher.take(cx.waker().clone());
            let Some(topic) = changed else {
                break;
            };
            let is_wanted = this.is_wanted(&topic);
            if let Some(due) = this.due.remove(&topic) {
                this.leaving.remove(&(due, topic.clone()));
            }
            if is_wanted && this.wanted.insert(topic.clone()) {
                return Poll::Ready(Some(DemandChange::Wanted(topic)));
            }
            if !is_wanted && this.wanted.contains(&topic) {
                if let Some(due) = Instant::now().checked_add(this.delay) {
                    this.due.insert(topic.clone(), due);
                    this.leaving.insert((due, topic));
                }
            }
        }
        this.poll_leaving(cx)
            .map(|topic| Some(DemandChange::Unwanted(topic)))
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand")
            .field("wanted", &self.wanted.len())
            .finish_non_exhaustive()
    }
}
