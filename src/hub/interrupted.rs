//! The topics that were forgotten in the middle.

/// The topics that were forgotten in the middle, because all their events were dropped while nobody
/// was subscribed. If one of them is published to again, it goes on, and does not begin.
///
/// Each is remembered until another one takes its row.
#[derive(Debug, Default)]
pub(super) struct Interrupted {
    /// The hashes of their names, or 0 where there is none. Empty until there is one.
    rows: Vec<u64>,
}

impl Interrupted {
    /// Adds a topic. Returns the heap memory that this has taken, in bytes.
    pub(super) fn add(&mut self, hash: u64) -> usize {
        let before = self.rows.capacity();
        self.rows.resize(ROWS, 0);
        self.rows[hash as usize % ROWS] = hash;
        (self.rows.capacity() - before) * size_of::<u64>()
    }

    /// Returns whether a topic was interrupted, and forgets it.
    pub(super) fn take(&mut self, hash: u64) -> bool {
        let row = self.rows.get_mut(hash as usize % ROWS);
        row.is_some_and(|row| *row == hash && std::mem::take(row) != 0)
    }

    /// Forgets all topics.
    pub(super) fn clear(&mut self) {
        self.rows.fill(0);
    }
}

/// The number of topics that are remembered at most. They take 128 KiB.
const ROWS: usize = 1 << 14;
