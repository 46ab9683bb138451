//! The beginning of a generation: what was loaded from the log.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    history::{History, Limits},
    item::Item,
    log::{Entry, Record},
    position::Position,
};

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

impl Beginning {
    /// Returns a generation without events, after `floor`.
    pub(super) fn at(floor: Position) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// Adds an entry of the log. `now` is the time of the hub.
    pub(super) fn load(&mut self, entry: Entry, limits: Limits, now: u64) {
        let loaded = self.loaded.entry(entry.topic).or_default();
        if loaded.finish.is_some() && entry.record == Record::Finish {
            return; // two servers have finished it
        }
        if let Some(finish) = loaded.finish.take() {
            loaded.begin_anew(finish);
        }
        match entry.record {
            Record::Event { event, coalesce } => {
                let item = Item::new(event.as_bytes(), coalesce);
                loaded.history.push(item.store(entry.at, now), limits);
            }
            Record::Finish => loaded.finish = Some(entry.at),
            Record::Remove => loaded.begin_anew(Position::default()),
        }
    }
}

impl Loaded {
    /// Drops the events, which are no longer those of the topic.
    fn begin_anew(&mut self, at: Position) {
        self.history.clear(at);
        self.floor = self.history.trimmed();
    }
}
