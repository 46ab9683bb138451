//! The places of a subscription of several topics, and where each of them starts.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::Arc,
};

use super::{
    place::Place,
    position::Position,
    sets::{MAX_TOPICS, Set},
    shared::Shared,
    topic::TopicState,
    unread::Unread,
};

/// The places of a subscription of several topics.
///
/// A place is in `unread` or in `behind`, or its seat is armed: then the topic had nothing to read, and
/// signals its next event to the listener. A read therefore visits only the topics with news, whatever
/// the number of topics.
#[derive(Debug)]
pub(super) struct PlaceList {
    pub(super) places: Vec<Option<Place>>,
    /// The number of places that are not over.
    pub(super) open: usize,
    pub(super) unread: Unread,
    /// The places that were added with an earlier position than that of the subscription.
    pub(super) behind: Vec<u32>,
    /// The greatest `Place::from`. Up to there, the subscription may skip events.
    pub(super) from: Position,
    /// The index of each topic's place. `None` until there is a change.
    indices: Option<HashMap<Arc<str>, u32>>,
    /// The set of its topics, whose subscriptions share joined events. `None` until it is needed.
    set: Option<Set>,
    /// True if the topics may change, so that other subscriptions hardly have the same ones.
    may_change: bool,
    /// Set if a place ended because the server closed it.
    pub(super) was_closed: bool,
}

impl PlaceList {
    pub(super) fn new(places: Vec<Option<Place>>) -> Self {
        let froms = places.iter().flatten().map(|place| place.from);
        Self {
            open: places.len(),
            from: froms.max().unwrap_or_default(),
            unread: (0..places.len() as u32).collect(),
            places,
            behind: Vec::new(),
            indices: None,
            set: None,
            may_change: false,
            was_closed: false,
        }
    }

    /// Returns whether no place may have events to read.
    pub(super) fn is_read(&self) -> bool {
        self.unread.is_empty() && self.behind.is_empty()
    }

