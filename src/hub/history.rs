//! The events that a topic keeps, in chunks, so that no step moves more than one chunk.

use std::{collections::VecDeque, mem};

use super::{
    encoded_events::EncodedEvents,
    keys::{KeyTable, Keys},
    position::Position,
};

/// The events of a topic, in order.
#[derive(Debug, Default)]
pub(super) struct History {
    /// None is empty.
    chunks: VecDeque<VecDeque<Stored>>,
    len: usize,
    /// The total size of the events on the wire, in bytes.
    bytes: usize,
    /// The rooms for events in all chunks.
    capacity: usize,
    /// The heap memory of the events and their keys, in bytes.
    heap: usize,
    /// The last event that was dropped.
    trimmed: Position,
    /// The keys of the events. `None` if there are none.
    keys: Option<Box<KeyTable>>,
}

/// The limits of one topic's history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The maximum number of events.
    pub(super) events: usize,
    /// The maximum size in bytes.
    pub(super) bytes: usize,
}

/// One published item.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: Position,
    /// The microseconds from the creation of the hub to its publication, if the history has a
    /// maximum age.
    pub(super) time: u64,
    pub(super) events: EncodedEvents,
    pub(super) keys: Option<Box<Keys>>,
}

/// The number of events in a full chunk.
const CHUNK: usize = 128;

/// The heap memory of the counter that the clones of an event share, in bytes.
const COUNTER: usize = 3 * mem::size_of::<usize>();

impl Stored {
    fn heap(&self) -> usize {
        COUNTER + self.events.len() + self.keys.as_deref().map_or(0, Keys::heap_bytes)
    }
}

impl History {
    /// Adds an item, and drops others beyond the limits. The item itself is kept.
    pub(super) fn push(&mut self, stored: Stored, limits: Limits) {
        if let Some(keys) = stored.keys.as_deref() {
            self.index(stored.at, keys.clone());
        }
        self.push_back(stored);
        while self.len > 1 && (self.len > limits.events || self.bytes > limits.bytes) {
            self.trim();
        }
    }

    /// Drops the oldest event. Returns `false` if there is none.
    pub(super) fn trim(&mut self) -> bool {
        let Some(stored) = self.pop() else {
            return false;
        };
        self.trimmed = stored.at;
        self.forget(stored);
        true
    }

    /// Drops all events. Those up to `lost` count as dropped too.
    pub(super) fn clear(&mut self, lost: Position) {
        let last = self.newest().map_or(self.trimmed, |newest| newest.at);
        *self = Self {
            trimmed: last.max(lost),
            ..Self::default()
        };
    }

    /// Returns the position of the last event that was dropped.
    #[inline]
    pub(super) fn trimmed(&self) -> Position {
        self.trimmed
    }

    /// Returns the position of the event with this idempotency key.
    pub(super) fn written(&self, idempotency_key: &str) -> Option<Position> {
        self.keys
            .as_ref()?
            .idempotency
            .get(idempotency_key)
            .copied()
    }

    /// Remembers the keys of an event. An earlier event with the same coalescing key is removed.
    fn index(&mut self, at: Position, keys: Keys) {
        let table = self.keys.get_or_insert_default();
        if let Some(key) = keys.idempotency {
            table.idempotency.insert(key, at);
        }
        let replaced = keys.coalesce.and_then(|key| table.coalesce.insert(key, at));
        if let Some(replaced) = replaced.and_then(|replaced| self.remove(replaced)) {
            self.forget(replaced);
        }
    }

    /// Forgets the keys of an event that was removed.
    fn forget(&mut self, removed: Stored) {
        if let (Some(table), Some(keys)) = (&mut self.keys, removed.keys) {
            table.forget(removed.at, &keys);
            if table.is_empty() {
                self.keys = None;
            }
        }
    }

