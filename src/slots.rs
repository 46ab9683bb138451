//! A table whose rows keep their index while they are taken.

use std::ops::{Index, IndexMut};

/// Rows of `T`, each at an index that does not change until it is given back.
///
/// A row that is given back keeps its value, and the next one to take it finds the value there.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    rows: Vec<T>,
    /// The indices of the rows that are not taken.
    free: Vec<u32>,
}

impl<T: Default> Slots<T> {
    /// Takes a row and returns its index. A row that was never taken has the default value.
    pub(crate) fn take(&mut self) -> usize {
        if let Some(index) = self.free.pop() {
            return index as usize;
        }
        let rows = self.rows.len();
        if rows >= SLOW_GROWTH && rows == self.rows.capacity() {
            // `push` would double the table. An eighth wastes less memory per row.
            self.rows.reserve_exact(rows / 8);
        }
        self.rows.push(T::default());
        rows
    }

    /// Gives back a row. Frees the table if no row is taken any more.
    pub(crate) fn give_back(&mut self, index: usize) {
        self.free.push(index as u32);
        if self.taken() == 0 {
            *self = Self::default();
        }
    }

    /// Returns the number of rows that are taken.
    pub(crate) fn taken(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// Returns the row at an index, taken or not.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.rows.get(index)
    }

    /// Returns all rows in the order of their indices, taken or not.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter()
    }

    /// Returns all rows in the order of their indices, taken or not.
    #[cfg(feature = "hub")]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.rows.iter_mut()
    }
}

/// The number of rows from which on a table grows by an eighth.
const SLOW_GROWTH: usize = 64;

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.rows[index]
    }
}

impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.rows[index]
    }
}

#[cfg(test)]
mod tests {
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
    fn an_empty_table_holds_nothing() {
        let mut slots = Slots::<u32>::default();
        let taken: Vec<_> = (0..1_000).map(|_| slots.take()).collect();
        taken.into_iter().for_each(|index| slots.give_back(index));
        assert_eq!(slots.taken(), 0);
        assert_eq!((slots.rows.capacity(), slots.free.capacity()), (0, 0));
    }
}
