//! One topic: its history, its end, and the subscribers that wait for more.

use std::{
    mem,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::Waker,
};

use super::{
    counts::TopicCounts,
    encoded_events::EncodedEvents,
    history::{History, Limits, Stored},
    piece::Piece,
    position::Position,
    runs::{Run, Runs},
    seats::Seats,
    sync::{AtomicU64, Mutex, MutexGuard, lock},
};

/// A topic of a hub.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Its place in the table of topics. No two topics of a hub have the same, at any time.
    pub(super) key: TopicKey,
    /// Counts the changes that wake subscribers. It is incremented under the lock, before any waker
    /// is taken. If it has not changed since a subscriber left its waker, the waker is still in its
    /// seat.
    version: AtomicU64,
    state: Mutex<TopicState>,
}

/// Marks the generation of a topic that has not looked for loaded events.
pub(super) const UNJOINED: u64 = 1 << 63;

/// The hash of a topic's name, and a number that is not used twice.
pub(super) type TopicKey = (u64, u64);

#[derive(Debug)]
pub(super) struct TopicState {
    /// The generation of the hub that the history belongs to, with [`UNJOINED`] if the topic was
    /// created in it and has not looked for loaded events.
    pub(super) generation: u64,
    pub(super) history: History,
    /// The beginning of the topic. Events up to here were never known to it.
    pub(super) floor: Position,
    /// True if the topic has lost events from before `floor`: it was forgotten, and goes on.
    pub(super) is_interrupted: bool,
    /// The position of the last event but one, even if it was dropped since.
    pub(super) before_last: Position,
    /// `None` unless the topic was finished. Boxed, because most topics are not.
    pub(super) finish: Option<Box<Finish>>,
    pub(super) seats: Seats,
    /// Joined events of the history. `None` if there are none.
    runs: Option<Box<Runs>>,
    pub(super) counts: TopicCounts,
    /// Incremented when all present subscriptions end. Each remembers the value at its start.
    pub(super) epoch: u32,
    /// The first epoch after the subscriptions were last closed by the server.
    pub(super) closed_epoch: u32,
    /// Set when the topic was removed from the table. Whoever finds it looks it up again.
    pub(super) is_removed: bool,
    /// True if the topic is in the list of caches.
    pub(super) is_cached: bool,
    /// The position of the topic's row among the eldest, or 0-0 if it has none.
    pub(super) listed: Position,
    /// The memory as it was last reported.
    pub(super) reported: Footprint,
}

/// The answer of a topic that has several new events.
#[derive(Debug)]
pub(super) struct Several;

/// The end of a topic.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) at: Position,
    /// The microseconds from the creation of the hub to the end, if the history has a maximum age.
    pub(super) time: u64,
    /// True if the history of the finished topic was dropped. The name can then be used again.
    pub(super) is_over: bool,
}

impl Finish {
    pub(super) fn new(at: Position, time: u64) -> Box<Self> {
        let is_over = false;
        Box::new(Self { at, time, is_over })
    }
}

/// The memory of a topic, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// The memory that the hub's bound limits: the history, and the topic itself if nobody is
    /// subscribed to it.
    pub(super) history: usize,
    /// The memory of live subscriptions, and of the topic itself if it has any.
    pub(super) live: usize,
    /// The memory of caches.
    pub(super) caches: usize,
}

