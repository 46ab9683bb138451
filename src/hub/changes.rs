//! The changes that a handle makes to the topics of a subscription.

use std::{collections::HashMap, mem, sync::Arc};

use super::{
    place::Place,
    sync::{Mutex, lock},
};

/// The changes that a handle has made and the subscription has not seen yet.
#[derive(Debug)]
pub(super) struct Changes(Mutex<Pending>);

#[derive(Debug)]
struct Pending {
    /// At most one for each topic, whatever the number of calls.
    changes: HashMap<Arc<str>, Change>,
    /// The number of places that were ever taken at the same time.
    places: u32,
    /// The indices of places that were given back.
    free: Vec<u32>,
    /// Set when the subscription was dropped.
    is_dropped: bool,
}

/// A change of one topic of a subscription.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// True if the present place in the topic is removed.
    pub(super) removes: bool,
    /// The place that is added after that.
    pub(super) adds: Option<NewPlace>,
}

/// A place that is added to a subscription.
#[derive(Debug)]
pub(super) struct NewPlace {
    pub(super) index: u32,
    pub(super) place: Place,
    /// True if the place may start before the position of the subscription, and is then read up to
    /// there first.
    pub(super) is_behind: bool,
}

impl Changes {
    /// Creates an empty list for a subscription with this number of places.
    pub(super) fn new(places: u32) -> Self {
        Self(Mutex::new(Pending {
            changes: HashMap::new(),
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

    /// Adds a place. Gives it back if the same topic is added already, with `true`, or if the
    /// subscription was dropped, with `false`.
    pub(super) fn add(&self, added: NewPlace) -> Result<(), (NewPlace, bool)> {
        let mut pending = lock(&self.0);
        if pending.is_dropped {
            return Err((added, false));
        }
        let change = pending.changes.entry(added.place.topic.name.clone());
        let change = change.or_default();
        if change.adds.is_some() {
            return Err((added, true));
        }
        change.adds = Some(added);
        Ok(())
    }

    /// Removes a topic. Returns the place that was added to it and is not needed any more, or an
    /// error if the subscription was dropped.
    pub(super) fn remove(&self, topic: &str) -> Result<Option<NewPlace>, ()> {
        let mut pending = lock(&self.0);
        if pending.is_dropped {
            return Err(());
        }
        let change = pending.changes.entry(topic.into()).or_default();
        change.removes = true;
        Ok(change.adds.take())
    }

    pub(super) fn take(&self) -> HashMap<Arc<str>, Change> {
        mem::take(&mut lock(&self.0).changes)
    }

    /// Accepts no more changes, because the subscription was dropped. Returns the places that it has
    /// not taken.
    pub(super) fn close(&self) -> impl Iterator<Item = Place> + use<> {
        let mut pending = lock(&self.0);
        pending.is_dropped = true;
        let changes = mem::take(&mut pending.changes).into_values();
        changes.filter_map(|change| Some(change.adds?.place))
    }
}