    fn push_back(&mut self, stored: Stored) {
        self.len += 1;
        self.bytes += stored.events.len();
        self.heap += stored.heap();
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK => {
                let before = chunk.capacity();
                if chunk.len() == before {
                    chunk.reserve_exact(before.min(CHUNK - before));
                }
                chunk.push_back(stored);
                self.capacity += chunk.capacity() - before;
            }
            last => {
                // The first event of a topic may remain the only one.
                let room = if last.is_some() { CHUNK } else { 1 };
                let mut chunk = VecDeque::with_capacity(room);
                chunk.push_back(stored);
                self.capacity += chunk.capacity();
                self.chunks.push_back(chunk);
            }
        }
    }

    /// Removes the oldest event.
    fn pop(&mut self) -> Option<Stored> {
        let stored = self.chunks.front_mut()?.pop_front()?;
        self.removed(0, &stored);
        Some(stored)
    }

    /// Removes the event at this position.
    fn remove(&mut self, at: Position) -> Option<Stored> {
        let index = self.chunk_after(at.before());
        let chunk = self.chunks.get_mut(index)?;
        let row = chunk.binary_search_by_key(&at, |stored| stored.at).ok()?;
        let stored = chunk.remove(row)?;
        self.removed(index, &stored);
        self.merge(index);
        if let Some(before) = index.checked_sub(1) {
            self.merge(before);
        }
        Some(stored)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the total size of the events on the wire, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the heap memory of all events, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let keys = self.keys.as_deref().map_or(0, KeyTable::heap_bytes);
        self.heap
            + keys
            + self.capacity * mem::size_of::<Stored>()
            + self.chunks.capacity() * mem::size_of::<VecDeque<Stored>>()
    }

    pub(super) fn oldest(&self) -> Option<&Stored> {
        self.chunks.front()?.front()
    }

    pub(super) fn newest(&self) -> Option<&Stored> {
        self.chunks.back()?.back()
    }

    /// Returns the events after `after`, in order.
    pub(super) fn after(&self, after: Position) -> impl Iterator<Item = &Stored> + Clone {
        let index = self.chunk_after(after);
        let first = self.chunks.get(index);
        let row = first.map_or(0, |chunk| row_after(chunk, after));
        let first = first.into_iter().flat_map(move |chunk| chunk.range(row..));
        let rest = self.chunks.range((index + 1).min(self.chunks.len())..);
        first.chain(rest.flatten())
    }

    /// Returns the position of the last event up to and including `until`.
    pub(super) fn last_until(&self, until: Position) -> Option<Position> {
        let index = self.chunk_after(until);
        let row = self
            .chunks
            .get(index)
            .map_or(0, |chunk| row_after(chunk, until));
        let before = match row.checked_sub(1) {
            Some(row) => self.chunks.get(index)?.get(row),
            None => self.chunks.get(index.checked_sub(1)?)?.back(),
        };
        before.map(|stored| stored.at)
    }

    /// Returns the events, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Stored> {
        self.chunks
            .iter()
            .rev()
            .flat_map(|chunk| chunk.iter().rev())
    }

    /// Returns the index of the first chunk with an event after `after`, or the number of chunks.
    fn chunk_after(&self, after: Position) -> usize {
        let is_read = |chunk: &VecDeque<Stored>| chunk.back().is_none_or(|last| last.at <= after);
        // Subscribers that keep up are in the last chunk.
        let before_last = self.chunks.len().checked_sub(2);
        match before_last.and_then(|index| self.chunks.get(index)) {
            Some(chunk) if is_read(chunk) => {
                let last = self.chunks.len() - 1;
                last + usize::from(is_read(&self.chunks[last]))
            }
            _ => self.chunks.partition_point(is_read),
        }
    }

    /// Counts an event that was removed from a chunk, and drops the chunk if it is empty.
    fn removed(&mut self, index: usize, stored: &Stored) {
        self.len -= 1;
        self.bytes -= stored.events.len();
        self.heap -= stored.heap();
        if self.chunks[index].is_empty() {
            let chunk = self.chunks.remove(index);
            self.capacity -= chunk.map_or(0, |chunk| chunk.capacity());
            if self.chunks.capacity() > 4 * self.chunks.len() + 4 {
                self.chunks.shrink_to(2 * self.chunks.len());
            }
        }
    }

    /// Joins a sparse chunk with the next one, so that replaced events leave no empty rooms.
    fn merge(&mut self, index: usize) {
        let [Some(chunk), Some(next)] = [index, index + 1].map(|index| self.chunks.get(index))
        else {
            return;
        };
        if chunk.len() + next.len() > CHUNK / 2 {
            return;
        }
        let (before, of_next) = (chunk.capacity(), next.capacity());
        if let Some(mut next) = self.chunks.remove(index + 1) {
            let chunk = &mut self.chunks[index];
            chunk.append(&mut next);
            self.capacity = self.capacity + chunk.capacity() - before - of_next;
        }
    }
}

