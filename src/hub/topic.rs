//! One topic: its history, and who waits for more.

use std::{collections::VecDeque, mem, sync::Arc};

use tokio::time::Instant;

use super::{encoded_events::EncodedEvents, position::Position, wakers::Wakers};
use crate::wire::BUDGET;

/// A topic of a hub.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// In the order of their positions.
    pub(super) entries: VecDeque<Stored>,
    /// Every event of the topic behind this position is in `entries`.
    pub(super) complete_since: Position,
    pub(super) waiting: Wakers,
    /// The bytes of `entries`.
    pub(super) bytes: usize,
    pub(super) published: u64,
    pub(super) resets: u64,
    pub(super) lagged: u64,
    /// The position of the last event but one, also if it is lost since.
    before_last: Position,
    runs: VecDeque<Run>,
    /// The bytes of `runs`.
    pub(super) run_bytes: usize,
}

/// How many runs are kept. Readers who are at the same place mostly read the same few in turn.
const MAX_RUNS: usize = 8;

/// One published item.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) at: Position,
    /// When it was published, if that matters.
    pub(super) time: Option<Instant>,
    pub(super) events: EncodedEvents,
}

/// The last events of a topic in one piece, made for the first who reads them and shared with
/// those who read the same.
#[derive(Debug)]
struct Run {
    /// It is for who has read up to here, or behind it
    from: Position,
    /// but before this,
    first: Position,
    /// and goes to here.
    last: Position,
    events: EncodedEvents,
}

/// How much is read at once: as many events as fill a frame, so that a body hands them over
/// uncopied; one that does by itself is alone.
#[derive(Debug, Default)]
pub(super) struct Piece(usize);

impl Piece {
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

    /// Whether nobody would miss it.
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

    /// The position of the last event, if there is any in the history.
    pub(super) fn last(&self) -> Option<Position> {
        self.entries.back().map(|entry| entry.at)
    }

    /// Whether there is something behind `after`.
    pub(super) fn has_more(&self, after: Position) -> bool {
        self.last().is_some_and(|last| last > after)
    }

    /// Where the first entry behind `after` is.
    pub(super) fn index_after(&self, after: Position) -> usize {
        // Mostly it is one of the last few.
        const FEW: usize = 8;
        let entries = &self.entries;
        let few = entries.len().saturating_sub(FEW);
        match entries.get(few) {
            Some(entry) if entry.at <= after => {
                let behind = entries.iter().rev().take_while(|entry| entry.at > after);
                entries.len() - behind.count()
            }
            _ => entries.partition_point(|entry| entry.at <= after),
        }
    }

    /// What stands behind `after`, up to a frame of it, and the position of its last event; `None`
    /// if there is nothing.
    #[inline]
    pub(super) fn read(&mut self, after: Position) -> Option<(Position, EncodedEvents)> {
        let last = self.entries.back()?;
        if last.at <= after {
            return None;
        }
        if self.before_last <= after {
            return Some((last.at, last.events.clone())); // mostly it is the last alone
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

    /// Forgets the runs; tells how many bytes they had.
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
