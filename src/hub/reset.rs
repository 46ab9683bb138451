//! The event that tells a client that it lost something.

use std::fmt;

use crate::wire::{Event, EventType};

/// Why a client is told that it cannot have all that it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResetReason {
    /// The history does not reach back to the id that it came with.
    Expired,
    /// The id that it came with is none of this hub's: it is garbage, or from before a restart.
    Unknown,
    /// It read so slowly that the history has left it behind.
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
    /// Every one, in their order.
    #[cfg(feature = "metrics")]
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