impl Topic {
    pub(super) fn new(
        name: Arc<str>,
        key: TopicKey,
        generation: u64,
        floor: Position,
        is_interrupted: bool,
    ) -> Self {
        Self {
            name,
            key,
            version: AtomicU64::new(0),
            state: Mutex::new(TopicState {
                generation: generation | UNJOINED,
                history: History::default(),
                floor,
                is_interrupted,
                before_last: floor,
                finish: None,
                seats: Seats::default(),
                runs: None,
                counts: TopicCounts::default(),
                epoch: 0,
                closed_epoch: 0,
                is_removed: false,
                is_cached: false,
                listed: Position::default(),
                reported: Footprint::default(),
            }),
        }
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, TopicState> {
        lock(&self.state)
    }

    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Takes the subscriptions that wait for a change. The caller has the lock, and has made the change.
    pub(super) fn take_waiting(&self, state: &mut TopicState, wakers: &mut Vec<Waker>) -> Vec<u32> {
        // Only written under the lock, so that a store is enough. Whoever is woken sees it.
        self.version.store(self.version() + 1, SeqCst);
        state.seats.take_armed(wakers)
    }

    /// Takes a page of the seats that [`take_waiting`](Self::take_waiting) has returned.
    pub(super) fn take_page(&self, page: &[u32], wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        // A subscription may have left its waker since the last page.
        self.version.store(self.version() + 1, SeqCst);
        state.seats.take_page(page, wakers);
    }

    /// Returns the memory of the topic. The caller has the lock.
    pub(super) fn footprint(&self, state: &TopicState) -> Footprint {
        let mut own = TOPIC + self.name.len();
        if !state.history.is_empty() || state.finish.is_some() {
            own += ELDEST_ROW;
        }
        if state.finish.as_ref().is_some_and(|finish| !finish.is_over) {
            own += FINISHED_ROW;
        }
        let is_live = !state.seats.is_empty();
        Footprint {
            history: state.history.heap_bytes() + if is_live { 0 } else { own },
            live: state.seats.heap_bytes() + if is_live { own } else { 0 },
            caches: state.runs.as_ref().map_or(0, |runs| runs.heap_bytes()),
        }
    }
}

impl TopicState {
    /// Returns whether the topic has neither history nor subscribers, and was not finished.
    pub(super) fn is_void(&self) -> bool {
        self.history.is_empty() && self.seats.is_empty() && self.finish.is_none()
    }

    /// Returns the position and time of the part that is dropped first: the oldest event, or the end of
    /// a finished topic without subscribers.
    pub(super) fn eldest(&self) -> Option<(Position, u64)> {
        let oldest = self.history.oldest().map(|oldest| (oldest.at, oldest.time));
        let end = self.finish.as_ref().filter(|_| self.seats.is_empty());
        oldest.or_else(|| end.map(|end| (end.at, end.time)))
    }

    /// Returns the position before the first event of the topic, which the history may have lost.
    pub(super) fn beginning(&self) -> Position {
        if self.is_interrupted {
            Position::default()
        } else {
            self.floor
        }
    }

    /// Returns whether the topic was forgotten in the middle if it is forgotten now.
    pub(super) fn has_begun(&self) -> bool {
        self.is_interrupted || self.complete_since() > self.floor
    }

    /// Returns the position after which every event of the topic is in its history.
    #[inline]
    pub(super) fn complete_since(&self) -> Position {
        self.floor.max(self.history.trimmed())
    }

    /// Returns whether events after `after` are no longer available.
    #[inline]
    pub(super) fn loses(&self, after: Position) -> bool {
        self.complete_since() > after
    }

    /// Returns whether a subscription that began in this epoch has lost events after `after`.
    #[inline]
    pub(super) fn loses_since(&self, epoch: u32, after: Position) -> bool {
        if epoch == self.epoch {
            return self.loses(after);
        }
        // The topic was disconnected, or began anew.
        let is_closed = self.closed_epoch > epoch;
        !is_closed && self.counts.losses().ended > after
    }

    /// Returns whether a subscription whose client has everything up to `after` has lost events. For
    /// a client with nothing, `after` is 0-0, and only dropped events count.
    pub(super) fn has_lost(&self, after: Position) -> bool {
        if after == Position::default() {
            self.history.trimmed() > after
        } else {
            self.loses(after)
        }
    }

    /// Returns the position of the last event in the history.
    #[inline]
    pub(super) fn last(&self) -> Option<Position> {
        self.history.newest().map(|stored| stored.at)
    }

    /// Returns whether the history has events after `after`.
    #[inline]
    pub(super) fn has_more(&self, after: Position) -> bool {
        self.last().is_some_and(|last| last > after)
    }

    /// Returns the position of the first event after `after`.
    pub(super) fn first_after(&self, after: Position) -> Option<Position> {
        self.history.after(after).next().map(|stored| stored.at)
    }

    /// Returns the position before the newest event after `after`, or `after` if there is none.
    /// Returns `None` if it was lost. If `is_lost` is set, a topic without events has lost it.
    pub(super) fn before_newest(&self, after: Position, is_lost: bool) -> Option<Position> {
        match self.last().filter(|last| *last > after) {
            Some(newest) => Some(newest.before()),
            None if is_lost || self.has_lost(after) => None,
            None => Some(after.max(self.complete_since())),
        }
    }

