//! The state of a topic, for monitoring.

use std::sync::Arc;

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Its name.
    pub name: Arc<str>,
    /// How many subscriptions it has.
    pub subscribers: usize,
    /// How many events its history holds.
    pub events: usize,
    /// How many bytes those are.
    pub bytes: usize,
    /// How many were published since the topic came to be.
    pub published: u64,
    /// How many subscriptions were reset because of something that it lost, or with
    /// [`OnLag::Latest`](super::OnLag::Latest) got its newest event in place of that.
    pub resets: u64,
    /// How many fell behind its history, whatever became of them.
    pub lagged: u64,
}
