//! Entries of a log as clients get them.

use std::{collections::HashMap, sync::Arc};

use super::{
    encoded_events::EncodedEvents,
    item::Item,
    log::{Entry, Page, Record},
    position::Position,
};

/// A page of a log, encoded once for all clients that missed it.
pub(super) enum MissedPage {
    Entries(MissedEntries),
    /// The log cannot prove that no entry is missing.
    Gap,
}

/// Consecutive entries of a log.
#[derive(Default)]
pub(super) struct MissedEntries {
    /// The number of entries of all topics.
    pub(super) len: usize,
    /// The position of the last entry.
    pub(super) last: Option<Position>,
    /// Each topic that has entries.
    pub(super) topics: HashMap<Arc<str>, MissedTopic>,
}

/// The entries of one topic in a page.
#[derive(Default)]
pub(super) struct MissedTopic {
    /// The events. They are shared apart from the page, because a slow client holds them and should
    /// not hold those of other topics.
    pub(super) events: Arc<[Missed]>,
    /// The size of the events on the wire.
    pub(super) bytes: usize,
    /// True if the topic is finished after the events.
    pub(super) is_finished: bool,
    /// True if the history was removed, or if the topic began anew after its end.
    pub(super) is_lost: bool,
}

/// An event that clients missed. Its id is its position.
#[derive(Clone)]
pub(super) struct Missed {
    pub(super) at: Position,
    pub(super) topic: Arc<str>,
    pub(super) events: EncodedEvents,
}

impl From<Page> for MissedPage {
    fn from(page: Page) -> Self {
        match page {
            Page::Entries(entries) => Self::Entries(entries.into()),
            Page::Gap => Self::Gap,
        }
    }
}

impl From<Vec<Entry>> for MissedEntries {
    fn from(entries: Vec<Entry>) -> Self {
        let (len, last) = (entries.len(), entries.last().map(|last| last.at));
        let mut topics: HashMap<Arc<str>, (MissedTopic, Vec<Missed>)> = HashMap::new();
        for Entry { at, topic, record } in entries {
            let (missed, all) = topics.entry(topic.clone()).or_default();
            match record {
                Record::Event { event, .. } => {
                    let events = Item::new(event.as_bytes(), None).store(at, 0).events;
                    missed.is_lost |= missed.is_finished;
                    missed.bytes += events.len();
                    all.push(Missed { at, topic, events });
                }
                Record::Finish => missed.is_finished = true,
                Record::Remove => missed.is_lost = true,
            }
        }
        let topics = topics.into_iter().map(|(name, (mut missed, all))| {
            missed.events = all.into();
            (name, missed)
        });
        Self {
            len,
            last,
            topics: topics.collect(),
        }
    }
}
