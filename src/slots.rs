//! A table whose rows keep their index while they are taken.

use std::{
    mem,
    ops::{Index, IndexMut},
};

/// Rows of `T`, each at an index that does not change until it is given back.
///
/// A row that is given back keeps its value, and the next one to take it finds the value there.
///
/// The rows are in chunks, so that a table that grows copies at most one chunk. Its caller may hold
/// a lock, and a copy of a million rows takes milliseconds.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// The rows up to [`CHUNK`].
    first: Vec<T>,
    /// The indices of rows that are not taken, at most [`CHUNK`] of them.
    free: Vec<u32>,
    /// `None` until it is needed, because most tables are small.
    more: Option<Box<More<T>>>,
}

/// The part of a table that does not fit into its first chunks.
#[derive(Debug)]
struct More<T> {
    /// The rows from [`CHUNK`] on. All chunks but the last are full.
    rows: Vec<Vec<T>>,
    /// The other indices of rows that are not taken, in full chunks.
    free: Vec<Vec<u32>>,
}

impl<T: Default> Slots<T> {
    /// Takes a row and returns its index. A row that was never taken has the default value.
    pub(crate) fn take(&mut self) -> usize {
        if self.free.is_empty() {
            if let Some(free) = self.more.as_mut().and_then(|more| more.free.pop()) {
                self.free = free;
            }
        }
        if let Some(index) = self.free.pop() {
            return index as usize;
        }
        let index = self.len();
        push(self.chunk_of_new(index), T::default());
        index
    }

    /// Gives back a row. Frees the table if no row is taken any more.
    pub(crate) fn give_back(&mut self, index: usize) {
        if self.free.len() == CHUNK {
            let full = mem::take(&mut self.free);
            self.more.get_or_insert_default().free.push(full);
        }
        push(&mut self.free, index as u32);
        if self.taken() == 0 {
            *self = Self::default();
        }
    }

    /// Returns the number of rows that are taken.
    pub(crate) fn taken(&self) -> usize {
        let more = self.more.as_ref();
        self.len() - self.free.len() - more.map_or(0, |more| more.free.len() * CHUNK)
    }

    /// Returns the number of rows, taken or not.
    pub(crate) fn len(&self) -> usize {
        let more = self.more.as_ref();
        self.first.len() + more.map_or(0, |more| length(&more.rows, Vec::len))
    }

    /// Returns the bytes that the table has allocated.
    #[cfg(feature = "hub")]
    pub(crate) fn heap_bytes(&self) -> usize {
        let (mut rows, mut indices, mut more) = (self.first.capacity(), self.free.capacity(), 0);
        if let Some(boxed) = &self.more {
            rows += length(&boxed.rows, Vec::capacity);
            indices += boxed.free.len() * CHUNK;
            more = size_of::<More<T>>()
                + boxed.rows.capacity() * size_of::<Vec<T>>()
                + boxed.free.capacity() * size_of::<Vec<u32>>();
        }
        rows * size_of::<T>() + indices * size_of::<u32>() + more
    }

    /// Returns the row at an index, taken or not.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        match self.first.get(index) {
            None => self.get_more(index),
            row => row,
        }
    }

    /// Returns all rows in the order of their indices, taken or not.
    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let more = self.more.iter().flat_map(|more| more.rows.iter().flatten());
        self.first.iter().chain(more)
    }

    /// Returns a row after the first chunk, if there is one at this index.
    fn get_more(&self, index: usize) -> Option<&T> {
        let index = index.checked_sub(CHUNK)?;
        let chunk = self.more.as_ref()?.rows.get(index / CHUNK)?;
        chunk.get(index % CHUNK)
    }

    /// Returns a row after the first chunk. It is not inlined, because most tables have one chunk.
    #[inline(never)]
    fn more_at(&self, index: usize) -> &T {
        self.get_more(index).expect(HAS_INDEX)
    }

    /// Returns a row after the first chunk, as `more_at` does.
    #[inline(never)]
    fn more_at_mut(&mut self, index: usize) -> &mut T {
        let more = self.more.as_mut().expect(HAS_INDEX);
        let index = index - CHUNK;
        &mut more.rows[index / CHUNK][index % CHUNK]
    }

    /// Returns the chunk of a row that is the next new one.
    fn chunk_of_new(&mut self, index: usize) -> &mut Vec<T> {
        let Some(index) = index.checked_sub(CHUNK) else {
            return &mut self.first;
        };
        let rows = &mut self.more.get_or_insert_default().rows;
        let chunk = index / CHUNK;
        if chunk == rows.len() {
            rows.push(Vec::new());
        }
        &mut rows[chunk]
    }
}

