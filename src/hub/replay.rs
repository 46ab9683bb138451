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
    missed::{Missed, MissedPage},
    piece::Piece,
    position::Position,
    shared::Shared,
    topic::Topic,
};

/// A replay from the log.
///
/// Everything is read before the first event is yielded, so that a client that missed too much gets
/// a reset and nothing else. Clients of the same topic share the events, so that ten thousand replays
/// at the same time take little more memory than one.
pub(super) struct Replay {
    /// The mutex makes the subscription `Sync`, since an [`EventLog`](super::EventLog) promises only
    /// `Send` futures. It is never locked.
    reading: Option<Mutex<Reading>>,
    /// The events that were read, of one page after another.
    read: VecDeque<Arc<[Missed]>>,
    /// The number of events of the first page that were yielded.
    yielded: usize,
    /// The topics whose events are yielded. `None` if they are all that were asked for.
    only: Option<HashSet<Arc<str>>>,
    /// The time left for the log after the hub was closed.
    closing: Option<Pin<Box<Sleep>>>,
    /// The position up to which everything was read.
    upto: Position,
}

type Reading = Pin<Box<dyn Future<Output = Outcome> + Send>>;

enum Outcome {
    Read(Position, VecDeque<Arc<[Missed]>>),
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
            yielded: 0,
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
            let left = self.read.iter().flat_map(|events| events.iter());
            let left = left.skip(self.yielded);
            let left = left.filter(|missed| only.contains(&missed.topic));
            self.read = VecDeque::from([left.cloned().collect()]);
            self.yielded = 0;
        }
        Poll::Ready(match self.next_events() {
            Some((last, events)) => Replayed::Events(last, events),
            None => Replayed::Live(self.upto),
        })
    }

    /// Takes as many events as are yielded together. Returns also the position of the last one.
    fn next_events(&mut self) -> Option<(Position, EncodedEvents)> {
        let mut piece = Piece::default();
        let mut fits = Vec::new();
        let mut last = None;
        while let Some(page) = self.read.front() {
            let left = page[self.yielded..].iter();
            for missed in left.take_while(|missed| piece.takes(&missed.events)) {
                fits.push(missed.events.clone());
                last = Some(missed.at);
                self.yielded += 1;
            }
            if self.yielded < page.len() {
                break;
            }
            self.read.pop_front();
            self.yielded = 0;
        }
        Some((last?, EncodedEvents::join(fits.iter())))
    }
}

/// Reads everything that the history does not have.
async fn read(hub: Arc<Shared>, topics: Vec<Arc<Topic>>, after: Position) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    let mut read = VecDeque::new();
    let (mut at, mut events, mut bytes, mut scanned) = (after, 0, 0, 0);
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
        let Some(MissedPage::Entries(entries)) = OnceCell::get(&page) else {
            return Outcome::Gap;
        };
        let is_first = !std::mem::replace(&mut is_known, true);
        if entries.len == 0 && !is_first {
            return Outcome::Gap; // the history begins after the end of the log
        }
        let mut of_page = Vec::new();
        for topic in &topics {
            let Some(missed) = entries.topics.get(&topic.name) else {
                continue;
            };
            // After its end, the topic began anew.
            let is_new = !missed.events.is_empty() && ended.contains(&topic.name);
            if missed.is_lost || is_new {
                return Outcome::Gap;
            }
            if missed.is_finished {
                ended.push(topic.name.clone());
            }
            events += missed.events.len();
            bytes += missed.bytes;
            of_page.push(missed.events.clone());
        }
        scanned += entries.len;
        if events > MAX_EVENTS || bytes > MAX_BYTES || scanned > MAX_SCANNED {
            return Outcome::Gap;
        }
        read.extend(in_order(of_page));
        at = entries.last.unwrap_or(at);
    }
    Outcome::Read(at, read)
}

/// Merges the events of several topics.
fn in_order(mut topics: Vec<Arc<[Missed]>>) -> Option<Arc<[Missed]>> {
    if topics.len() <= 1 {
        return topics.pop();
    }
    let mut all: Vec<Missed> = topics.iter().flat_map(|it| it.iter().cloned()).collect();
    all.sort_unstable_by_key(|missed| missed.at);
    Some(all.into())
}
