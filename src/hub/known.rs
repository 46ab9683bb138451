//! The positions of the last entries that were read from a log.

use std::collections::VecDeque;

use super::{log::PAGE, position::Position};

/// The positions of the last entries that were read from a log, at most [`KNOWN`].
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The positions, in order.
    positions: VecDeque<Position>,
    /// The number of positions that were dropped before the first one.
    dropped: usize,
}

/// The number of positions that are known without a read of the log. They take 1 MiB.
const KNOWN: usize = 1 << 16;

impl Known {
    /// Creates the positions of a new generation.
    pub(super) fn new(positions: Vec<Position>) -> Self {
        let mut known = Self::default();
        known.add(positions);
        known
    }

    /// Adds later positions.
    pub(super) fn add(&mut self, positions: impl IntoIterator<Item = Position>) {
        self.positions.extend(positions);
        let excess = self.positions.len().saturating_sub(KNOWN);
        self.positions.drain(..excess);
        self.dropped += excess;
    }

    /// Returns whether a position is known.
    pub(super) fn has(&self, at: Position) -> bool {
        self.positions.binary_search(&at).is_ok()
    }

    /// Returns the number of entries in the page after a position.
    ///
    /// If the position is known, the page ends at the next multiple of [`PAGE`] positions. Clients
    /// with different ids therefore share all pages after their first one.
    pub(super) fn page_after(&self, at: Position) -> usize {
        match self.positions.binary_search(&at) {
            Ok(index) => PAGE - (self.dropped + index) % PAGE,
            Err(_) => PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lo: usize) -> Position {
        Position::new(7, lo as u64)
    }

    #[test]
    fn the_last_positions_are_known() {
        let last = KNOWN + 2;
        let known = Known::new((1..=last).map(at).collect());
        let known = [2, 3, last].map(|lo| known.has(at(lo)));
        assert_eq!(known, [false, true, true]);
    }

    #[test]
    fn pages_after_known_positions_end_at_the_same_ones() {
        let mut known = Known::new((0..KNOWN).map(at).collect());
        for added in [0, 1, PAGE + 7] {
            known.add((0..added).map(|n| at(KNOWN + n)));
            for after in [KNOWN / 2, KNOWN / 2 + 1, KNOWN - 1] {
                let page = known.page_after(at(after));
                assert!((1..=PAGE).contains(&page));
                assert_eq!((after + page) % PAGE, 0);
            }
        }
        assert_eq!(known.page_after(at(0)), PAGE);
    }
}
