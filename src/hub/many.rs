//! The places of a subscription of several topics, or of topics that change.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    mem,
    sync::Arc,
    task::Waker,
};

use super::{
    changes::{Added, Changes},
    encoded_events::EncodedEvents,
    listener::{Listener, WHOLE},
    one::One,
    piece::Piece,
    place::Place,
    position::Position,
    read::{Left, Mark, Read},
    runs::Run,
    sets::{MAX_TOPICS, Set},
    shared::Shared,
    sync::lock,
    topic::{Several, TopicState},
};
use crate::wake::wake_all;

/// The places of a subscription of several topics.
///
/// A place is in `unread`, or its seat is armed: then the topic had nothing to read, and signals its
/// next event to the listener. A read therefore visits only the topics with news, whatever the number
/// of topics.
#[derive(Debug)]
pub(super) struct Many {
    pub(super) listener: Arc<Listener>,
    places: Vec<Option<Place>>,
    /// The number of places that are not over.
    open: usize,
    /// The places that may have events to read, by the position of the first one. The position is
    /// one that was read already if the first event is not known.
    unread: BinaryHeap<Reverse<(Position, u32)>>,
    /// The list that the listener fills next. It is empty, and keeps its room.
    news: Vec<u32>,
    /// The places that were added with an earlier position than that of the subscription.
    behind: Vec<u32>,
    /// The greatest `Place::from`. Up to there, the subscription may skip events.
    from: Position,
    /// The set of its topics, whose subscriptions share joined events. `None` until it is needed.
    set: Option<Set>,
    /// The seat among those that wait for the end of the hub.
    idle: Option<u32>,
    /// The changes of a handle. `None` if there never was one.
    changes: Option<Arc<Changes>>,
    /// The index of each topic's place. `None` until there is a change.
    indices: Option<HashMap<Arc<str>, u32>>,
    /// True while events are read from the log. Places that are added then start before them.
    is_resuming: bool,
    /// True if all places were visited after the hub was closed.
    knows_close: bool,
    /// Set if a place ended because the server closed it.
    was_closed: bool,
}

/// The outcome of a visit to a topic.
enum Visit {
    /// The position of the first event to read.
    Unread(Position),
    /// There is nothing to read. The seat is armed, unless the place was removed or is over already.
    Armed,
    /// The place is over. The flag is set if the server closed it.
    Over(bool),
    Lost,
}

impl Many {
    /// Takes seats in some topics. Returns also the position up to which all events were published,
    /// and wakers to wake.
    pub(super) fn join<T: AsRef<str>>(hub: &Shared, names: &[T]) -> (Self, Position, Vec<Waker>) {
        let listener = Arc::new(Listener::default());
        let after = hub.order.complete();
        let mut all_wakers = Vec::new();
        let places = names.iter().zip(0..).map(|(name, index)| {
            let (mut place, mut wakers) = join(hub, name.as_ref(), &listener, index);
            all_wakers.append(&mut wakers);
            // An event can be published while an earlier one is under way in another topic.
            place.from = place.from.max(after);
            Some(place)
        });
        let places = places.collect();
        let mut many = Self::new(listener, places);
        if names.is_empty() {
            many.wait_for_end(hub);
        }
        (many, after, all_wakers)
    }

    /// Takes the seat of a subscription of one topic, which has read up to `after`. Returns also
    /// wakers to wake.
    pub(super) fn replace(one: &One, hub: &Shared, after: Position) -> (Self, Vec<Waker>) {
        let (mut many, _, mut wakers) = Self::join(hub, &[&one.topic.name]);
        many.start_at(hub, |_| after);
        for place in many.places.iter_mut().flatten() {
            place.epoch = one.epoch; // it may have ended since
        }
        wakers.append(&mut one.leave(hub));
        (many, wakers)
    }

