//! The place of a subscription in one of its topics.

use std::sync::Arc;

use super::{position::Position, topic::Topic};

/// The place of a subscription in one of its topics.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) topic: Arc<Topic>,
    pub(super) seat: u32,
    pub(super) epoch: u32,
    /// The subscription wants events of this topic after this position only.
    pub(super) from: Position,
    /// The value of the topic's counter of published events at the last skip, or at the start.
    pub(super) seen: u64,
    /// True if the topic was finished, or its subscriptions were closed.
    pub(super) is_over: bool,
}
