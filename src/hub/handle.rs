//! A handle that changes the topics of a subscription.

use std::{fmt, sync::Arc};

use super::{
    changes::{Change, Changes},
    listener::{Listener, WHOLE},
    many::join,
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
    /// Returns `false` if the subscription was dropped.
    pub fn remove(&self, topic: impl AsRef<str>) -> bool {
        self.change(Change::Remove(topic.as_ref().into()))
    }

    fn add_from(&self, topic: &str, after: Option<Position>) -> bool {
        let Some(index) = self.changes.take_place() else {
            return false;
        };
        let mut place = join(&self.hub, topic, &self.listener, index);
        if let Some(after) = after {
            // Without a log, no position is ahead of this hub.
            let last = self.hub.order.last();
            let is_ahead = self.hub.backing.is_none() && after > last;
            place.from = if is_ahead { last } else { after };
        }
        self.change(Change::Add(index, place, after.is_some()))
    }

    fn change(&self, change: Change) -> bool {
        match self.changes.push(change) {
            Ok(()) => {
                wake_all(self.listener.signal(WHOLE));
                true
            }
            Err(Change::Add(_, place, _)) => {
                self.hub.leave(&place.topic, place.seat);
                false
            }
            Err(Change::Remove(_)) => false,
        }
    }
}

impl fmt::Debug for SubscriptionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionHandle").finish_non_exhaustive()
    }
}