    fn new(listener: Arc<Listener>, places: Vec<Option<Place>>) -> Self {
        let froms = places.iter().flatten().map(|place| place.from);
        let indices = 0..places.len() as u32;
        Self {
            listener,
            open: places.len(),
            from: froms.max().unwrap_or_default(),
            unread: indices
                .map(|index| Reverse((Position::default(), index)))
                .collect(),
            places,
            news: Vec::new(),
            behind: Vec::new(),
            set: None,
            idle: None,
            changes: None,
            indices: None,
            is_resuming: false,
            knows_close: false,
            was_closed: false,
        }
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

    /// Returns the list for the changes of a handle. The subscription waits for them from now on.
    pub(super) fn changes(&mut self, hub: &Shared) -> Arc<Changes> {
        self.wait_for_end(hub);
        self.leave_set(hub);
        let places = self.places.len() as u32;
        self.changes
            .get_or_insert_with(|| Arc::new(Changes::new(places)))
            .clone()
    }

    /// Notes the indices of the topics, by which a change finds them.
    fn index(&mut self) -> &mut HashMap<Arc<str>, u32> {
        self.indices.get_or_insert_with(|| {
            let places = self.places.iter().zip(0..);
            let named = places.filter_map(|(place, index)| {
                let place = place.as_ref()?;
                Some((place.topic.name.clone(), index))
            });
            named.collect()
        })
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().flatten()
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
                self.visit_all();
            }
            let complete = if is_closed { Position::MAX } else { complete };
            let upto = limit.map_or(complete, |limit| limit.min(complete));
            let read = match self.read_behind(hub, *mark) {
                Read::Nothing(_) => self.read_unread(hub, mark, upto),
                read => read,
            };
            match read {
                Read::Events(events, _)
                    if self.unread.is_empty()
                        && self.behind.is_empty()
                        && !self.is_over(is_closed) =>
                {
                    return Read::Events(events, self.wait(hub, waker));
                }
                Read::Nothing(_) if self.unread.is_empty() => {
                    if self.is_over(is_closed) {
                        return if self.was_closed && self.open == 0 {
                            Read::Closed
                        } else {
                            Read::Finished
                        };
                    }
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

    /// Returns whether there will be no more events.
    fn is_over(&self, is_closed: bool) -> bool {
        is_closed || (self.open == 0 && self.changes.is_none() && self.idle.is_none())
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
        let Some(Reverse((first, _))) = self.unread.peek() else {
            return false;
        };
        // A change of the topics or the end of the hub must wake it too.
        self.wait(hub, waker).is_some() && hub.order.wait(*first, waker.clone()).is_ok()
    }

    /// Takes the signals and changes since the last read. Returns whether there were changes.
    fn take_news(&mut self, hub: &Shared, after: Position) -> bool {
        for index in self.listener.take(&mut self.news) {
            self.unread.push(Reverse((Position::default(), index)));
        }
        for index in self.news.drain(..) {
            match self.idle {
                // A hub can begin a new generation and end later.
                Some(seat) if index == WHOLE => lock(&hub.idle).arm(seat),
                _ if index == WHOLE => {}
                _ => self.unread.push(Reverse((Position::default(), index))),
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

    /// Waits for a change of the topics, while events are read from the log. Returns whether there was
    /// one.
    pub(super) fn watch(&mut self, hub: &Shared, after: Position, waker: &Waker) -> bool {
        let mut has_changed = false;
        self.is_resuming = true;
        loop {
            has_changed |= self.take_news(hub, after);
            for Reverse((_, index)) in mem::take(&mut self.unread) {
                let Some(place) = self.place(index) else {
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
        let has_more = self.changes.is_some() || self.idle.is_some();
        !has_more && self.wanted(hub).is_empty()
    }

    /// Returns the topics whose events are read from the log, and the positions after which.
    pub(super) fn wanted(&self, hub: &Shared) -> HashMap<Arc<str>, Position> {
        let places = self.places.iter().zip(0..);
        let wanted = places.filter_map(|(place, index)| {
            let place = place.as_ref()?;
            let is_open = hub.lock(&place.topic).closed_epoch <= place.epoch;
            // Those that are behind are read from the history.
            (is_open && !self.behind.contains(&index))
                .then(|| (place.topic.name.clone(), place.from))
        });
        wanted.collect()
    }

    /// Goes on with the history, after events were read from the log.
    pub(super) fn resume(&mut self) {
        self.is_resuming = false;
        self.visit_all();
        let behind = &self.behind;
        self.unread
            .retain(|Reverse((_, index))| !behind.contains(index));
    }

    fn place(&mut self, index: u32) -> Option<&mut Place> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    /// Adds a place, unless the topic has one. Returns wakers to wake.
    fn add(
        &mut self,
        hub: &Shared,
        changes: &Changes,
        added: Added,
        after: Position,
    ) -> Vec<Waker> {
        let Added {
            index,
            place,
            is_behind,
        } = added;
        let name = place.topic.name.clone();
        let mut wakers = Vec::new();
        if let Some(other) = self.index().get(&name).copied() {
            let is_open = self.place(other).is_some_and(|other| {
                let began_anew = hub.lock(&other.topic).epoch != other.epoch;
                !other.is_over && !began_anew
            });
            if is_open {
                changes.give_back_place(index);
                return hub.leave(&place.topic, place.seat);
            }
            wakers = self.remove(hub, changes, &name);
        }
        self.leave_set(hub);
        let rows = self.places.len().max(index as usize + 1);
        self.places.resize_with(rows, || None);
        if self.is_resuming || (is_behind && place.from < after) {
            self.behind.push(index);
        } else {
            self.from = self.from.max(place.from);
            self.unread.push(Reverse((Position::default(), index)));
        }
        self.places[index as usize] = Some(place);
        self.index().insert(name, index);
        self.open += 1;
        wakers
    }

    /// Removes the place in a topic, if there is one. Returns wakers to wake.
    fn remove(&mut self, hub: &Shared, changes: &Changes, name: &str) -> Vec<Waker> {
        let Some(index) = self.index().remove(name) else {
            return Vec::new();
        };
        self.leave_set(hub);
        self.behind.retain(|behind| *behind != index);
        let Some(place) = self.places[index as usize].take() else {
            return Vec::new();
        };
        self.open -= usize::from(!place.is_over);
        changes.give_back_place(index);
        hub.leave(&place.topic, place.seat)
    }

    /// Marks all places as perhaps unread.
    pub(super) fn visit_all(&mut self) {
        let open = self.places.iter().zip(0..).filter_map(|(place, index)| {
            let place = place.as_ref()?;
            (!place.is_over).then_some(Reverse((Position::default(), index)))
        });
        self.unread = open.collect();
    }

    /// Reads the events of places that begin before the position of the subscription.
    fn read_behind(&mut self, hub: &Shared, mark: Mark) -> Read {
        while let Some(index) = self.behind.last() {
            let place = self.places[*index as usize].as_mut().expect(BEHIND);
            let Some(state) = hub.lock_in(&place.topic, mark.generation) else {
                return Read::Lost;
            };
            if state.loses_since(place.epoch, place.from) {
                return Read::Lost;
            }
            let is_ended = state.epoch != place.epoch;
            let mut piece = Piece::default();
            let missed = state.history.after(place.from);
            let missed = missed.take_while(|stored| stored.at <= mark.after && !is_ended);
            let missed: Vec<_> = missed
                .take_while(|stored| piece.takes(&stored.events))
                .collect();
            if let Some(last) = missed.last() {
                let from = last.at;
                let events = EncodedEvents::join(missed.iter().map(|stored| &stored.events));
                drop(state);
                place.from = from;
                return Read::Events(events, None);
            }
            place.from = place.from.max(mark.after);
            self.unread.push(Reverse((Position::default(), *index)));
            self.behind.pop();
        }
        Read::Nothing(None)
    }

    /// Reads the next events of places that may have some.
    fn read_unread(&mut self, hub: &Shared, mark: &mut Mark, upto: Position) -> Read {
        if let [Reverse((_, index))] = *self.unread.as_slice() {
            self.unread.clear();
            return self.read_single(hub, index, mark, upto);
        }
        if self.unread.is_empty() {
            return Read::Nothing(None);
        }
        if let Some(events) = self.read_shared(hub, mark, upto) {
            return Read::Events(events, None);
        }
        // The first event of every place must be known.
        while let Some(Reverse((first, index))) = self.unread.peek().copied() {
            if first > mark.after {
                break;
            }
            self.unread.pop();
            match self.visit(hub, index, *mark) {
                Visit::Unread(_) | Visit::Armed | Visit::Over(_) => {}
                visit => {
                    self.unread.push(Reverse((Position::default(), index)));
                    return visit.into();
                }
            }
        }
        if let [Reverse((_, index))] = *self.unread.as_slice() {
            self.unread.clear();
            return self.read_single(hub, index, mark, upto);
        }
        self.merge(hub, mark, upto)
    }

    /// Reads joined events that another subscription to the same topics has shared. Returns `None`
    /// if there are none, or if a place needs a closer look.
    fn read_shared(
        &mut self,
        hub: &Shared,
        mark: &mut Mark,
        upto: Position,
    ) -> Option<EncodedEvents> {
        if !self.shares() || self.from > mark.after {
            return None;
        }
        let joined = self.set(hub).get(mark.after, mark.generation);
        let (last, events) = joined.filter(|(last, _)| *last <= upto)?;
        let mut rest = Vec::new();
        // Every place with an event up to `last` was signalled, and is among these.
        for Reverse((_, index)) in &self.unread {
            let place = self.places.get(*index as usize)?.as_ref()?;
            let mut state = hub.lock_in(&place.topic, mark.generation)?;
            if state.epoch != place.epoch || state.finish.is_some() || state.loses(mark.after) {
                return None;
            }
            state.seats.arm(place.seat);
            if state.has_more(last) {
                rest.push(Reverse((Position::default(), *index)));
            }
        }
        self.unread.clear();
        self.unread.extend(rest);
        mark.after = last;
        Some(events)
    }

    /// Reads the next events of a single topic, which shares joined events by itself.
    fn read_single(&mut self, hub: &Shared, index: u32, mark: &mut Mark, upto: Position) -> Read {
        let Some(place) = self.places.get_mut(index as usize).and_then(Option::as_mut) else {
            return Read::Nothing(None); // it was removed
        };
        if place.is_over {
            return Read::Nothing(None);
        }
        let Some(mut state) = hub.lock_in(&place.topic, mark.generation) else {
            self.unread.push(Reverse((Position::default(), index)));
            return Read::Lost;
        };
        let from = place.from.max(mark.after);
        if state.loses_since(place.epoch, from) {
            self.unread.push(Reverse((Position::default(), index)));
            return Read::Lost;
        }
        let read = match state.read(from, upto) {
            Ok(read) => read,
            Err(Several) => hub.read_joined(&place.topic, &mut state, from, upto),
        };
        let read = read.filter(|_| state.epoch == place.epoch);
        let last = read.as_ref().map_or(from, |(last, _)| *last);
        let (seat, epoch) = (place.seat, place.epoch);
        let visit = visit(&mut state, seat, epoch, &mut place.is_over, last);
        drop(state);
        self.note(hub, index, &visit);
        match read {
            Some((last, events)) => {
                mark.after = last;
                Read::Events(events, None)
            }
            None => Read::Nothing(None),
        }
    }

    /// Reads the next events of several topics, in their order.
    fn merge(&mut self, hub: &Shared, mark: &mut Mark, upto: Position) -> Read {
        let mut events: Vec<EncodedEvents> = Vec::new();
        let mut piece = Piece::default();
        let (mut first, mut last) = (None, mark.after);
        let (mut is_full, mut is_lasting) = (false, true);
        while let Some(Reverse((unread, index))) = self.unread.peek().copied() {
            if unread > upto || is_full {
                break;
            }
            // A place that starts again can be listed twice.
            while self
                .unread
                .peek()
                .is_some_and(|Reverse((_, next))| *next == index)
            {
                self.unread.pop();
            }
            let before_next = self.unread.peek().map(|Reverse((next, _))| next.before());
            let until = before_next.map_or(upto, |before| before.min(upto));
            let Some(place) = self.places.get_mut(index as usize).and_then(Option::as_mut) else {
                continue; // it was removed
            };
            if place.is_over {
                continue; // another place had its index when it was listed
            }
            let Some(mut state) = hub.lock_in(&place.topic, mark.generation) else {
                self.unread.push(Reverse((unread, index)));
                return Read::Lost;
            };
            let from = place.from.max(last);
            if state.loses_since(place.epoch, from) {
                self.unread.push(Reverse((Position::default(), index)));
                if events.is_empty() {
                    return Read::Lost;
                }
                break;
            }
            if state.epoch == place.epoch {
                for stored in state.history.after(from) {
                    if stored.at > until {
                        break;
                    }
                    is_full = !piece.takes(&stored.events);
                    if is_full {
                        break;
                    }
                    first.get_or_insert(stored.at);
                    last = stored.at;
                    // A later event can take the place of this one.
                    is_lasting &= stored
                        .keys
                        .as_ref()
                        .is_none_or(|keys| keys.coalesce.is_none());
                    events.push(stored.events.clone());
                }
            }
            let (seat, epoch) = (place.seat, place.epoch);
            let visit = visit(&mut state, seat, epoch, &mut place.is_over, last);
            drop(state);
            self.note(hub, index, &visit);
            // If it is over, these are no longer the events of its topics.
            is_lasting &= !matches!(visit, Visit::Over(_));
        }
        let Some(first) = first else {
            return Read::Nothing(None);
        };
        let from = mem::replace(&mut mark.after, last);
        if let [events] = &events[..] {
            return Read::Events(events.clone(), None);
        }
        let events = EncodedEvents::join(events.iter());
        if is_lasting && self.shares() && self.from <= from {
            let run = Run {
                from,
                first,
                last,
                events: events.clone(),
            };
            self.set(hub).share(run, mark.generation, &hub.memory);
        }
        Read::Events(events, None)
    }

    /// Looks for the first event of a place after `mark`. Arms its seat if there is none.
    fn visit(&mut self, hub: &Shared, index: u32, mark: Mark) -> Visit {
        let Some(place) = self.places.get_mut(index as usize).and_then(Option::as_mut) else {
            return Visit::Armed; // it was removed
        };
        if place.is_over {
            return Visit::Armed; // it has nothing to read
        }
        let Some(mut state) = hub.lock_in(&place.topic, mark.generation) else {
            return Visit::Lost;
        };
        let from = place.from.max(mark.after);
        if state.loses_since(place.epoch, from) {
            return Visit::Lost;
        }
        let (seat, epoch) = (place.seat, place.epoch);
        let visit = visit(&mut state, seat, epoch, &mut place.is_over, from);
        drop(state);
        self.note(hub, index, &visit);
        visit
    }

    /// Notes what a visit to a place has found.
    fn note(&mut self, hub: &Shared, index: u32, visit: &Visit) {
        match visit {
            Visit::Unread(first) => self.unread.push(Reverse((*first, index))),
            Visit::Over(was_closed) => {
                self.open -= 1;
                self.was_closed |= was_closed;
                self.leave_set(hub); // the other places have another set of topics
            }
            Visit::Armed | Visit::Lost => {}
        }
    }

    /// Returns whether other subscriptions may have the same topics, so that joined events are
    /// shared.
    fn shares(&self) -> bool {
        self.places.len() <= MAX_TOPICS && self.changes.is_none()
    }

    fn set(&mut self, hub: &Shared) -> &Set {
        let open = self.places.iter().flatten().filter(|place| !place.is_over);
        let keys = open.map(|place| (place.topic.key, place.epoch));
        self.set
            .get_or_insert_with(|| hub.sets.join(keys.collect()))
    }

    fn leave_set(&mut self, hub: &Shared) {
        if let Some(set) = self.set.take() {
            hub.sets.leave(set, &hub.memory);
        }
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
            let state = hub.lock(&place.topic);
            let from = match after {
                None => Position::default(),
                Some(_) if self.behind.contains(&index) => place.from,
                Some(after) => place.from.max(after),
            };
            match state.before_newest(from, all_lost) {
                Some(from) => place.from = from,
                None => is_known = false,
            }
            self.from = self.from.max(place.from);
        }
        self.visit_all();
        is_known
    }

    /// Moves the places with news before their newest events. Returns the number of items between.
    pub(super) fn skip_and_count(&mut self, hub: &Shared, after: Position) -> u64 {
        let mut all_skipped = 0;
        self.take_news(hub, after);
        for index in &self.behind {
            let place = self.places[*index as usize].as_mut().expect(BEHIND);
            let mut state = hub.lock(&place.topic);
            let missed = state.history.after(place.from);
            let missed = missed.take_while(|stored| stored.at <= after);
            let (skipped, newest) =
                missed.fold((0, None), |(count, _), stored| (count + 1, Some(stored.at)));
            if let (2.., Some(newest)) = (skipped, newest) {
                place.from = newest.before();
                state.counts.skip(skipped - 1);
                all_skipped += skipped - 1;
            }
        }
        for Reverse((_, index)) in self.unread.iter() {
            let Some(place) = self
                .places
                .get_mut(*index as usize)
                .and_then(Option::as_mut)
            else {
                continue;
            };
            let mut state = hub.lock(&place.topic);
            let from = place.from.max(after);
            let Some((newest, skipped)) = state.skip_to_newest(from, &mut place.seen) else {
                continue;
            };
            place.from = newest.before();
            self.from = self.from.max(place.from);
            all_skipped += skipped;
        }
        // The first events are no longer those that were known.
        let unread = mem::take(&mut self.unread).into_iter();
        self.unread = unread
            .map(|Reverse((_, index))| Reverse((Position::default(), index)))
            .collect();
        all_skipped
    }

    /// Waits for news. Returns `None` if there are some.
    pub(super) fn wait_for_news(&self, hub: &Shared, waker: &Waker) -> Option<Option<Left>> {
        if self.unread.is_empty() {
            return self.wait(hub, waker).map(Some);
        }
        self.wait_for_completion(hub, waker).then_some(None)
    }

    /// Moves every place before the last events of all of them together.
    pub(super) fn start_before_last(&mut self, hub: &Shared, events: usize) {
        let mut last: Vec<Position> = Vec::new();
        for place in self.places() {
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
        self.is_resuming = false;
        for place in self.places.iter_mut().flatten() {
            place.from = Position::default();
        }
        self.from = Position::default();
        self.visit_all();
    }

    /// Gives up all seats. Returns wakers to wake.
    pub(super) fn leave(&mut self, hub: &Shared) -> Vec<Waker> {
        self.leave_set(hub);
        if let Some(seat) = self.idle.take() {
            let _held = lock(&hub.idle).leave(seat);
        }
        let changes = self.changes.take();
        let added = changes.iter().flat_map(|changes| changes.close());
        let places = self.places.drain(..).flatten().chain(added);
        places
            .flat_map(|place| hub.leave(&place.topic, place.seat))
            .collect()
    }
}

impl From<Visit> for Read {
    fn from(visit: Visit) -> Self {
        match visit {
            Visit::Lost => Self::Lost,
            Visit::Unread(_) | Visit::Armed | Visit::Over(_) => Self::Nothing(None),
        }
    }
}

/// Takes a seat in a topic for a place of a listener. Returns also wakers to wake.
pub(super) fn join(
    hub: &Shared,
    name: &str,
    listener: &Arc<Listener>,
    index: u32,
) -> (Place, Vec<Waker>) {
    hub.join(name, |topic, state| Place {
        topic: topic.clone(),
        seat: state.seats.join_listener(listener.clone(), index),
        epoch: state.epoch,
        from: state.last().unwrap_or_else(|| state.complete_since()),
        seen: state.counts.published,
        is_over: false,
    })
}

/// Looks for the first event of a place after `after`. Arms its seat if there is none.
fn visit(
    state: &mut TopicState,
    seat: u32,
    epoch: u32,
    is_over: &mut bool,
    after: Position,
) -> Visit {
    let is_ended = state.epoch != epoch;
    let first = state.first_after(after).filter(|_| !is_ended);
    if let Some(first) = first {
        return Visit::Unread(first);
    }
    if is_ended || state.finish.is_some() {
        *is_over = true;
        return Visit::Over(state.closed_epoch > epoch);
    }
    state.seats.arm(seat);
    Visit::Armed
}

/// The invariant by which a place that is behind exists.
const BEHIND: &str = "a place that is removed is no longer behind";
