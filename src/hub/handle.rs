//! A handle that changes the topics of a subscription.

use std::{fmt, sync::Arc, task::Waker};

use super::{
    changes::{Changes, NewPlace},
    listener::{Listener, WHOLE},
    place::Place,
    position::Position,
    shared::Shared,
};
use crate::wake::wake_all;

/// A handle that adds topics to a subscription and removes them while it is streamed, returned by
/// [`Subscription::handle`](crate::Subscription::handle).
///
/// Clones change the same subscription. A subscription that ever had a handle waits for other topics
/// until the hub is closed, even if all handles were dropped.
///
/// ```
/// # use futures_util::{FutureExt as _, StreamExt as _};
/// # use http_sse::{Event, Hub};
/// let hub = Hub::new();
/// let mut subscription = hub.subscribe(["lobby"]);
/// let handle = subscription.handle();
///
/// assert!(handle.add("game 7"));
/// handle.remove("lobby");
/// hub.publish("lobby", Event::data("hello")).unwrap();
/// let id = hub.publish("game 7", Event::data("e4")).unwrap();
///
/// let events = subscription.next().now_or_never().unwrap().unwrap();
/// assert_eq!(events, &*format!("data: e4\nid: {id}\n\n"));
/// ```
#[derive(Clone)]
pub struct SubscriptionHandle {
    hub: Arc<Shared>,
    listener: Arc<Listener>,
    changes: Arc<Changes>,
}

impl SubscriptionHandle {
    pub(super) fn new(hub: Arc<Shared>, listener: Arc<Listener>, changes: Arc<Changes>) -> Self {
        Self {
            hub,
            listener,
            changes,
        }
    }

    /// Adds a topic, starting with the next event that is published to it. A topic that the
    /// subscription already has is not changed.
    ///
    /// Returns `false` if the subscription was dropped. `true` does not mean that it still streams: its
    /// hub may be closed.
    pub fn add(&self, topic: impl AsRef<str>) -> bool {
        self.add_from(topic.as_ref(), None)
    }

    /// Adds a topic, starting with its first event after `after`. If the history no longer reaches
    /// back that far, the subscription lags: the log of a
    /// [`DistributedHub`](super::DistributedHub) is not read. A position that a hub without a log has
    /// not reached yet stands for its last one.
    ///
    /// Events between `after` and the subscription's own position come first, with their own ids. A
    /// client that reconnects meanwhile has such an earlier id, and gets events of the other topics
    /// again.
    ///
    /// Returns `false` if the subscription was dropped.
    pub fn add_after(&self, topic: impl AsRef<str>, after: Position) -> bool {
        self.add_from(topic.as_ref(), Some(after))
    }

    /// Removes a topic. The subscription yields no more of its events, including those that it has
    /// not yielded yet. A topic that it does not have is ignored.
    ///
    /// The topic counts as subscribed to until the subscription is polled. It is woken for that.
    ///
    /// Returns `false` if the subscription was dropped.
    pub fn remove(&self, topic: impl AsRef<str>) -> bool {
        let Ok(added) = self.changes.remove(topic.as_ref()) else {
            return false;
        };
        let left = added.map(|added| self.give_up(added)).unwrap_or_default();
        let signalled = self.listener.signal(WHOLE);
        wake_all(left.into_iter().chain(signalled));
        true
    }

    fn add_from(&self, topic: &str, after: Option<Position>) -> bool {
        let Some(index) = self.changes.take_place() else {
            return false;
        };
        let (mut place, wakers) = Place::join(&self.hub, topic, &self.listener, index);
        if let Some(after) = after {
            // Without a log, no position is ahead of this hub.
            let last = self.hub.order.last();
            let is_ahead = self.hub.backing.is_none() && after > last;
            place.from = if is_ahead { last } else { after };
        }
        let added = NewPlace {
            index,
            place,
            is_behind: after.is_some(),
        };
        let (is_added, left) = match self.changes.add(added) {
            Ok(()) => (true, Vec::new()),
            Err((added, is_open)) => (is_open, self.give_up(added)),
        };
        let signalled = self.listener.signal(WHOLE);
        wake_all(wakers.into_iter().chain(left).chain(signalled));
        is_added
    }

    /// Gives up the seat of a place that was not added. Returns wakers to wake.
    fn give_up(&self, added: NewPlace) -> Vec<Waker> {
        self.changes.give_back_place(added.index);
        added.place.leave(&self.hub)
    }
}

impl fmt::Debug for SubscriptionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionHandle").finish_non_exhaustive()
    }
}