    /// Returns the position of the newest event after `after`, and the number of items before it since
    /// `seen`, which are skipped. `seen` is a value of the counter of published events, and is updated.
    pub(super) fn skip_and_count(
        &mut self,
        after: Position,
        seen: &mut u64,
    ) -> Option<(Position, u64)> {
        let newest = self.last().filter(|last| *last > after)?;
        let published = self.counts.published;
        let skipped = published.saturating_sub(mem::replace(seen, published) + 1);
        self.counts.skip(skipped);
        Some((newest, skipped))
    }

    /// Adds an item, and drops others beyond the limits. The item itself is kept.
    pub(super) fn push(&mut self, stored: Stored, limits: Limits) {
        self.counts.published += 1;
        self.before_last = self.last().unwrap_or_else(|| self.complete_since());
        self.runs = None;
        self.history.push(stored, limits);
    }

    /// Drops the oldest event. Returns `false` if there is none.
    pub(super) fn trim(&mut self) -> bool {
        self.runs = None;
        self.history.trim()
    }

    /// Drops the whole history.
    pub(super) fn clear(&mut self) {
        self.runs = None;
        self.history.clear(Position::default());
    }

    /// Drops the whole history. The topic begins with its next event.
    pub(super) fn remove(&mut self) {
        self.clear();
        self.floor = self.complete_since();
        self.is_interrupted = false;
    }

    /// Starts a finished topic anew. Positions from before are expired. Returns the position of its
    /// end.
    pub(super) fn restart(&mut self) -> Option<Position> {
        let finish = self.finish.take()?;
        self.clear();
        let ended = self.complete_since();
        self.floor = self.floor.max(finish.at);
        self.is_interrupted = false;
        self.epoch += 1; // ends the subscriptions of the finished topic
        self.counts = TopicCounts::default();
        self.counts.losses_mut().ended = ended;
        Some(finish.at)
    }

    /// Returns the event after `after` if it is the only one, or a piece that was joined before.
    /// `Err` means that there are several, which are not joined yet.
    #[inline]
    pub(super) fn read(
        &self,
        after: Position,
        upto: Position,
    ) -> Result<Option<(Position, EncodedEvents)>, Several> {
        let Some(newest) = self.history.newest() else {
            return Ok(None);
        };
        if newest.at <= after {
            return Ok(None);
        }
        if self.before_last <= after && newest.at <= upto {
            return Ok(Some((newest.at, newest.events.clone()))); // the common case
        }
        let run = self
            .runs
            .as_ref()
            .and_then(|runs| runs.get(after, self.generation));
        match run.filter(|(last, _)| *last <= upto) {
            Some(run) => Ok(Some(run)),
            None => Err(Several),
        }
    }

    /// Returns the events after `after` up to `upto`, at most one frame, and the position of the
    /// last of them. Returns `None` if there are none.
    pub(super) fn read_joined(
        &mut self,
        after: Position,
        upto: Position,
    ) -> Option<(Position, EncodedEvents)> {
        let mut piece = Piece::default();
        let mut last = after;
        let wanted = self.history.after(after);
        let fits = wanted.take_while(|stored| stored.at <= upto && piece.takes(&stored.events));
        let fits: Vec<&EncodedEvents> = fits
            .inspect(|stored| last = stored.at)
            .map(|stored| &stored.events)
            .collect();
        let events = match fits[..] {
            [] => return None,
            [events] => return Some((last, events.clone())),
            _ => EncodedEvents::join(fits.iter().copied()),
        };
        if self.seats.len() > 1 {
            let first = self.first_after(after)?;
            let from = self.history.last_until(after);
            let run = Run {
                from: from.unwrap_or_else(|| self.complete_since()),
                first,
                last,
                events: events.clone(),
            };
            self.runs.get_or_insert_default().push(run, self.generation);
        }
        Some((last, events))
    }

    /// Drops the joined events.
    pub(super) fn forget_runs(&mut self) {
        self.runs = None;
    }

    pub(super) fn has_runs(&self) -> bool {
        self.runs.is_some()
    }
}

/// The memory of a topic without its name, history and seats, in bytes: the topic itself, the counters
/// of shared memory, and its row in the table of topics.
const TOPIC: usize = mem::size_of::<Topic>() + 4 * mem::size_of::<usize>() + 46;

/// The memory of a row among the eldest events, in bytes. As for the row in the table of topics, it is
/// measured with 10,000 rows, because the nodes of a tree are not full.
const ELDEST_ROW: usize = 88;

/// The memory of a row among the finished topics, in bytes, measured in the same way.
const FINISHED_ROW: usize = 72;
