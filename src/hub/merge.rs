//! The reads of several topics, in the order of their events.

use std::mem;

use super::{
    encoded_events::EncodedEvents,
    piece::Piece,
    place::{Place, Visit},
    place_list::PlaceList,
    position::Position,
    read::{Mark, Read},
    runs::Run,
    shared::Shared,
    sync::MutexGuard,
    topic::{Several, TopicState},
};

/// A place whose topic is locked.
struct Entered<'a> {
    place: &'a Place,
    state: MutexGuard<'a, TopicState>,
    /// The position after which the subscription wants events of the topic.
    from: Position,
}

/// The error that a place has lost events, or that a new generation has begun.
struct Lost;

impl PlaceList {
    /// Reads the next events after `mark`, up to `upto`, and moves `mark`. No waker waits for more.
    pub(super) fn read(&mut self, hub: &Shared, mark: &mut Mark, upto: Position) -> Read {
        let read = match self.read_behind(hub, *mark) {
            Ok(None) => self.read_unread(hub, mark, upto),
            read => read,
        };
        match read {
            Ok(Some(events)) => Read::Events(events, None),
            Ok(None) => Read::Nothing(None),
            Err(Lost) => Read::Lost,
        }
    }

    /// Reads the events of places that begin before the position of the subscription.
    fn read_behind(&mut self, hub: &Shared, mark: Mark) -> Result<Option<EncodedEvents>, Lost> {
        while let Some(index) = self.behind.last().copied() {
            // A place that is removed is no longer behind.
            if let Some(place) = self.get_mut(index) {
                let state = hub.lock_in(&place.topic, mark.generation).ok_or(Lost)?;
                if state.loses_since(place.epoch, place.from) {
                    return Err(Lost);
                }
                let is_ended = state.epoch != place.epoch;
                let mut piece = Piece::default();
                let missed = state.history.after(place.from);
                let missed = missed.take_while(|stored| stored.at <= mark.after && !is_ended);
                let missed: Vec<_> = missed
                    .take_while(|stored| piece.takes(&stored.events))
                    .collect();
                if let Some(last) = missed.last() {
                    place.from = last.at;
                    let events = missed.iter().map(|stored| &stored.events);
                    return Ok(Some(EncodedEvents::join(events)));
                }
                drop(state);
                place.from = place.from.max(mark.after);
            }
            self.unread.add(index);
            self.behind.pop();
        }
        Ok(None)
    }

