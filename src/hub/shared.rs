//! The state that the handles and subscriptions of a hub share, and the steps that change it.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    backing::Backing,
    encoded_events::EncodedEvents,
    finished::Finished,
    history::{History, Limits},
    item::Item,
    memory::{CacheOwner, Memory},
    metrics::HubMetrics,
    order::Order,
    position::Position,
    reset::ResetEvent,
    seats::{PAGE, Seats},
    sets::Sets,
    sync::{AtomicU64, Mutex, MutexGuard, lock},
    topic::{Finish, Footprint, Topic, TopicState, UNJOINED},
    topics::Topics,
    watchers::Watchers,
};
use crate::wake::wake_all;

pub(super) struct Shared {
    pub(super) limits: Limits,
    /// The time for which a finished topic keeps its history.
    pub(super) finished_for: Duration,
    pub(super) started: Instant,
    pub(super) order: Order,
    pub(super) topics: Topics,
    pub(super) memory: Memory,
    pub(super) sets: Sets,
    /// Incremented when continuity is lost: every subscription of an earlier generation is reset.
    pub(super) generation: AtomicU64,
    /// The beginning of the present generation.
    pub(super) beginning: Mutex<Beginning>,
    /// The listeners that only wait for the end of the hub.
    pub(super) idle: Mutex<Seats>,
    pub(super) finished: Finished,
    pub(super) watchers: Watchers,
    pub(super) reset: ResetEvent,
    pub(super) metrics: HubMetrics,
    /// The log that is read if the history does not reach back far enough.
    pub(super) backing: Option<Backing>,
}

/// The beginning of a generation.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// The position before the oldest event that was loaded.
    pub(super) floor: Position,
    /// The events that were loaded, until their topics have taken them.
    pub(super) loaded: BTreeMap<Arc<str>, Loaded>,
}

/// The events of a topic that were loaded from the log.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) history: History,
    /// The position of the topic's end.
    pub(super) finish: Option<Position>,
    /// The position of the last entry with which the topic began anew, or 0-0.
    pub(super) floor: Position,
}

/// An entry to add to a topic.
pub(super) enum Addition {
    Item(Item),
    /// The end of the topic.
    Finish,
    /// The removal of the history.
    Remove,
}

/// The result of [`Shared::add`].
pub(super) enum Added {
    /// The entry has this position and this size in bytes. These are to be notified.
    New(Position, usize, Notify),
    /// An event with the same idempotency key is in the history.
    Before(Position),
    /// The topic is finished.
    Finished,
    Closed,
}

/// The subscriptions to notify of a change of a topic.
#[must_use = "nobody is notified until the wakers are woken"]
pub(super) struct Notify {
    wakers: Vec<Waker>,
    /// The topic and its armed seats, if they are more than one page. None of them is notified yet.
    pages: Option<(Arc<Topic>, Vec<u32>)>,
}

impl Notify {
    /// Takes the subscriptions that wait for a change of `topic`.
    fn take(topic: &Arc<Topic>, state: &mut TopicState) -> Self {
        let mut wakers = Vec::new();
        let armed = topic.take_waiting(state, &mut wakers);
        let pages = (!armed.is_empty()).then(|| (topic.clone(), armed));
        Self { wakers, pages }
    }

    /// Notifies the rest, one page after the other, and returns all wakers. The topic must not be
    /// locked.
    fn signal(mut self) -> Vec<Waker> {
        if let Some((topic, armed)) = self.pages {
            self.wakers.reserve_exact(armed.len());
            for page in armed.chunks(PAGE) {
                topic.take_page(page, &mut self.wakers);
            }
            topic.lock().seats.reuse(armed);
        }
        self.wakers
    }
}

