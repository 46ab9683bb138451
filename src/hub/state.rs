//! The state of a hub under its one lock: topics, their history, and the order over all of them.
//! Nothing here reads the clock or wakes a waker.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    mem,
    ops::Deref,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use bytes::BytesMut;
use tokio::time::Instant;

use super::{
    encoded_events::EncodedEvents,
    position::Position,
    topic::{Piece, Stored, Topic},
    wakers::Wakers,
};
use crate::{slots::Slots, wire::set_last_id};

/// The bounds of the history.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The maximum number of events of each topic.
    pub(super) events: usize,
    /// The maximum size of the history of each topic, in bytes.
    pub(super) bytes: usize,
    /// The maximum age of an event.
    pub(super) age: Option<Duration>,
    /// The maximum memory of all topics together, in bytes, including overhead.
    pub(super) memory: usize,
}

/// The overhead of an entry in bytes: the entry itself, its row in `order`, and the header of its
/// shared allocation.
const ENTRY: usize = mem::size_of::<Stored>() + mem::size_of::<(Position, usize)>() + 40;

/// The overhead of a topic in bytes, without its name and entries: the topic itself, and its row in
/// `names`.
const TOPIC: usize = mem::size_of::<Topic>() + 96;

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    /// The position of the last event.
    pub(super) head: Position,
    pub(super) closed: bool,
    names: HashMap<Arc<str>, usize>,
    topics: Slots<Option<Box<Topic>>>,
    /// The position and the topic of each entry, the oldest first. Some rows may belong to entries
    /// that were dropped since.
    order: VecDeque<(Position, usize)>,
    entries: usize,
    /// The estimated memory of everything, in bytes.
    memory: usize,
    /// Topics that are not in the table have lost no event after this position.
    forgotten: Position,
    /// The number of times that a subscription lagged.
    pub(super) lagged: u64,
    /// The wakers of subscriptions without topics, which wait for the hub to close.
    pub(super) idle: Wakers,
}

/// The values that a hub reports to metrics.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "only metrics read it")
)]
pub(super) struct Held {
    pub(super) topics: usize,
    pub(super) memory: usize,
    /// The number of times that a subscription lagged, since the hub was created.
    pub(super) lagged: u64,
}

/// The place of a subscription in one topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    topic: usize,
    seat: usize,
}

/// The places of a subscription in its topics. One place needs no allocation, because most
/// subscriptions have one topic.
#[derive(Debug)]
pub(super) enum Seats {
    One([Place; 1]),
    Many(Box<[Place]>),
}

/// The result of a read by a subscription.
#[derive(Debug)]
pub(super) enum Read {
    Nothing,
    /// The position of the last event, and the events.
    Events(Position, EncodedEvents),
    /// Events that the subscription has not read are no longer available.
    Lost,
}

impl Deref for Seats {
    type Target = [Place];

    fn deref(&self) -> &[Place] {
        match self {
            Self::One(seat) => seat,
            Self::Many(seats) => seats,
        }
    }
}

impl FromIterator<Place> for Seats {
    fn from_iter<I: IntoIterator<Item = Place>>(seats: I) -> Self {
        let seats: Vec<Place> = seats.into_iter().collect();
        match seats[..] {
            [seat] => Self::One([seat]),
            _ => Self::Many(seats.into()),
        }
    }
}

impl State {
    pub(super) fn new(limits: Limits, start: Position) -> Self {
        Self {
            limits,
            head: start,
            closed: false,
            names: HashMap::new(),
            topics: Slots::default(),
            order: VecDeque::new(),
            entries: 0,
            memory: 0,
            forgotten: start,
            lagged: 0,
            idle: Wakers::default(),
        }
    }

    /// Adds the events in `wire` at a position after the head, and moves the wakers that wait for
    /// them to `woken`. Returns the size in bytes, including the id.
    pub(super) fn push(
        &mut self,
        at: Position,
        topic: &str,
        mut wire: BytesMut,
        events: u64,
        now: Option<Instant>,
        woken: &mut Vec<Waker>,
    ) -> usize {
        self.head = at;
        set_last_id(&mut wire, at.hi(), at.lo());
        let bytes = wire.len();
        let index = self.topic_named(topic);
        let entry = Stored {
            at,
            time: now,
            events: EncodedEvents::new(wire.freeze(), events.max(1)),
        };
        self.memory += ENTRY + bytes;
        self.entries += 1;
        self.order.push_back((at, index));
        let limits = self.limits;
        let topic = self.topic_mut(index);
        topic.push(entry);
        topic.waiting.take_all(woken);
        let runs = topic.forget_runs();
        self.memory -= runs;
        // The newest event of a topic stays, because otherwise no subscriber would get it.
        let over = |topic: &Topic| {
            topic.entries.len() > 1
                && (topic.entries.len() > limits.events || topic.bytes > limits.bytes)
        };
        while over(self.topic_mut(index)) {
            self.trim(index);
        }
        self.trim_oldest(now);
        bytes
    }

