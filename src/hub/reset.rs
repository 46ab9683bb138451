//! The event that notifies a client of a gap.

use std::fmt;

use crate::wire::{Event, EventType};

/// The reason for which a client cannot get every event that it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetReason {
    /// The history no longer reaches back to the client's last event ID, or to the start that the
    /// subscription asked for.
    Expired,
    /// The client's last event ID is not a [`Position`](super::Position), or one of another hub, or
    /// one from before a restart. A [`DistributedHub`](super::DistributedHub) reports `Expired` for a
    /// position that its log does not have.
    Unknown,
    /// The client read so slowly that events were dropped before it got them.
    Lagged,
}

pub(super) struct ResetEvent(pub(super) Box<dyn Fn(ResetReason) -> Event + Send + Sync>);

impl fmt::Debug for ResetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetEvent")
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ResetReason {
    /// All variants, in the order of their declaration.
    pub(super) const ALL: [Self; 3] = [Self::Expired, Self::Unknown, Self::Lagged];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Lagged => "lagged",
        }
    }
}

pub(super) fn default_reset(reason: ResetReason) -> Event {
    const RESET: EventType = EventType::from_static("reset");
    Event::data(reason.as_str()).event_type(RESET)
}
