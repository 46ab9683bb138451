//! What a hub knows, under its one lock: topics, their history, and the order over all of them.
//! No clock and no waker is called here.

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
use crate::wire::set_last_id;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of each topic.
    pub(super) events: usize,
    pub(super) bytes: usize,
    pub(super) age: Option<Duration>,
    /// Of all together, with what they cost beyond their bytes.
    pub(super) memory: usize,
}

/// What an entry costs beyond its bytes: itself, its row in `order`, and what stands before the
/// bytes of a shared allocation.
const ENTRY: usize = mem::size_of::<Stored>() + mem::size_of::<(Position, usize)>() + 40;

/// What a topic costs beyond its name and its entries, with its row in the table of names.
const TOPIC: usize = mem::size_of::<Topic>() + 96;

#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    /// The position of the last event.
    pub(super) head: Position,
    pub(super) closed: bool,
    names: HashMap<Arc<str>, usize>,
    topics: Vec<Option<Box<Topic>>>,
    free: Vec<usize>,
    /// Each entry and its topic, the oldest first; and some that were trimmed since.
    order: VecDeque<(Position, usize)>,
    entries: usize,
    /// What all of it costs.
    memory: usize,
    /// Behind this position nothing is lost of topics that are not in the table.
    forgotten: Position,
    /// How many subscriptions the history has left behind.
    pub(super) lagged: u64,
    /// Those who wait for no topic.
    pub(super) idle: Wakers,
}

/// What a hub holds, and has lost.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(feature = "metrics"),
    expect(dead_code, reason = "told to metrics alone")
)]
pub(super) struct Held {
    pub(super) topics: usize,
    pub(super) memory: usize,
    /// How many subscriptions its history has left behind, ever.
    pub(super) lagged: u64,
}

/// A subscriber's place in a topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    topic: usize,
    seat: usize,
}

/// A subscriber's places in its topics. Mostly it has one.
#[derive(Debug)]
pub(super) enum Seats {
    One([Place; 1]),
    Many(Box<[Place]>),
}

/// What there is for a subscriber.
#[derive(Debug)]
pub(super) enum Read {
    Nothing,
    /// Events, and the position of the last.
    Events(Position, EncodedEvents),
    /// Some that it has not read are not there any more.
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
            topics: Vec::new(),
            free: Vec::new(),
            order: VecDeque::new(),
            entries: 0,
            memory: 0,
            forgotten: start,
            lagged: 0,
            idle: Wakers::default(),
        }
    }

    /// Adds what `wire` holds at a position behind the head, and moves to `woken` who waits for it.
    /// Tells how many bytes it is with its id.
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
        // The newest of a topic stays, or nobody would ever see it.
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

    /// Drops what is too old, and the oldest while there is too much.
    fn trim_oldest(&mut self, now: Option<Instant>) {
        while let Some(&(at, index)) = self.order.front() {
            let topic = self.topics[index].as_deref();
            let entry = topic.and_then(|topic| topic.entries.front());
            let Some(entry) = entry.filter(|entry| entry.at == at) else {
                self.order.pop_front(); // it was trimmed before
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
                let topic = topics[index].as_deref();
                topic.is_some_and(|topic| topic.complete_since < at)
            });
        }
        if self.order.capacity() > 4 * self.order.len() + 64 {
            self.order.shrink_to(2 * self.order.len());
        }
    }

    /// Drops the history of a topic; tells whether there was one.
    pub(super) fn remove(&mut self, topic: &str) -> bool {
        let Some(&index) = self.names.get(topic) else {
            return false;
        };
        let entries = self.topic_mut(index).entries.len();
        (0..entries).for_each(|_| self.trim(index));
        entries > 0
    }

    /// Forgets all events: what there was up to `head` is not known. Moves to `woken` who waits.
    pub(super) fn gap_to(&mut self, head: Position, woken: &mut Vec<Waker>) {
        for index in 0..self.topics.len() {
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

    /// Whether `at` is the position of an event that is there, or the head.
    pub(super) fn knows(&self, at: Position) -> bool {
        at == self.head
            || self
                .order
                .binary_search_by_key(&at, |entry| entry.0)
                .is_ok()
    }

    /// The names of these topics.
    pub(super) fn names(&self, seats: &[Place]) -> Vec<Arc<str>> {
        let names = seats.iter().map(|seat| self.topic(*seat).name.clone());
        names.collect()
    }

    /// Ends the hub, and moves to `woken` who waits for it.
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

    /// Gives a place up, with its waker.
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

    /// What stands behind `after` in these topics, up to a frame of it.
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

    /// The same for one topic; `None` also if something is lost.
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

    /// Whether something of these topics behind `after` is not there any more.
    pub(super) fn loses(&self, seats: &[Place], after: Position) -> bool {
        seats
            .iter()
            .any(|seat| self.topic(*seat).complete_since > after)
    }

    /// The newest event of each of these topics behind `after`, in order; `None` if there is none.
    pub(super) fn newest(&self, seats: &[Place], after: Position) -> Option<EncodedEvents> {
        let newest = seats
            .iter()
            .filter_map(|seat| self.topic(*seat).entries.back());
        let mut newest: Vec<_> = newest.filter(|entry| entry.at > after).collect();
        newest.sort_by_key(|entry| entry.at);
        (!newest.is_empty()).then(|| EncodedEvents::join(newest.iter().map(|entry| &entry.events)))
    }

    /// Whether there is something in these topics behind `after`.
    pub(super) fn has_more(&self, seats: &[Place], after: Position) -> bool {
        seats.iter().any(|seat| self.topic(*seat).has_more(after))
    }

    /// Leaves a waker with a topic, unless there is something behind `after`. Tells whether it did,
    /// and the waker of before.
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

    /// Leaves a waker with each of these topics, and moves to `replaced` those of before.
    pub(super) fn wait(&mut self, seats: &[Place], waker: &Waker, replaced: &mut Vec<Waker>) {
        for seat in seats {
            let waiting = &mut self.topic_mut(seat.topic).waiting;
            replaced.extend(waiting.arm(seat.seat, waker));
        }
    }

    /// Counts, for each of these topics of which something was lost behind `after`.
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

    /// The topic of this name, new if there is none.
    fn topic_named(&mut self, name: &str) -> usize {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let name: Arc<str> = name.into();
        self.memory += TOPIC + name.len();
        let topic = Some(Box::new(Topic::new(name.clone(), self.forgotten)));
        let index = match self.free.pop() {
            Some(index) => {
                self.topics[index] = topic;
                index
            }
            None => {
                self.topics.push(topic);
                self.topics.len() - 1
            }
        };
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

    /// Drops a topic that nobody would miss.
    fn forget_if_void(&mut self, index: usize) {
        let Some(topic) = self.topics[index].take_if(|topic| topic.is_void()) else {
            return;
        };
        self.forgotten = self.forgotten.max(topic.complete_since);
        self.memory -= TOPIC + topic.name.len();
        self.names.remove(&topic.name);
        self.free.push(index);
        if self.names.is_empty() {
            self.topics = Vec::new();
            self.free = Vec::new();
            self.order = VecDeque::new();
        }
        if self.names.capacity() > 4 * self.names.len() + 64 {
            self.names.shrink_to(2 * self.names.len());
        }
    }
}

/// Why a topic is there.
const JOINED: &str = "a topic that is joined or has entries is in the table";