/// The number of rows of a chunk. Rows have up to 24 bytes, and copying 24 KiB takes microseconds.
const CHUNK: usize = 1024;

/// The number of rows from which on a chunk grows by an eighth.
const SLOW_GROWTH: usize = 64;

/// The message of an index that no row has, which is a bug of this crate.
const HAS_INDEX: &str = "a row has this index";

/// Adds a row to a chunk that has room for it.
fn push<T>(chunk: &mut Vec<T>, row: T) {
    let rows = chunk.len();
    if rows == 0 {
        chunk.reserve_exact(1); // `push` would make room for four, and many tables have one row
    } else if rows >= SLOW_GROWTH && rows == chunk.capacity() {
        // `push` would double the chunk. An eighth wastes less memory per row.
        chunk.reserve_exact((rows / 8).min(CHUNK - rows));
    }
    chunk.push(row);
}

/// Adds up the chunks, of which all but the last are full.
fn length<T>(chunks: &[Vec<T>], of_last: fn(&Vec<T>) -> usize) -> usize {
    match chunks {
        [] => 0,
        [full @ .., last] => full.len() * CHUNK + of_last(last),
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            first: Vec::new(),
            free: Vec::new(),
            more: None,
        }
    }
}

impl<T> Default for More<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Default> Index<usize> for Slots<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        match self.first.get(index) {
            Some(row) => row,
            None => self.more_at(index),
        }
    }
}

impl<T: Default> IndexMut<usize> for Slots<T> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        if index < self.first.len() {
            return &mut self.first[index];
        }
        self.more_at_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_row_that_was_given_back_is_taken_again() {
        let mut slots = Slots::<u32>::default();
        assert_eq!([slots.take(), slots.take(), slots.take()], [0, 1, 2]);
        slots[1] = 7;
        slots.give_back(1);
        assert_eq!(slots.taken(), 2);
        assert_eq!(slots.take(), 1);
        assert_eq!(slots[1], 7, "it keeps its value");
        assert_eq!(slots.get(3), None);
    }

    #[test]
    fn rows_of_all_chunks_are_given_back_and_taken_again() {
        const ROWS: usize = 5 * CHUNK + 1;
        let mut slots = Slots::<usize>::default();
        for index in 0..ROWS {
            assert_eq!(slots.take(), index);
            slots[index] = index;
        }
        assert!(slots.iter().copied().eq(0..ROWS));
        assert_eq!(
            (slots.get(ROWS - 1), slots.get(ROWS)),
            (Some(&(ROWS - 1)), None)
        );

        (1..ROWS).for_each(|index| slots.give_back(index));
        assert_eq!(slots.taken(), 1);
        let again: HashSet<_> = (1..ROWS).map(|_| slots.take()).collect();
        assert_eq!(again, (1..ROWS).collect());
        assert_eq!((slots.taken(), slots.take()), (ROWS, ROWS));
        assert!(slots.iter().copied().eq((0..ROWS).chain([0])));
    }

    #[test]
    fn a_table_that_grows_copies_no_full_chunk() {
        let mut slots = Slots::<u32>::default();
        (0..CHUNK).for_each(|_| _ = slots.take());
        let first: *const u32 = &slots[0];
        (0..CHUNK).for_each(|_| _ = slots.take());
        let second: *const u32 = &slots[CHUNK];
        (0..1_000_000).for_each(|_| _ = slots.take());
        assert!(std::ptr::eq(first, &slots[0]));
        assert!(std::ptr::eq(second, &slots[CHUNK]));
    }

    #[test]
    fn an_empty_table_holds_nothing() {
        let mut slots = Slots::<u32>::default();
        let taken: Vec<_> = (0..10_000).map(|_| slots.take()).collect();
        taken.into_iter().for_each(|index| slots.give_back(index));
        assert_eq!(slots.taken(), 0);
        assert_eq!((slots.first.capacity(), slots.free.capacity()), (0, 0));
        assert!(slots.more.is_none());
    }

    #[cfg(feature = "hub")]
    #[test]
    fn the_bytes_of_the_heap_are_counted() {
        for rows in [1, 100, CHUNK, CHUNK + 1, 10 * CHUNK + 100] {
            let mut slots = Slots::<[u64; 3]>::default();
            assert_eq!(slots.heap_bytes(), 0);
            let mut of_taken = 0;
            let heap = allocation_counter::measure(|| {
                (0..rows).for_each(|_| _ = slots.take());
                of_taken = slots.heap_bytes();
                (1..rows).for_each(|index| slots.give_back(index));
            });
            assert!(of_taken >= rows * 24, "{rows} rows: {of_taken}");
            assert_eq!(slots.heap_bytes() as i64, heap.bytes_current, "{rows} rows");
        }
    }
}