    /// Drops entries that are too old, and the oldest ones while the memory exceeds its bound.
    fn trim_oldest(&mut self, now: Option<Instant>) {
        while let Some(&(at, index)) = self.order.front() {
            let topic = self.topics.get(index).and_then(Option::as_deref);
            let entry = topic.and_then(|topic| topic.entries.front());
            let Some(entry) = entry.filter(|entry| entry.at == at) else {
                self.order.pop_front(); // its entry was already dropped
                continue;
            };
            let age = now.zip(entry.time).map(|(now, time)| now - time);
            let too_old = age.zip(self.limits.age).is_some_and(|(age, max)| age > max);
            let too_much = self.memory > self.limits.memory && at != self.head;
            if !too_old && !too_much {
                break;
            }
            self.order.pop_front();
            self.trim(index);
        }
        if self.order.len() > 2 * self.entries + 64 {
            let topics = &self.topics;
            self.order.retain(|&(at, index)| {
                let topic = topics.get(index).and_then(Option::as_deref);
                topic.is_some_and(|topic| topic.complete_since < at)
            });
        }
        if self.order.capacity() > 4 * self.order.len() + 64 {
            self.order.shrink_to(2 * self.order.len());
        }
    }

    /// Drops the history of a topic. Returns whether there was one.
    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let Some(&index) = self.names.get(topic) else {
            return false;
        };
        let entries = self.topic_mut(index).entries.len();
        (0..entries).for_each(|_| self.trim(index));
        entries > 0
    }

    /// Drops all events and moves the head to `head`, so that everything before it counts as lost.
    /// Moves the wakers of all topics to `woken`.
    pub(super) fn gap_to(&mut self, head: Position, woken: &mut Vec<Waker>) {
        for index in 0..self.topics.iter().count() {
            let topic = self.topics.get(index).and_then(Option::as_ref);
            let entries = topic.map_or(0, |topic| topic.entries.len());
            (0..entries).for_each(|_| self.trim(index));
        }
        self.head = head;
        self.forgotten = head;
        for topic in self.topics.iter_mut().flatten() {
            topic.complete_since = head;
            topic.waiting.take_all(woken);
        }
    }

    /// Returns whether `at` is the head or the position of an event in the history.
    pub(super) fn knows(&self, at: Position) -> bool {
        at == self.head
            || self
                .order
                .binary_search_by_key(&at, |entry| entry.0)
                .is_ok()
    }

    /// Returns the names of these topics.
    pub(super) fn names(&self, seats: &[Place]) -> Vec<Arc<str>> {
        let names = seats.iter().map(|seat| self.topic(*seat).name.clone());
        names.collect()
    }

    /// Closes the hub and moves all wakers to `woken`.
    pub(super) fn close(&mut self, woken: &mut Vec<Waker>) {
        self.closed = true;
        self.idle.take_all(woken);
        for topic in self.topics.iter_mut().flatten() {
            topic.waiting.take_all(woken);
        }
    }

    /// Takes a place in a topic.
    pub(super) fn join(&mut self, topic: &str) -> Place {
        let topic = self.topic_named(topic);
        let seat = self.topic_mut(topic).waiting.join();
        Place { topic, seat }
    }

    /// Gives up a place and returns its waker.
    pub(super) fn leave(&mut self, seat: Place) -> Option<Waker> {
        let topic = self.topic_mut(seat.topic);
        let waker = topic.waiting.leave(seat.seat);
        if topic.waiting.is_empty() {
            let runs = topic.forget_runs();
            self.memory -= runs;
        }
        self.forget_if_void(seat.topic);
        waker
    }

    /// Returns the events of these topics after `after`, up to one frame.
    pub(super) fn read(&mut self, seats: &[Place], after: Position) -> Read {
        if self.loses(seats, after) {
            return Read::Lost;
        }
        if let [seat] = *seats {
            let read = self.read_one(seat, after);
            return read.map_or(Read::Nothing, |(last, events)| Read::Events(last, events));
        }
        let more = |seat: &&Place| self.topic(**seat).has_more(after);
        let heads = seats.iter().filter(more).map(|seat| {
            let topic = self.topic(*seat);
            let index = topic.index_after(after);
            Reverse((topic.entries[index].at, seat.topic, index))
        });
        let mut heads: BinaryHeap<_> = heads.collect();
        let mut pieces = Vec::new();
        let mut piece = Piece::default();
        let mut last = after;
        while let Some(Reverse((at, topic, index))) = heads.pop() {
            let entries = &self.topics[topic].as_ref().expect(JOINED).entries;
            let events = &entries[index].events;
            if !piece.takes(events) {
                break;
            }
            pieces.push(events);
            last = at;
            if let Some(next) = entries.get(index + 1) {
                heads.push(Reverse((next.at, topic, index + 1)));
            }
        }
        match pieces[..] {
            [] => Read::Nothing,
            [events] => Read::Events(last, events.clone()),
            _ => Read::Events(last, EncodedEvents::join(pieces.iter().copied())),
        }
    }

    /// Returns the same as [`read`](Self::read) for one topic, and `None` also if events are lost.
    #[inline]
    pub(super) fn read_one(
        &mut self,
        seat: Place,
        after: Position,
    ) -> Option<(Position, EncodedEvents)> {
        let topic = self.topic_mut(seat.topic);
        if topic.complete_since > after {
            return None;
        }
        let runs = topic.run_bytes;
        let read = topic.read(after);
        let more_runs = topic.run_bytes;
        self.memory = self.memory + more_runs - runs;
        read
    }

    /// Returns whether events of these topics after `after` are no longer available.
    pub(super) fn loses(&self, seats: &[Place], after: Position) -> bool {
        seats
            .iter()
            .any(|seat| self.topic(*seat).complete_since > after)
    }

    /// Returns the newest event of each of these topics, if it is after `after`, in order. Returns
    /// `None` if there are none.
    pub(super) fn newest(&self, seats: &[Place], after: Position) -> Option<EncodedEvents> {
        let newest = seats
            .iter()
            .filter_map(|seat| self.topic(*seat).entries.back());
        let mut newest: Vec<_> = newest.filter(|entry| entry.at > after).collect();
        newest.sort_by_key(|entry| entry.at);
        (!newest.is_empty()).then(|| EncodedEvents::join(newest.iter().map(|entry| &entry.events)))
    }

    /// Returns whether these topics have events after `after`.
    pub(super) fn has_more(&self, seats: &[Place], after: Position) -> bool {
        seats.iter().any(|seat| self.topic(*seat).has_more(after))
    }

    /// Sets the waker of a place, unless its topic has events after `after`. Returns whether it was
    /// set, and the waker that it replaces.
    #[inline]
    pub(super) fn wait_one(
        &mut self,
        seat: Place,
        after: Position,
        waker: &Waker,
    ) -> (bool, Option<Waker>) {
        let topic = self.topic_mut(seat.topic);
        if topic.has_more(after) {
            return (false, None);
        }
        (true, topic.waiting.arm(seat.seat, waker))
    }

    /// Sets the waker of each of these places, and moves the wakers that it replaces to `replaced`.
    pub(super) fn wait(&mut self, seats: &[Place], waker: &Waker, replaced: &mut Vec<Waker>) {
        for seat in seats {
            let waiting = &mut self.topic_mut(seat.topic).waiting;
            replaced.extend(waiting.arm(seat.seat, waker));
        }
    }

    /// Calls `count` for each of these topics that has lost events after `after`.
    pub(super) fn count(&mut self, seats: &[Place], after: Position, count: impl Fn(&mut Topic)) {
        for seat in seats {
            let topic = self.topic_mut(seat.topic);
            if topic.complete_since > after {
                count(topic);
            }
        }
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().flatten().map(|topic| &**topic)
    }

    pub(super) fn held(&self) -> Held {
        Held {
            topics: self.names.len(),
            memory: self.memory,
            lagged: self.lagged,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    fn topic(&self, seat: Place) -> &Topic {
        self.topics[seat.topic].as_ref().expect(JOINED)
    }

    fn topic_mut(&mut self, index: usize) -> &mut Topic {
        self.topics[index].as_mut().expect(JOINED)
    }

    /// Returns the index of the topic with this name, and creates the topic if there is none.
    fn topic_named(&mut self, name: &str) -> usize {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let name: Arc<str> = name.into();
        self.memory += TOPIC + name.len();
        let topic = Some(Box::new(Topic::new(name.clone(), self.forgotten)));
        let index = self.topics.take();
        self.topics[index] = topic;
        self.names.insert(name, index);
        index
    }

    fn trim(&mut self, index: usize) {
        let topic = self.topic_mut(index);
        let runs = topic.forget_runs();
        if let Some(entry) = topic.trim() {
            self.memory -= ENTRY + entry.events.len();
            self.entries -= 1;
        }
        self.memory -= runs;
        self.forget_if_void(index);
    }

    /// Removes a topic that has neither history nor subscribers.
    fn forget_if_void(&mut self, index: usize) {
        let Some(topic) = self.topics[index].take_if(|topic| topic.is_void()) else {
            return;
        };
        self.forgotten = self.forgotten.max(topic.complete_since);
        self.memory -= TOPIC + topic.name.len();
        self.names.remove(&topic.name);
        self.topics.give_back(index);
        if self.names.is_empty() {
            self.order = VecDeque::new();
        }
        if self.names.capacity() > 4 * self.names.len() + 64 {
            self.names.shrink_to(2 * self.names.len());
        }
    }
}

/// The invariant by which the topic of a place is in the table.
const JOINED: &str = "a topic with subscribers or entries is in the table";
