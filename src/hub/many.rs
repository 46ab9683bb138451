//! The places of a subscription of several topics, or of topics that change.

use std::{mem, sync::Arc, task::Waker};

use super::{
    changes::{Changes, NewPlace},
    listener::{Listener, WHOLE},
    one::One,
    place::Place,
    place_list::PlaceList,
    position::Position,
    read::{Left, Mark, Read},
    shared::Shared,
    sync::lock,
};
use crate::wake::wake_all;

/// The places of a subscription of several topics, or of topics that change.
#[derive(Debug)]
pub(super) struct Many {
    pub(super) listener: Arc<Listener>,
    pub(super) list: PlaceList,
    /// The list that the listener fills next. It is empty, and keeps its room.
    news: Vec<u32>,
    /// The seat among those that wait for the end of the hub. A subscription without topics has one,
    /// and one with a handle.
    idle: Option<u32>,
    /// The changes of a handle. `None` if there never was one.
    changes: Option<Arc<Changes>>,
    /// True while events are read from the log. Places that are added then start before them.
    is_resuming: bool,
    /// True if all places were visited after the hub was closed.
    knows_close: bool,
}

impl Many {
    /// Takes seats in some topics. Returns also the position up to which all events were published,
    /// and wakers to wake.
    pub(super) fn join<T: AsRef<str>>(hub: &Shared, names: &[T]) -> (Self, Position, Vec<Waker>) {
        let listener = Arc::new(Listener::default());
        let after = hub.order.complete();
        let mut all_wakers = Vec::new();
        let places = names.iter().zip(0..).map(|(name, index)| {
            let (mut place, mut wakers) = Place::join(hub, name.as_ref(), &listener, index);
            all_wakers.append(&mut wakers);
            // An event can be published while an earlier one is under way in another topic.
            place.from = place.from.max(after);
            Some(place)
        });
        let places = places.collect();
        let mut many = Self {
            listener,
            list: PlaceList::new(places),
            news: Vec::new(),
            idle: None,
            changes: None,
            is_resuming: false,
            knows_close: false,
        };
        if names.is_empty() {
            many.wait_for_end(hub);
        }
        (many, after, all_wakers)
    }

    /// Takes the seat of a subscription of one topic, which has read up to `after`. Returns also
    /// wakers to wake.
    pub(super) fn replace(one: &One, hub: &Shared, after: Position) -> (Self, Vec<Waker>) {
        let (mut many, _, mut wakers) = Self::join(hub, &[&one.topic.name]);
        many.list.start_at(hub, |_| after);
        for place in many.list.iter_mut() {
            place.epoch = one.epoch; // it may have ended since
        }
        wakers.append(&mut one.leave(hub));
        (many, wakers)
    }

    /// Returns the list for the changes of a handle. The subscription waits for them from now on.
    pub(super) fn changes(&mut self, hub: &Shared) -> Arc<Changes> {
        self.wait_for_end(hub);
        let places = self.list.expect_changes(hub);
        self.changes
            .get_or_insert_with(|| Arc::new(Changes::new(places)))
            .clone()
    }

    /// Reads the next events after `mark`, up to `limit` if there is one, and moves `mark`.
    pub(super) fn read(
        &mut self,
        hub: &Shared,
        mark: &mut Mark,
        limit: Option<Position>,
        waker: &Waker,
    ) -> Read {
        loop {
            // Loaded before the news are taken: every event up to here was signalled.
            let complete = hub.order.complete();
            self.take_news(hub, mark.after);
            // Asked after that: if the hub is closed later, there is a signal.
            let is_closed = hub.order.is_closed();
            if is_closed && !mem::replace(&mut self.knows_close, true) {
                self.take_news(hub, mark.after); // topics that were added before the end
                self.list.visit_all();
            }
            let complete = if is_closed { Position::MAX } else { complete };
            let upto = limit.map_or(complete, |limit| limit.min(complete));
            match self.list.read(hub, mark, upto) {
                Read::Events(events, _) if self.list.is_read() && !self.is_over(is_closed) => {
                    return Read::Events(events, self.wait(hub, waker));
                }
                Read::Nothing(_) if self.is_over(is_closed) && self.list.is_read() => {
                    let is_disconnected = self.list.was_closed && self.list.open == 0;
                    // With a handle, it has waited for other topics until the end of the hub.
                    return match is_disconnected && self.changes.is_none() {
                        true => Read::Closed,
                        false => Read::Finished,
                    };
                }
                Read::Nothing(_) if self.list.is_read() => {
                    let left = self.wait(hub, waker);
                    if left.is_some() {
                        return Read::Nothing(left);
                    }
                    // There are signals again.
                }
                Read::Nothing(_) => {
                    if limit.is_some() || self.wait_for_completion(hub, waker) {
                        return Read::Nothing(None);
                    }
                }
                read => return read,
            }
        }
    }

    /// Waits for news. Returns `None` if there are some.
    pub(super) fn wait_for_news(&self, hub: &Shared, waker: &Waker) -> Option<Option<Left>> {
        if self.list.unread.is_empty() {
            return self.wait(hub, waker).map(Some);
        }
        self.wait_for_completion(hub, waker).then_some(None)
    }

