//! A replay from the log, for a client that missed more than the history holds.

use std::{
    collections::{HashSet, VecDeque},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::OnceCell,
    time::{Instant, Sleep, sleep, timeout_at},
};

use super::{
    backing::CALL,
    encoded_events::EncodedEvents,
    item::Item,
    log::{Entry, Page, Record},
    piece::Piece,
    position::Position,
    shared::Shared,
    topic::Topic,
};

/// A replay from the log.
///
/// Everything is read before the first event is yielded, so that a client that missed too much gets
/// a reset and nothing else.
pub(super) struct Replay {
    /// The mutex makes the subscription `Sync`, since an [`EventLog`](super::EventLog) promises only
    /// `Send` futures. It is never locked.
    reading: Option<Mutex<Reading>>,
    /// The events that were read.
    read: VecDeque<Missed>,
    /// The topics whose events are yielded. `None` if they are all that were asked for.
    only: Option<HashSet<Arc<str>>>,
    /// The time left for the log after the hub was closed.
    closing: Option<Pin<Box<Sleep>>>,
    /// The position up to which everything was read.
    upto: Position,
}

type Reading = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// An event that the client missed.
struct Missed {
    at: Position,
    topic: Arc<str>,
    events: EncodedEvents,
}

enum Outcome {
    Read(Position, VecDeque<Missed>),
    Gap,
    Unavailable,
}

/// A step of a replay.
pub(super) enum Replayed {
    /// Events, and the position of the last one.
    Events(Position, EncodedEvents),
    /// Everything up to this position was yielded. The history has the rest.
    Live(Position),
    /// The log does not reach back to the id, or the client missed too much.
    Gap,
    /// The log could not be read for too long.
    Unavailable,
}

/// The maximum number of events of a replay.
const MAX_EVENTS: usize = 10_000;

/// The maximum size of a replay, in bytes on the wire.
const MAX_BYTES: usize = 4 << 20;

/// The maximum number of entries that are read for a replay, of all topics.
const MAX_SCANNED: usize = 200_000;

/// The time for which a client waits for a log that cannot be read.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first and the longest pause after a failed read.
pub(super) const BACK_OFF: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(1));

impl Replay {
    /// Begins a replay for a client that has everything up to `after`.
    pub(super) fn new(hub: Arc<Shared>, topics: Vec<Arc<Topic>>, after: Position) -> Self {
        Self {
            reading: Some(Mutex::new(Box::pin(read(hub, topics, after)))),
            read: VecDeque::new(),
            only: None,
            closing: None,
            upto: after,
        }
    }

    /// Drops the events of other topics than these.
    pub(super) fn keep_only(&mut self, topics: HashSet<Arc<str>>) {
        self.only = Some(topics);
    }

    /// Waits until a log that still does not answer has had its time after the end of the hub.
    pub(super) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let closing = self.closing.get_or_insert_with(|| Box::pin(sleep(CALL)));
        closing.as_mut().poll(cx)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Replayed> {
        if let Some(reading) = &mut self.reading {
            let reading = reading.get_mut().unwrap_or_else(PoisonError::into_inner);
            let outcome = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match outcome {
                Outcome::Read(upto, read) => (self.upto, self.read) = (upto, read),
                Outcome::Gap => return Poll::Ready(Replayed::Gap),
                Outcome::Unavailable => return Poll::Ready(Replayed::Unavailable),
            }
        }
        if let Some(only) = self.only.take() {
            self.read.retain(|missed| only.contains(&missed.topic));
        }
        let mut piece = Piece::default();
        let fits = self.read.iter();
        let fits = fits
            .take_while(|missed| piece.takes(&missed.events))
            .count();
        let fits: Vec<_> = self.read.drain(..fits).collect();
        Poll::Ready(match fits.last() {
            Some(last) => {
                let events = EncodedEvents::join(fits.iter().map(|missed| &missed.events));
                Replayed::Events(last.at, events)
            }
            None => Replayed::Live(self.upto),
        })
    }
}

/// Reads everything that the history does not have.
async fn read(hub: Arc<Shared>, topics: Vec<Arc<Topic>>, after: Position) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let mut read = VecDeque::new();
    let (mut at, mut bytes, mut scanned) = (after, 0, 0);
    let Some(backing) = &hub.backing else {
        return Outcome::Gap;
    };
    if backing.has_lost(after) {
        return Outcome::Gap;
    }
    let loses = |at| topics.iter().any(|topic| hub.lock(topic).loses(at));
    let mut is_known = backing.knows(after);
    let mut back_off = BACK_OFF.0;
    let mut ended = Vec::new();
    while !is_known || loses(at) {
        let page = match timeout_at(deadline, backing.page(at)).await {
            Ok(Ok(page)) => page,
            Ok(Err(_)) if Instant::now() + back_off < deadline => {
                sleep(back_off).await;
                back_off = (2 * back_off).min(BACK_OFF.1);
                continue;
            }
            Ok(Err(_)) | Err(_) => return Outcome::Unavailable,
        };
        let Some(Page::Entries(entries)) = OnceCell::get(&page) else {
            return Outcome::Gap;
        };
        let is_first = !std::mem::replace(&mut is_known, true);
        if entries.is_empty() && !is_first {
            return Outcome::Gap; // the history begins after the end of the log
        }
        for entry in entries {
            if !topics.iter().any(|topic| topic.name == entry.topic) {
                continue;
            }
            match event(entry) {
                // The topic began anew.
                Some(_) if ended.contains(&entry.topic) => return Outcome::Gap,
                Some(events) => {
                    bytes += events.len();
                    read.push_back(Missed {
                        at: entry.at,
                        topic: entry.topic.clone(),
                        events,
                    });
                }
                None if entry.record == Record::Remove => {
                    // What the topic had before is lost.
                    return Outcome::Gap;
                }
                None => ended.push(entry.topic.clone()),
            }
        }
        scanned += entries.len();
        if read.len() > MAX_EVENTS || bytes > MAX_BYTES || scanned > MAX_SCANNED {
            return Outcome::Gap;
        }
        at = entries.last().map_or(at, |last| last.at);
    }
    Outcome::Read(at, read)
}

/// Returns the event of an entry, with the entry's position as its id.
fn event(entry: &Entry) -> Option<EncodedEvents> {
    let Record::Event { event, .. } = &entry.record else {
        return None;
    };
    Some(Item::new(event.as_bytes(), None).store(entry.at, 0).events)
}
