//! The state that the handles and subscriptions of a hub share, and the steps that change it.

use std::{
    mem,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    backing::Backing,
    beginning::Beginning,
    encoded_events::EncodedEvents,
    finished::Finished,
    history::Limits,
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
    waiting::Waiting,
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
        if state.generation == generation | UNJOINED {
            state.floor = state.floor.max(beginning.floor);
        } else {
            state.floor = beginning.floor;
            state.is_interrupted = false;
        }
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
        let waiting = Waiting::take(&topic, &mut state);
        drop(state);
        wake_all(waiting.signal());
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
        if let Some(live) = self.topics.remove(topic, lost, is_interrupted) {
            self.metrics.topics(-1);
            let remembered = Footprint {
                live,
                ..Footprint::default()
            };
            self.memory.report(Footprint::default(), remembered);
        }
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
    pub(super) fn restart(&self, state: &mut TopicState) {
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

    /// Notifies the subscriptions of every topic, and those without topics.
    pub(super) fn notify_all(&self) {
        let mut wakers = Vec::new();
        let idle = lock(&self.idle).take_armed(&mut wakers);
        for page in idle.chunks(PAGE) {
            lock(&self.idle).take_page(page, &mut wakers);
        }
        let of_topics = self.topics.iter().flat_map(|topic| {
            let waiting = Waiting::take(&topic, &mut self.lock(&topic));
            waiting.signal()
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
}