    /// Waits for a change of the topics, while events are read from the log. Returns whether there was
    /// one.
    pub(super) fn watch(&mut self, hub: &Shared, after: Position, waker: &Waker) -> bool {
        let mut has_changed = false;
        self.is_resuming = true;
        loop {
            has_changed |= self.take_news(hub, after);
            for index in self.list.unread.take_all() {
                let Some(place) = self.list.get(index) else {
                    continue;
                };
                let mut state = hub.lock(&place.topic);
                state.seats.arm(place.seat);
                has_changed |= state.closed_epoch > place.epoch;
            }
            let (version, _replaced) = self.listener.wait(waker.clone());
            if version.is_some() {
                break;
            }
        }
        has_changed
    }

    /// Returns whether the subscription has no topic left, because it was disconnected from all.
    pub(super) fn is_disconnected(&self, hub: &Shared) -> bool {
        self.idle.is_none() && self.list.wanted(hub).is_empty()
    }

    /// Goes on with the history, after events were read from the log.
    pub(super) fn resume(&mut self) {
        self.is_resuming = false;
        self.list.visit_all();
    }

    /// Starts again after a reset, at the position of the subscription.
    pub(super) fn start_again(&mut self) {
        self.is_resuming = false;
        self.list.start_again();
    }

    /// Moves the places with news before their newest events. Returns the number of items between.
    pub(super) fn skip_and_count(&mut self, hub: &Shared, after: Position) -> u64 {
        self.take_news(hub, after);
        self.list.skip_and_count(hub, after)
    }

    /// Gives up all seats. Returns wakers to wake.
    pub(super) fn leave(&mut self, hub: &Shared) -> Vec<Waker> {
        if let Some(seat) = self.idle.take() {
            let _held = lock(&hub.idle).leave(seat);
        }
        let changes = self.changes.take();
        let added = changes.iter().flat_map(|changes| changes.close());
        let places = self.list.drain(hub).chain(added);
        places.flat_map(|place| place.leave(hub)).collect()
    }

    /// Returns whether there will be no more events.
    fn is_over(&self, is_closed: bool) -> bool {
        is_closed || (self.list.open == 0 && self.idle.is_none())
    }

    /// Waits for a signal. Returns `None` if there is one already, or if the hub was closed.
    fn wait(&self, hub: &Shared, waker: &Waker) -> Option<Left> {
        let waker = waker.clone();
        let left = Left::new(&waker, 0);
        let (version, _replaced) = self.listener.wait(waker);
        // If the hub is closed after this, all seats are armed, and there is a signal.
        let knows_end = self.knows_close || !hub.order.is_closed();
        version
            .filter(|_| knows_end)
            .map(|version| left.at(version))
    }

    /// Waits until the first unread event is complete. Returns `false` if it already is.
    fn wait_for_completion(&self, hub: &Shared, waker: &Waker) -> bool {
        let Some(first) = self.list.unread.first() else {
            return false;
        };
        // A change of the topics or the end of the hub must wake it too.
        self.wait(hub, waker).is_some() && hub.order.wait(first, waker.clone()).is_ok()
    }

    /// Waits for the end of the hub without a topic.
    fn wait_for_end(&mut self, hub: &Shared) {
        if self.idle.is_none() {
            let mut idle = lock(&hub.idle);
            let seat = idle.join_listener(self.listener.clone(), WHOLE);
            idle.arm(seat);
            self.idle = Some(seat);
        }
    }

    /// Takes the signals and changes since the last read. Returns whether there were changes.
    fn take_news(&mut self, hub: &Shared, after: Position) -> bool {
        for index in self.listener.take(&mut self.news) {
            self.list.unread.add(index);
        }
        for index in self.news.drain(..) {
            match self.idle {
                // A hub can begin a new generation and end later.
                Some(seat) if index == WHOLE => lock(&hub.idle).arm(seat),
                _ if index == WHOLE => {}
                _ => self.list.unread.add(index),
            }
        }
        let Some(changes) = self.changes.clone() else {
            return false;
        };
        let all = changes.take();
        let has_changed = !all.is_empty();
        let mut wakers = Vec::new();
        for (name, change) in all {
            if change.removes {
                wakers.append(&mut self.remove(hub, &changes, &name));
            }
            if let Some(added) = change.adds {
                wakers.append(&mut self.add(hub, &changes, added, after));
            }
        }
        wake_all(wakers);
        has_changed
    }

    /// Adds a place, unless the topic has one. Returns wakers to wake.
    fn add(
        &mut self,
        hub: &Shared,
        changes: &Changes,
        added: NewPlace,
        after: Position,
    ) -> Vec<Waker> {
        let NewPlace {
            index,
            place,
            is_behind,
        } = added;
        let name = place.topic.name.clone();
        let mut wakers = Vec::new();
        if let Some(present) = self.list.find(&name) {
            let began_anew = hub.lock(&present.topic).epoch != present.epoch;
            if !present.is_over && !began_anew {
                changes.give_back_place(index);
                return place.leave(hub);
            }
            wakers = self.remove(hub, changes, &name);
        }
        let is_behind = self.is_resuming || (is_behind && place.from < after);
        self.list.add(index, place, is_behind);
        wakers
    }

    /// Removes the place in a topic, if there is one. Returns wakers to wake.
    fn remove(&mut self, hub: &Shared, changes: &Changes, name: &str) -> Vec<Waker> {
        let Some((index, place)) = self.list.remove(name) else {
            return Vec::new();
        };
        changes.give_back_place(index);
        place.leave(hub)
    }
}
