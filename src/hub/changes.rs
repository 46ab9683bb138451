//! The changes that a handle makes to the topics of a subscription.

use std::{mem, sync::Arc};

use super::{
    place::Place,
    sync::{Mutex, lock},
};

/// The changes that a handle has made and the subscription has not seen yet.
#[derive(Debug)]
pub(super) struct Changes(Mutex<Pending>);

#[derive(Debug)]
struct Pending {
    changes: Vec<Change>,
    /// The number of places that were ever taken at the same time.
    places: u32,
    /// The indices of places that were given back.
    free: Vec<u32>,
    /// Set when the subscription was dropped.
    is_dropped: bool,
}

/// A change of a subscription's topics.
#[derive(Debug)]
pub(super) enum Change {
    /// Adds a place with this index. If the flag is set, it may start before the position of the
    /// subscription, and is then read up to there first.
    Add(u32, Place, bool),
    Remove(Arc<str>),
}

impl Changes {
    /// Creates an empty list for a subscription with this number of places.
    pub(super) fn new(places: u32) -> Self {
        Self(Mutex::new(Pending {
            changes: Vec::new(),
            places,
            free: Vec::new(),
            is_dropped: false,
        }))
    }

    /// Returns the index for a new place, unless the subscription was dropped.
    pub(super) fn take_place(&self) -> Option<u32> {
        let mut pending = lock(&self.0);
        if pending.is_dropped {
            return None;
        }
        Some(pending.free.pop().unwrap_or_else(|| {
            pending.places += 1;
            pending.places - 1
        }))
    }

    pub(super) fn give_back_place(&self, place: u32) {
        lock(&self.0).free.push(place);
    }

    /// Adds a change. Gives it back if the subscription was dropped.
    pub(super) fn push(&self, change: Change) -> Result<(), Change> {
        let mut pending = lock(&self.0);
        if pending.is_dropped {
            return Err(change);
        }
        pending.changes.push(change);
        Ok(())
    }

    pub(super) fn take(&self) -> Vec<Change> {
        mem::take(&mut lock(&self.0).changes)
    }

    /// Accepts no more changes, because the subscription was dropped. Returns the last ones.
    pub(super) fn close(&self) -> Vec<Change> {
        let mut pending = lock(&self.0);
        pending.is_dropped = true;
        mem::take(&mut pending.changes)
    }
}