    /// Reads the next events of places that may have some.
    fn read_unread(
        &mut self,
        hub: &Shared,
        mark: &mut Mark,
        upto: Position,
    ) -> Result<Option<EncodedEvents>, Lost> {
        if let Some(index) = self.unread.take_single() {
            return self.read_single(hub, index, mark, upto);
        }
        if self.unread.is_empty() {
            return Ok(None);
        }
        if let Some(events) = self.read_shared(hub, mark, upto) {
            return Ok(Some(events));
        }
        // The first event of every place must be known.
        while let Some(index) = self.unread.take_upto(mark.after) {
            let Some(mut entered) = self.enter(hub, index, *mark)? else {
                continue;
            };
            let visit = entered.place.visit(&mut entered.state, mark.after);
            drop(entered);
            self.note(hub, index, visit);
        }
        if let Some(index) = self.unread.take_single() {
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
        if self.from > mark.after {
            return None;
        }
        let joined = self.set(hub)?.get(mark.after, mark.generation);
        let (last, events) = joined.filter(|(last, _)| *last <= upto)?;
        let mut rest = Vec::new();
        // Every place with an event up to `last` was signalled, and is among these.
        for index in self.unread.iter() {
            let place = self.get(index)?;
            let mut state = hub.lock_in(&place.topic, mark.generation)?;
            let needs_look = state.epoch != place.epoch || state.finish.is_some();
            if needs_look || state.loses(mark.after) {
                return None;
            }
            state.seats.arm(place.seat);
            if state.has_more(last) {
                rest.push(index);
            }
        }
        self.unread.replace(rest);
        mark.after = last;
        Some(events)
    }

    /// Reads the next events of a single topic, which shares joined events by itself.
    fn read_single(
        &mut self,
        hub: &Shared,
        index: u32,
        mark: &mut Mark,
        upto: Position,
    ) -> Result<Option<EncodedEvents>, Lost> {
        let Some(Entered {
            place,
            mut state,
            from,
        }) = self.enter(hub, index, *mark)?
        else {
            return Ok(None);
        };
        let read = match state.read(from, upto) {
            Ok(read) => read,
            Err(Several) => hub.read_joined(&place.topic, &mut state, from, upto),
        };
        let read = read.filter(|_| state.epoch == place.epoch);
        let last = read.as_ref().map_or(from, |(last, _)| *last);
        let visit = place.visit(&mut state, last);
        drop(state);
        self.note(hub, index, visit);
        Ok(read.map(|(last, events)| {
            mark.after = last;
            events
        }))
    }

    /// Reads the next events of several topics, in their order.
    fn merge(
        &mut self,
        hub: &Shared,
        mark: &mut Mark,
        upto: Position,
    ) -> Result<Option<EncodedEvents>, Lost> {
        let mut events: Vec<EncodedEvents> = Vec::new();
        let mut piece = Piece::default();
        let (mut first, mut last) = (None, mark.after);
        let (mut is_full, mut is_lasting) = (false, true);
        while !is_full {
            let Some(index) = self.unread.take_upto(upto) else {
                break;
            };
            let before_next = self.unread.first().map(Position::before);
            let until = before_next.map_or(upto, |before| before.min(upto));
            let at = Mark {
                after: last,
                ..*mark
            };
            let Entered {
                place,
                mut state,
                from,
            } = match self.enter(hub, index, at) {
                Ok(Some(entered)) => entered,
                Ok(None) => continue,
                Err(Lost) if events.is_empty() => return Err(Lost),
                Err(Lost) => break, // the next read finds it again
            };
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
                    let keys = stored.keys.as_ref();
                    is_lasting &= keys.is_none_or(|keys| keys.coalesce.is_none());
                    events.push(stored.events.clone());
                }
            }
            let visit = place.visit(&mut state, last);
            drop(state);
            self.note(hub, index, visit);
            // If it is over, these are no longer the events of its topics.
            is_lasting &= !matches!(visit, Visit::Over(_));
        }
        let Some(first) = first else {
            return Ok(None);
        };
        let from = mem::replace(&mut mark.after, last);
        if let [events] = &events[..] {
            return Ok(Some(events.clone()));
        }
        let events = EncodedEvents::join(events.iter());
        let can_share = is_lasting && self.from <= from;
        if let Some(set) = can_share.then(|| self.set(hub)).flatten() {
            let run = Run {
                from,
                first,
                last,
                events: events.clone(),
            };
            set.share(run, mark.generation, &hub.memory);
        }
        Ok(Some(events))
    }

    /// Locks the topic of a place. Returns `None` if the place was removed or is over. If it has lost
    /// events after `mark`, it stays unread.
    fn enter(&mut self, hub: &Shared, index: u32, mark: Mark) -> Result<Option<Entered<'_>>, Lost> {
        let place = self.places.get(index as usize).and_then(Option::as_ref);
        let Some(place) = place.filter(|place| !place.is_over) else {
            return Ok(None);
        };
        let from = place.from.max(mark.after);
        let state = hub.lock_in(&place.topic, mark.generation);
        match state.filter(|state| !state.loses_since(place.epoch, from)) {
            Some(state) => Ok(Some(Entered { place, state, from })),
            None => {
                self.unread.add(index);
                Err(Lost)
            }
        }
    }

    /// Notes what a visit to a place has found.
    fn note(&mut self, hub: &Shared, index: u32, visit: Visit) {
        match visit {
            Visit::Unread(first) => self.unread.add_at(first, index),
            Visit::Over(was_closed) => {
                if let Some(place) = self.get_mut(index) {
                    place.is_over = true;
                }
                self.open -= 1;
                self.was_closed |= was_closed;
                self.leave_set(hub); // the other places have another set of topics
            }
            Visit::Armed => {}
        }
    }
}