/// Returns the index of the first event after `after` in a chunk.
fn row_after(chunk: &VecDeque<Stored>, after: Position) -> usize {
    // Subscribers that keep up are within the last few events.
    const FEW: usize = 8;
    let few = chunk.len().saturating_sub(FEW);
    match chunk.get(few) {
        Some(stored) if stored.at <= after => {
            let newer = chunk.iter().rev().take_while(|stored| stored.at > after);
            chunk.len() - newer.count()
        }
        _ => chunk.partition_point(|stored| stored.at <= after),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;

    fn at(lo: u64) -> Position {
        Position::new(1, lo)
    }

    fn stored(lo: u64) -> Stored {
        Stored {
            at: at(lo),
            time: 0,
            events: EncodedEvents::new(Bytes::from_static(b"data: x\n\n"), 1),
            keys: None,
        }
    }

    /// Compares a history with an ordered map, through pushes, pops and removals.
    #[test]
    fn a_history_is_an_ordered_queue() {
        let mut history = History::default();
        let mut model: BTreeMap<u64, ()> = BTreeMap::new();
        let mut chance = 1_u64;
        for n in 1..20_000 {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(n);
            let some = chance >> 33;
            match some % 8 {
                0..4 => {
                    history.push_back(stored(2 * n));
                    model.insert(2 * n, ());
                }
                4 => {
                    let popped = history.pop().map(|stored| stored.at);
                    assert_eq!(popped, model.pop_first().map(|(lo, ())| at(lo)));
                }
                _ => {
                    let wanted = some % (2 * n + 2);
                    let removed = history.remove(at(wanted)).is_some();
                    assert_eq!(removed, model.remove(&wanted).is_some());
                }
            }
            assert_eq!(
                (history.len(), history.bytes()),
                (model.len(), 9 * model.len())
            );
            assert_eq!(history.is_empty(), model.is_empty());
            let ends = [history.oldest(), history.newest()].map(|end| end.map(|end| end.at));
            let expected = [model.first_key_value(), model.last_key_value()];
            assert_eq!(ends, expected.map(|end| end.map(|(lo, ())| at(*lo))));
            if n % 500 == 0 {
                for after in [0, 1, some % (2 * n), n, 2 * n - 3, 2 * n, 2 * n + 1] {
                    let after_it: Vec<_> =
                        history.after(at(after)).map(|stored| stored.at).collect();
                    let expected = model.range(after + 1..).map(|(lo, ())| at(*lo));
                    assert_eq!(after_it, expected.collect::<Vec<_>>(), "after {after}");
                    let until = model.range(..=after).next_back().map(|(lo, ())| at(*lo));
                    assert_eq!(history.last_until(at(after)), until);
                }
                let backwards: Vec<_> = history.newest_first().map(|stored| stored.at).collect();
                let expected: Vec<_> = model.keys().rev().map(|lo| at(*lo)).collect();
                assert_eq!(backwards, expected);
                let rooms: usize = history.chunks.iter().map(VecDeque::capacity).sum();
                assert_eq!(history.capacity, rooms);
            }
        }
        while history.pop().is_some() {}
        assert_eq!((history.capacity, history.heap, history.bytes), (0, 0, 0));
    }

    #[test]
    fn replaced_events_leave_few_empty_rooms() {
        let mut history = History::default();
        (1..=10_000).for_each(|lo| history.push_back(stored(lo)));
        (1..=10_000)
            .filter(|lo| lo % 1_000 != 0)
            .for_each(|lo| _ = history.remove(at(lo)));
        assert_eq!(history.len(), 10);
        assert!(history.capacity <= 2 * CHUNK, "{}", history.capacity);
    }
}
