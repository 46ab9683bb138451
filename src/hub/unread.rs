//! The places of a subscription that may have events to read.

use std::{cmp::Reverse, collections::BinaryHeap, mem};

use super::position::Position;

/// The indices of the places that may have events to read, by the position of the first one. The
/// position is [`UNKNOWN`] until the place is visited.
#[derive(Debug, Default)]
pub(super) struct Unread(BinaryHeap<Reverse<(Position, u32)>>);

/// Stands for the position of a first event that is not known. It is before all events.
const UNKNOWN: Position = Position::new(0, 0);

impl Unread {
    /// Adds a place whose first event is not known. It may have none.
    pub(super) fn add(&mut self, place: u32) {
        self.add_at(UNKNOWN, place);
    }

    /// Adds a place with the position of its first event.
    pub(super) fn add_at(&mut self, first: Position, place: u32) {
        self.0.push(Reverse((first, place)));
    }

    /// Replaces all places, and keeps the room of the heap. The first events are not known.
    pub(super) fn replace(&mut self, places: impl IntoIterator<Item = u32>) {
        self.0.clear();
        let places = places.into_iter();
        self.0.extend(places.map(|place| Reverse((UNKNOWN, place))));
    }

    /// Forgets the positions of the first events.
    pub(super) fn forget_positions(&mut self) {
        *self = self.take_all().collect();
    }

    /// Takes the first place, if its position is not after `upto`. A place that starts again can be
    /// listed twice, and is taken once.
    pub(super) fn take_upto(&mut self, upto: Position) -> Option<u32> {
        let Reverse((first, place)) = *self.0.peek()?;
        if first > upto {
            return None;
        }
        while self.0.peek().is_some_and(|next| next.0.1 == place) {
            self.0.pop();
        }
        Some(place)
    }

    /// Takes the place if there is only one.
    pub(super) fn take_single(&mut self) -> Option<u32> {
        let [Reverse((_, place))] = *self.0.as_slice() else {
            return None;
        };
        self.0.clear();
        Some(place)
    }

    /// Takes all places, in no particular order.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = u32> + use<> {
        let places = mem::take(&mut self.0).into_iter();
        places.map(|Reverse((_, place))| place)
    }

    /// Returns the places, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|Reverse((_, place))| *place)
    }

    /// Returns the position of the first event.
    pub(super) fn first(&self) -> Option<Position> {
        self.0.peek().map(|Reverse((first, _))| *first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u32> for Unread {
    /// Collects places whose first events are not known.
    fn from_iter<T: IntoIterator<Item = u32>>(places: T) -> Self {
        let places = places.into_iter();
        Self(places.map(|place| Reverse((UNKNOWN, place))).collect())
    }
}
