//! The truth about a run: what the log had, and what the clients were entitled to.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    str::FromStr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use http_sse::hub::Position;
use tokio::time::Instant;

use super::{clients::name, faults::Kind};

/// An event, as its data names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) publisher: usize,
    pub(super) topic: usize,
    /// The events of a publisher in a topic are numbered from 1.
    pub(super) number: u64,
}

/// The last result of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Stored(Position),
    Unknown,
    NotWritten,
}

/// Numbers that a client did not see.
pub(super) struct Skip {
    pub(super) client: usize,
    /// The event that the client saw instead, at this position.
    pub(super) id: Id,
    pub(super) at: Position,
    pub(super) missing: Range<u64>,
    /// The reset after which this was the first event of its publisher and topic.
    pub(super) after: Option<Position>,
}

/// A reset that a client got.
pub(super) struct Reset {
    pub(super) client: usize,
    pub(super) node: usize,
    /// True if the node found out about a loss since the client came.
    pub(super) is_late: bool,
    pub(super) reason: String,
    /// The client's last event ID.
    pub(super) after: Option<Position>,
    /// The id of the reset.
    pub(super) at: Position,
    pub(super) last_read: Instant,
    pub(super) time: Instant,
}

/// A fault, and what the log lost in it.
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) begin: Instant,
    /// The time at which all nodes had caught up.
    pub(super) end: Instant,
    /// The number of entries that the log lost at its end.
    pub(super) lost: usize,
}

/// The entries of the log, by position.
pub(super) type Dump = BTreeMap<Position, Id>;

/// The truth about a run.
#[derive(Default)]
pub(super) struct Truth {
    pub(super) outcomes: Mutex<BTreeMap<Id, Option<Outcome>>>,
    /// The entries that the log is known to have had.
    pub(super) entries: Mutex<BTreeMap<(Position, Id), Entry>>,
    /// The first entry after each trim, with the time.
    pub(super) trims: Mutex<Vec<(Instant, Position)>>,
    pub(super) skips: Mutex<Vec<Skip>>,
    pub(super) resets: Mutex<Vec<Reset>>,
    pub(super) faults: Mutex<Vec<Fault>>,
    pub(super) repeats: AtomicU64,
}

/// An entry that the log has had.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) is_acknowledged: bool,
    pub(super) is_lost: bool,
}

impl Truth {
    pub(super) fn begins(&self, id: Id) {
        self.outcomes.lock().unwrap().insert(id, None);
    }

    pub(super) fn repeats(&self) {
        self.repeats.fetch_add(1, SeqCst);
    }

    pub(super) fn ends(&self, id: Id, outcome: Outcome) {
        if let Outcome::Stored(at) = outcome {
            let mut entries = self.entries.lock().unwrap();
            entries.entry((at, id)).or_default().is_acknowledged = true;
        }
        self.outcomes.lock().unwrap().insert(id, Some(outcome));
    }

    pub(super) fn sees(&self, id: Id, at: Position) {
        self.entries.lock().unwrap().entry((at, id)).or_default();
    }

    pub(super) fn skips(&self, skip: Skip) {
        self.skips.lock().unwrap().push(skip);
    }

    pub(super) fn resets(&self, reset: Reset) {
        self.resets.lock().unwrap().push(reset);
    }

    pub(super) fn trims(&self, first: Position) {
        self.trims.lock().unwrap().push((Instant::now(), first));
    }

    /// Returns the number of the last event that each publisher has stored in each topic.
    pub(super) fn stored(&self) -> BTreeMap<(usize, usize), u64> {
        let outcomes = self.outcomes.lock().unwrap();
        let stored = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Some(Outcome::Stored(_))));
        stored
            .map(|(id, _)| ((id.publisher, id.topic), id.number))
            .collect()
    }

    /// Returns the position of the last event that is known to be stored.
    pub(super) fn last(&self) -> Position {
        let entries = self.entries.lock().unwrap();
        let last = entries.last_key_value();
        last.map(|((at, _), _)| *at).unwrap_or_default()
    }

    /// Returns the entries that are known up to now.
    pub(super) fn known(&self) -> Vec<(Position, Id)> {
        self.entries.lock().unwrap().keys().copied().collect()
    }

    /// Marks those of `known` that are not in the dump as lost, unless they were trimmed. Returns their
    /// number.
    pub(super) fn compare(&self, known: &[(Position, Id)], dump: &Dump) -> usize {
        let trims = self.trims.lock().unwrap();
        let floor = trims.last().map(|(_, first)| *first).unwrap_or_default();
        let mut entries = self.entries.lock().unwrap();
        let mut lost = 0;
        for (at, id) in known {
            let entry = entries.get_mut(&(*at, *id)).unwrap();
            if *at >= floor && dump.get(at) != Some(id) && !entry.is_lost {
                entry.is_lost = true;
                lost += 1;
            }
        }
        lost
    }

    pub(super) fn ends_fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }
}

impl Id {
    pub(super) fn topic_name(self) -> String {
        name(self.topic)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.publisher, self.topic, self.number)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} saw {} at {}", self.client, self.id, self.at)?;
        match self.after {
            Some(after) => write!(f, " first after a reset at {after}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            node,
            reason,
            at,
            ..
        } = self;
        match self.after {
            Some(after) => write!(f, "client {client} with id {after}")?,
            None => write!(f, "client {client} without an id")?,
        }
        let read = self.time - self.last_read;
        write!(
            f,
            " is reset by node {node}: {reason} at {at}, {read:?} after its last event"
        )
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Vec<u64> = text
            .split('/')
            .map_while(|number| number.parse().ok())
            .collect();
        let [publisher, topic, number] = numbers[..] else {
            return Err(format!("{text:?} names no event"));
        };
        Ok(Self {
            publisher: publisher as usize,
            topic: topic as usize,
            number,
        })
    }
}