impl Shared {
    /// Returns the microseconds since the creation of the hub, or 0 if nobody needs them.
    pub(super) fn now(&self) -> u64 {
        if self.memory.has_age() {
            self.started.elapsed().as_micros() as u64
        } else {
            0
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(SeqCst)
    }

    /// Locks a topic, after its history has joined the present generation.
    #[inline]
    pub(super) fn lock<'a>(&self, topic: &'a Topic) -> MutexGuard<'a, TopicState> {
        let mut state = topic.lock();
        if state.generation != self.generation() {
            self.join_generation(topic, &mut state);
        }
        state
    }

    /// Locks a topic for a subscription of a generation. Returns `None` if there is a new one.
    #[inline]
    pub(super) fn lock_in<'a>(
        &self,
        topic: &'a Topic,
        generation: u64,
    ) -> Option<MutexGuard<'a, TopicState>> {
        let state = self.lock(topic);
        (state.generation == generation).then_some(state)
    }

    /// Replaces the history of a topic by what was loaded for it.
    #[cold]
    fn join_generation(&self, topic: &Topic, state: &mut TopicState) {
        let mut beginning = lock(&self.beginning);
        let generation = self.generation();
        // Positions of an earlier generation say nothing about this one.
        state.floor = match state.generation == generation | UNJOINED {
            true => state.floor.max(beginning.floor),
            false => beginning.floor,
        };
        state.generation = generation;
        let loaded = beginning.loaded.remove(&topic.name).unwrap_or_default();
        drop(beginning);
        state.floor = state.floor.max(loaded.floor);
        state.forget_runs();
        state.history = loaded.history;
        state.finish = loaded.finish.map(|at| Finish::new(at, 0));
        state.before_last = state.last().map_or(state.floor, Position::before);
        if !state.is_removed {
            self.report(topic, state);
        }
    }

    /// Returns the topic with this name, which is created if there is none.
    pub(super) fn topic(&self, name: &str) -> Arc<Topic> {
        let (topic, is_new) = self.topics.get_or_create(name);
        if is_new {
            self.metrics.topics(1);
        }
        topic
    }

    /// Calls `change` with the topic of this name. The topic is in the table afterwards, unless it
    /// is void.
    pub(super) fn with_topic<T>(
        &self,
        name: &str,
        change: impl FnOnce(&Arc<Topic>, &mut TopicState) -> T,
    ) -> T {
        loop {
            let topic = self.topic(name);
            let mut state = self.lock(&topic);
            if state.is_removed {
                self.remove_row(&topic, state);
                continue;
            }
            let result = change(&topic, &mut state);
            self.tidy(&topic, state);
            return result;
        }
    }

    /// Takes a seat in a topic, which `take` does. Returns also wakers, which the caller wakes when it
    /// can give up the seat again.
    pub(super) fn join<T>(
        &self,
        name: &str,
        take: impl FnOnce(&Arc<Topic>, &mut TopicState) -> T,
    ) -> (T, Vec<Waker>) {
        let (seat, is_first) = self.with_topic(name, |topic, state| {
            let is_first = state.seats.is_empty();
            (take(topic, state), is_first)
        });
        let wakers = match is_first {
            true => self.watchers.changed(name),
            false => Vec::new(),
        };
        (seat, wakers)
    }

    /// Gives up a seat in a topic. Returns wakers to wake.
    #[must_use = "the wakers are to be woken"]
    pub(super) fn leave(&self, topic: &Arc<Topic>, seat: u32) -> Vec<Waker> {
        let _held; // dropped after the lock is released
        let mut state = self.lock(topic);
        _held = state.seats.leave(seat);
        let is_last = state.seats.is_empty();
        if is_last {
            state.forget_runs();
        }
        self.tidy(topic, state);
        match is_last {
            true => self.watchers.changed(&topic.name),
            false => Vec::new(),
        }
    }

    /// Closes the present subscriptions of a topic. Returns their number.
    pub(super) fn disconnect(&self, name: &str) -> usize {
        let Some(topic) = self.topics.get(name) else {
            return 0;
        };
        let mut state = self.lock(&topic);
        state.epoch += 1;
        state.closed_epoch = state.epoch;
        let seats = state.seats.len();
        let notify = Notify::take(&topic, &mut state);
        drop(state);
        wake_all(notify.signal());
        seats
    }

    /// Completes a change of a topic: reports its memory, and lists or removes it.
    pub(super) fn tidy(&self, topic: &Arc<Topic>, mut state: MutexGuard<'_, TopicState>) {
        if state.is_removed {
            return;
        }
        if state.is_void() {
            state.is_removed = true;
            let before = mem::take(&mut state.reported);
            let listed = mem::take(&mut state.listed);
            if listed != Position::default() {
                self.memory.unlist(listed, topic);
            }
            self.memory.report(before, Footprint::default());
            self.remove_row(topic, state);
            return;
        }
        self.report(topic, &mut state);
        let eldest = state
            .eldest()
            .filter(|_| state.listed == Position::default());
        if let Some((at, time)) = eldest {
            state.listed = at;
            self.memory.list(at, time, topic.clone());
        }
    }

    /// Reports the memory of a topic after a change.
    pub(super) fn report(&self, topic: &Topic, state: &mut TopicState) {
        let now = topic.footprint(state);
        let before = mem::replace(&mut state.reported, now);
        self.memory.report(before, now);
    }

    /// Removes a void topic from the table.
    fn remove_row(&self, topic: &Topic, state: MutexGuard<'_, TopicState>) {
        let (lost, is_interrupted) = (state.complete_since(), state.has_begun());
        drop(state);
        if self.topics.remove(topic, lost, is_interrupted) {
            self.metrics.topics(-1);
        }
    }

    /// Adds an entry to a topic, at the next position or at `at`.
    pub(super) fn add(&self, name: &str, addition: Addition, at: Option<Position>) -> Added {
        let now = self.now();
        self.with_topic(name, |topic, state| {
            if let Addition::Item(item) = &addition {
                let key = item.idempotency_key();
                if let Some(at) = key.and_then(|key| state.history.written(key)) {
                    return Added::Before(at);
                }
            }
            if let Some(finish) = &state.finish {
                if at.is_none() && !finish.is_over {
                    return Added::Finished;
                }
                // Two servers may have finished it.
                if finish.is_over || !matches!(addition, Addition::Finish) {
                    self.restart(state);
                }
            }
            let Ok(at) = self.order.give(at) else {
                return Added::Closed;
            };
            let mut bytes = 0;
            match addition {
                Addition::Item(item) => {
                    let stored = item.store(at, now);
                    bytes = stored.events.len();
                    state.push(stored, self.limits);
                }
                Addition::Finish if state.finish.is_none() => {
                    state.finish = Some(Finish::new(at, now));
                    self.finished(topic.clone(), at);
                }
                Addition::Finish => {}
                Addition::Remove => state.remove(),
            }
            Added::New(at, bytes, Notify::take(topic, state))
        })
    }

    /// Completes an addition: signals it to the listeners, and then lets everybody read up to it.
    /// Returns the wakers to wake.
    ///
    /// The order matters. A reader of several topics that may read up to an event must have its
    /// signal already.
    pub(super) fn complete(&self, at: Position, notify: Notify) -> Vec<Waker> {
        let mut wakers = notify.signal();
        wakers.append(&mut self.order.added(at));
        wakers
    }

    /// Drops caches, and then the oldest events, until the history is within its limits. The event
    /// at `newest` is kept, unless it is too old.
    pub(super) fn enforce_limits(&self, newest: Position) {
        while let Some((owner, must_go)) = self.memory.take_oldest_cache() {
            self.check_cache(owner, must_go);
        }
        if !self.memory.is_over() && !self.memory.has_age() {
            return;
        }
        let now = self.now();
        let mut rows = 0;
        while let Some((listed, topic)) = self.memory.take_eldest(now, rows < MAX_OLD) {
            rows += 1;
            let mut state = self.lock(&topic);
            state.listed = Position::default();
            let Some((at, time)) = state.eldest() else {
                self.tidy(&topic, state);
                continue;
            };
            // If the row was wrong, there may be an older event in another topic.
            let is_first = at <= listed;
            let is_kept = at == newest && !self.memory.is_too_old(time, now);
            if is_first && !is_kept && !state.trim() {
                self.restart(&mut state); // forgets that the topic was finished
            }
            self.tidy(&topic, state);
            if is_first && is_kept {
                return;
            }
        }
    }

    /// Drops a cache, or keeps it if there is one and it need not go.
    fn check_cache(&self, owner: CacheOwner, must_go: bool) {
        match &owner {
            CacheOwner::Topic(topic) => {
                let mut state = topic.lock();
                if must_go || !state.has_runs() {
                    state.forget_runs();
                    state.is_cached = false;
                    if !state.is_removed {
                        self.report(topic, &mut state);
                    }
                    return;
                }
            }
            CacheOwner::Set(set) => {
                // A set that is being given up must not have another owner.
                let _sets = self.sets.lock();
                let Some(set) = set.upgrade() else { return };
                if must_go {
                    return set.clear(&self.memory);
                }
            }
        }
        self.memory.keep_cache(owner);
    }

    /// Reads several events of a topic, joined for this reader and for others at the same place.
    #[cold]
    pub(super) fn read_joined(
        &self,
        topic: &Arc<Topic>,
        state: &mut TopicState,
        after: Position,
        upto: Position,
    ) -> Option<(Position, EncodedEvents)> {
        let read = state.read_joined(after, upto);
        self.report(topic, state);
        if state.has_runs() && !mem::replace(&mut state.is_cached, true) {
            self.memory.cache(CacheOwner::Topic(topic.clone()));
        }
        read
    }

    /// Remembers a finished topic, whose history is dropped later.
    pub(super) fn finished(&self, topic: Arc<Topic>, at: Position) {
        if let Some(over) = Instant::now().checked_add(self.finished_for) {
            self.finished.add(at, over, topic);
        }
    }

    /// Starts a finished topic anew.
    fn restart(&self, state: &mut TopicState) {
        if let Some(at) = state.restart() {
            self.finished.remove(at);
        }
    }

    /// Drops the histories of topics that were finished long enough ago.
    pub(super) fn end_finished(&self) {
        while let Some((at, topic)) = self.finished.take_due() {
            let mut state = self.lock(&topic);
            // It may have begun anew, and ended again.
            if let Some(finish) = state.finish.as_mut().filter(|finish| finish.at == at) {
                finish.is_over = true;
                state.clear();
            }
            self.tidy(&topic, state);
        }
    }

    /// Drops the history of a topic, which may be finished. Returns whether there was one.
    pub(super) fn remove(&self, name: &str) -> bool {
        let Some(topic) = self.topics.get(name) else {
            self.topics.begin_anew(name);
            return false;
        };
        let mut state = self.lock(&topic);
        let had_history = !state.history.is_empty() || state.finish.is_some();
        state.remove();
        self.restart(&mut state);
        // An event that is added now has no seats to signal, so it is complete after these signals.
        let held = self.order.hold();
        let notify = Notify::take(&topic, &mut state);
        self.tidy(&topic, state);
        wake_all(self.complete(held, notify));
        had_history
    }

    /// Notifies the subscriptions of every topic, and those without topics.
    pub(super) fn notify_all(&self) {
        let mut wakers = Vec::new();
        let idle = lock(&self.idle).take_armed(&mut wakers);
        for page in idle.chunks(PAGE) {
            lock(&self.idle).take_page(page, &mut wakers);
        }
        let of_topics = self.topics.iter().flat_map(|topic| {
            let notify = Notify::take(&topic, &mut self.lock(&topic));
            notify.signal()
        });
        wake_all(wakers.into_iter().chain(of_topics));
    }

    /// Closes the hub.
    pub(super) fn close(&self) {
        self.order.close();
        if let Some(backing) = &self.backing {
            backing.closed.notify_waiters();
        }
        self.notify_all();
    }

    /// Begins a new generation at `head`, with the events that the log still holds.
    pub(super) fn begin_generation(&self, head: Position, beginning: Beginning) {
        let names: Vec<Arc<str>> = beginning.loaded.keys().cloned().collect();
        {
            let mut present = lock(&self.beginning);
            self.topics
                .begin_generation(self.generation() + 1, beginning.floor);
            *present = beginning;
            self.order.move_to(head);
            self.generation.fetch_add(1, SeqCst);
        }
        self.finished.clear();
        for name in names {
            let topic = self.with_topic(&name, |topic, _| topic.clone());
            let finish = self.lock(&topic).finish.as_ref().map(|finish| finish.at);
            if let Some(at) = finish {
                self.finished(topic, at);
            }
        }
        self.enforce_limits(head);
        self.metrics.holds(self.memory.bytes());
        self.notify_all();
    }
}

/// The number of events that one publish drops because they are too old. It takes up to 3 us each.
const MAX_OLD: usize = 128;
