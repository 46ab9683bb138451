//! One topic: its history, and the subscribers that wait for more.

use std::{collections::VecDeque, mem, sync::Arc};

use tokio::time::Instant;

use super::{encoded_events::EncodedEvents, position::Position, wakers::Wakers};
use crate::wire::BUDGET;

/// A topic of a hub.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Sorted by position.
    pub(super) entries: VecDeque<Stored>,
    /// Every event of the topic after this position is in `entries`.
    pub(super) complete_since: Position,
    pub(super) waiting: Wakers,
    /// The total size of `entries`, in bytes.
    pub(super) bytes: usize,
    pub(super) published: u64,
    pub(super) resets: u64,
    pub(super) lagged: u64,
    /// The position of the last event but one, even if it was dropped since.
    before_last: Position,
    /// Joined events, the newest run first.
    runs: VecDeque<Run>,
    /// The total size of `runs`, in bytes.
    pub(super) run_bytes: usize,
}

/// The maximum number of cached runs. Readers at the same position read the same few in turn.
const MAX_RUNS: usize = 8;

/// One published item.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: Position,
    /// The time of its publication, if the history has a maximum age.
    pub(super) time: Option<Instant>,
    pub(super) events: EncodedEvents,
}

/// Consecutive events of a topic, joined for the first reader and shared with later ones. It serves
/// readers that have read up to `from` or later, but not as far as `first`.
#[derive(Debug)]
struct Run {
    /// The position of the event before the run.
    from: Position,
    /// The position of the first event in the run.
    first: Position,
    /// The position of the last event in the run.
    last: Position,
    events: EncodedEvents,
}

/// The size of a read so far, in bytes. A read takes as many events as fill a frame, so that a body
/// passes them on without a copy. An event that fills a frame by itself is read alone.
#[derive(Debug, Default)]
pub(super) struct Piece(usize);

impl Piece {
    /// Returns whether the read takes these events too, and counts them.
    pub(super) fn takes(&mut self, events: &EncodedEvents) -> bool {
        let takes = self.0 == 0 || (self.0 < BUDGET && events.len() < BUDGET);
        self.0 += events.len();
        takes
    }
}

impl Topic {
    pub(super) fn new(name: Arc<str>, complete_since: Position) -> Self {
        Self {
            name,
            entries: VecDeque::new(),
            complete_since,
            waiting: Wakers::default(),
            bytes: 0,
            published: 0,
            resets: 0,
            lagged: 0,
            before_last: complete_since,
            runs: VecDeque::new(),
            run_bytes: 0,
        }
    }

    /// Returns whether the topic has neither history nor subscribers.
    pub(super) fn is_void(&self) -> bool {
        self.entries.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, entry: Stored) {
        self.bytes += entry.events.len();
        self.published += 1;
        self.before_last = self.last().unwrap_or(self.complete_since);
        self.entries.push_back(entry);
    }

    /// Drops the oldest entry.
    pub(super) fn trim(&mut self) -> Option<Stored> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.events.len();
        self.complete_since = entry.at;
        Some(entry)
    }

    /// Returns the position of the last event in the history.
    pub(super) fn last(&self) -> Option<Position> {
        self.entries.back().map(|entry| entry.at)
    }

    /// Returns whether the history has events after `after`.
    pub(super) fn has_more(&self, after: Position) -> bool {
        self.last().is_some_and(|last| last > after)
    }

    /// Returns the index of the first entry after `after`.
    pub(super) fn index_after(&self, after: Position) -> usize {
        // Subscribers that keep up are within the last few entries.
        const FEW: usize = 8;
        let entries = &self.entries;
        let few = entries.len().saturating_sub(FEW);
        match entries.get(few) {
            Some(entry) if entry.at <= after => {
                let newer = entries.iter().rev().take_while(|entry| entry.at > after);
                entries.len() - newer.count()
            }
            _ => entries.partition_point(|entry| entry.at <= after),
        }
    }

    /// Returns the events after `after`, up to one frame, and the position of the last of them.
    /// Returns `None` if there are none.
    #[inline]
    pub(super) fn read(&mut self, after: Position) -> Option<(Position, EncodedEvents)> {
        let last = self.entries.back()?;
        if last.at <= after {
            return None;
        }
        if self.before_last <= after {
            return Some((last.at, last.events.clone())); // the common case: one new event
        }
        let serves = |run: &&Run| run.from <= after && after < run.first;
        if let Some(run) = self.runs.iter().find(serves) {
            return Some((run.last, run.events.clone()));
        }
        Some(self.read_anew(after))
    }

    #[cold]
    fn read_anew(&mut self, after: Position) -> (Position, EncodedEvents) {
        let start = self.index_after(after);
        let end = self.end_of_run(start);
        let (first, last) = (self.entries[start].at, self.entries[end - 1].at);
        if end - start == 1 {
            return (last, self.entries[start].events.clone());
        }
        let run = self.entries.range(start..end);
        let events = EncodedEvents::join(run.map(|entry| &entry.events));
        if self.waiting.len() > 1 {
            let from = match start.checked_sub(1) {
                Some(before) => self.entries[before].at,
                None => self.complete_since,
            };
            if self.runs.len() == MAX_RUNS {
                let oldest = self.runs.pop_back();
                self.run_bytes -= oldest.map_or(0, |run| run.events.len());
            }
            self.run_bytes += events.len();
            self.runs.push_front(Run {
                from,
                first,
                last,
                events: events.clone(),
            });
        }
        (last, events)
    }

    /// Drops the runs and returns their size in bytes.
    pub(super) fn forget_runs(&mut self) -> usize {
        self.runs = VecDeque::new();
        mem::take(&mut self.run_bytes)
    }

    fn end_of_run(&self, start: usize) -> usize {
        let mut piece = Piece::default();
        let fits = self.entries.range(start..);
        start + fits.take_while(|entry| piece.takes(&entry.events)).count()
    }
}
