//! The state of a topic, for monitoring.

use std::sync::Arc;

/// A snapshot of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo {
    /// The name of the topic.
    pub name: Arc<str>,
    /// The number of its subscriptions.
    pub subscribers: usize,
    /// The number of items in its history. An item that is several events counts once.
    pub events: usize,
    /// The size of its history, in bytes on the wire.
    pub bytes: usize,
    /// The number of items published since the topic was created, or began anew after it was finished.
    pub published: u64,
    /// The number of resets that were sent because this topic lost events.
    pub resets: u64,
    /// The number of times that a subscription lagged because this topic lost events. It does not
    /// depend on [`OnLag`](super::OnLag).
    pub lagged: u64,
    /// The number of items that subscriptions with
    /// [`latest_every`](crate::Subscription::latest_every) have skipped, all subscriptions together.
    pub skipped: u64,
    /// True if the topic is [finished](crate::Hub::finish).
    pub is_finished: bool,
}
