//! The size of one read.

use super::encoded_events::EncodedEvents;
use crate::wire::BUDGET;

/// The size of a read so far, in bytes. A read takes as many events as fill a frame, so that a body
/// passes them on without a copy. An event that fills a frame by itself is read alone.
#[derive(Debug, Default)]
pub(super) struct Piece(usize);

impl Piece {
    /// Returns whether the read takes these events too, and counts them.
    pub(super) fn takes(&mut self, events: &EncodedEvents) -> bool {
        let takes = self.0 == 0 || (self.0 < BUDGET && events.len() < BUDGET);
        self.0 += events.len();
        takes
    }
}
