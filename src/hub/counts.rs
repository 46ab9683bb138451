//! The counters of a topic.

use super::position::Position;

/// The counters of a topic, since it was created.
#[derive(Debug, Default)]
pub(super) struct TopicCounts {
    pub(super) published: u64,
    /// `None` until there is one, because most topics never lose an event.
    losses: Option<Box<Losses>>,
}

/// The counters of events that subscriptions did not get, and of what followed. Also what few topics
/// have lost: their events before they began anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) resets: u64,
    pub(super) lagged: u64,
    pub(super) skipped: u64,
    /// The position of the last event before the topic last began anew.
    pub(super) ended: Position,
}

impl TopicCounts {
    pub(super) fn losses(&self) -> Losses {
        self.losses.as_deref().copied().unwrap_or_default()
    }

    pub(super) fn losses_mut(&mut self) -> &mut Losses {
        self.losses.get_or_insert_default()
    }

    /// Counts events that a subscription skips.
    pub(super) fn skip(&mut self, events: u64) {
        if events > 0 {
            self.losses_mut().skipped += events;
        }
    }
}