    pub(super) fn get(&self, index: u32) -> Option<&Place> {
        self.places.get(index as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Place> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.iter_mut().flatten()
    }

    /// Prepares for changes of the topics. Returns the number of places.
    pub(super) fn expect_changes(&mut self, hub: &Shared) -> u32 {
        self.may_change = true;
        self.leave_set(hub);
        self.places.len() as u32
    }

    /// Returns the indices of the topics, by which a change finds them.
    fn indices(&mut self) -> &mut HashMap<Arc<str>, u32> {
        self.indices.get_or_insert_with(|| {
            let places = self.places.iter().zip(0..);
            let named = places.filter_map(|(place, index)| {
                let place = place.as_ref()?;
                Some((place.topic.name.clone(), index))
            });
            named.collect()
        })
    }

    /// Returns the place in a topic.
    pub(super) fn find(&mut self, name: &str) -> Option<&Place> {
        let index = *self.indices().get(name)?;
        self.get(index)
    }

    /// Adds a place in a topic that has none. If it is behind, it is read up to the position of the
    /// subscription first.
    pub(super) fn add(&mut self, index: u32, place: Place, is_behind: bool) {
        self.indices().insert(place.topic.name.clone(), index);
        let rows = self.places.len().max(index as usize + 1);
        self.places.resize_with(rows, || None);
        if is_behind {
            self.behind.push(index);
        } else {
            self.from = self.from.max(place.from);
            self.unread.add(index);
        }
        self.places[index as usize] = Some(place);
        self.open += 1;
    }

    /// Removes the place in a topic. Returns it with its index.
    pub(super) fn remove(&mut self, name: &str) -> Option<(u32, Place)> {
        let index = self.indices().remove(name)?;
        self.behind.retain(|behind| *behind != index);
        let place = self.places[index as usize].take()?;
        self.open -= usize::from(!place.is_over);
        Some((index, place))
    }

    /// Removes all places.
    pub(super) fn drain(&mut self, hub: &Shared) -> impl Iterator<Item = Place> {
        self.leave_set(hub);
        self.places.drain(..).flatten()
    }

    /// Marks all places as perhaps unread, except those that are behind.
    pub(super) fn visit_all(&mut self) {
        let behind = &self.behind;
        let open = self.places.iter().zip(0..).filter_map(|(place, index)| {
            let is_open = !place.as_ref()?.is_over;
            (is_open && !behind.contains(&index)).then_some(index)
        });
        self.unread = open.collect();
    }

    /// Returns the topics whose events are read from the log.
    pub(super) fn wanted(&self, hub: &Shared) -> HashSet<Arc<str>> {
        let places = self.places.iter().zip(0..);
        let wanted = places.filter_map(|(place, index)| {
            let place = place.as_ref()?;
            let is_open = hub.lock(&place.topic).closed_epoch <= place.epoch;
            // Those that are behind are read from the history.
            (is_open && !self.behind.contains(&index)).then(|| place.topic.name.clone())
        });
        wanted.collect()
    }

    /// Returns the set of the topics, if other subscriptions may have the same ones.
    pub(super) fn set(&mut self, hub: &Shared) -> Option<&Set> {
        if self.may_change || self.places.len() > MAX_TOPICS {
            return None;
        }
        let open = self.places.iter().flatten().filter(|place| !place.is_over);
        let keys = open.map(|place| (place.topic.key, place.epoch));
        let set = self
            .set
            .get_or_insert_with(|| hub.sets.join(keys.collect()));
        Some(set)
    }

    /// Gives up the set, because the topics are no longer the same.
    pub(super) fn leave_set(&mut self, hub: &Shared) {
        if let Some(set) = self.set.take() {
            hub.sets.leave(set, &hub.memory);
        }
    }

    /// Moves every place before the last events of all of them together.
    pub(super) fn start_before_last(&mut self, hub: &Shared, events: usize) {
        let mut last: Vec<Position> = Vec::new();
        for place in self.iter() {
            let state = hub.lock(&place.topic);
            if state.epoch == place.epoch && !place.is_over {
                let newest = state.history.newest_first().take(events);
                last.extend(newest.map(|stored| stored.at));
            }
        }
        last.sort_unstable_by(|a, b| b.cmp(a));
        last.truncate(events);
        let oldest = last.last().copied();
        let before = oldest.map_or_else(|| hub.order.complete(), Position::before);
        self.start_at(hub, |state| before.max(state.complete_since()));
    }

    /// Sets the start of each place, which `start` returns.
    pub(super) fn start_at(&mut self, hub: &Shared, start: impl Fn(&TopicState) -> Position) {
        for place in self.places.iter_mut().flatten() {
            place.from = start(&hub.lock(&place.topic));
            self.from = self.from.max(place.from);
        }
        self.visit_all();
    }

    /// Starts again after a reset, at the position of the subscription.
    pub(super) fn start_again(&mut self) {
        self.behind.clear();
        for place in self.iter_mut() {
            place.from = Position::default();
        }
        self.from = Position::default();
        self.visit_all();
    }

    /// Moves every place with events after `after` before its newest event. Returns `false` if the
    /// newest event of a place was lost. If `all_lost` is set, a topic without events has lost it.
    /// `None` stands for a client that has received nothing.
    pub(super) fn skip_to_newest(
        &mut self,
        hub: &Shared,
        after: Option<Position>,
        all_lost: bool,
    ) -> bool {
        let mut is_known = true;
        for (place, index) in self.places.iter_mut().zip(0..) {
            let Some(place) = place.as_mut().filter(|place| !place.is_over) else {
                continue;
            };
            let from = match after {
                None => Position::default(),
                Some(_) if self.behind.contains(&index) => place.from,
                Some(after) => place.from.max(after),
            };
            let newest = hub.lock(&place.topic).before_newest(from, all_lost);
            is_known &= newest.is_some();
            place.from = newest.unwrap_or(place.from);
            self.from = self.from.max(place.from);
        }
        self.visit_all();
        is_known
    }

    /// Moves the places with news before their newest events. Returns the number of items between.
    pub(super) fn skip_and_count(&mut self, hub: &Shared, after: Position) -> u64 {
        let mut all_skipped = 0;
        for index in mem::take(&mut self.behind) {
            let Some(place) = &mut self.places[index as usize] else {
                continue;
            };
            let mut state = hub.lock(&place.topic);
            let missed = state.history.after(place.from).count() as u64;
            let newest = state.last().filter(|last| *last > place.from);
            state.counts.skip(missed.saturating_sub(1));
            all_skipped += missed.saturating_sub(1);
            place.seen = state.counts.published;
            place.from = newest.map_or(place.from, Position::before);
            if newest.is_some_and(|newest| newest <= after) {
                self.behind.push(index);
            } else {
                self.from = self.from.max(place.from);
                self.unread.add(index);
            }
        }
        for index in self.unread.iter() {
            let Some(Some(place)) = self.places.get_mut(index as usize) else {
                continue;
            };
            let mut state = hub.lock(&place.topic);
            let from = place.from.max(after);
            if let Some((newest, skipped)) = state.skip_and_count(from, &mut place.seen) {
                place.from = newest.before();
                self.from = self.from.max(place.from);
                all_skipped += skipped;
            }
        }
        // The first events are no longer those that were known.
        self.unread.forget_positions();
        all_skipped
    }
}
