//! Joined events that several readers at the same place share.

use std::{collections::VecDeque, mem};

use super::{encoded_events::EncodedEvents, position::Position};

/// The runs of one topic or of several, the newest first.
///
/// They are a cache: whoever needs memory drops them.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
    bytes: usize,
    /// The generation of the hub that the runs belong to.
    generation: u64,
}

/// Consecutive events, joined for the first reader and shared with later ones. It serves readers
/// that have read up to `from` or later, but not as far as `first`.
#[derive(Debug)]
pub(super) struct Run {
    /// A position before the run, after which no event is before `first`.
    pub(super) from: Position,
    /// The position of the first event in the run.
    pub(super) first: Position,
    /// The position of the last event in the run.
    pub(super) last: Position,
    pub(super) events: EncodedEvents,
}

/// The maximum number of cached runs. Readers at the same position read the same few in turn.
const MAX_RUNS: usize = 8;

impl Runs {
    /// Returns the run for a reader that has read up to `after`, and its last position.
    pub(super) fn get(
        &self,
        after: Position,
        generation: u64,
    ) -> Option<(Position, EncodedEvents)> {
        if generation != self.generation {
            return None;
        }
        let run = self
            .runs
            .iter()
            .find(|run| run.from <= after && after < run.first)?;
        Some((run.last, run.events.clone()))
    }

    pub(super) fn push(&mut self, run: Run, generation: u64) {
        if generation != self.generation {
            self.clear();
            self.generation = generation;
        }
        if self.runs.len() == MAX_RUNS {
            let oldest = self.runs.pop_back();
            self.bytes -= oldest.map_or(0, |run| run.events.len());
        }
        self.bytes += run.events.len();
        self.runs.push_front(run);
    }

    /// Drops all runs.
    pub(super) fn clear(&mut self) {
        if !self.runs.is_empty() {
            *self = Self::default();
        }
    }

    /// Returns the heap memory of the runs, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes + self.runs.capacity() * mem::size_of::<Run>()
    }
}
