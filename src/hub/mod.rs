//! A hub: topics that any number of streams subscribe to, with a history to resume from.

mod encoded_events;
mod log;
mod log_hub;
mod memory_log;
mod metrics;
mod position;
mod state;
mod subscription;
mod sync;
mod topic;
mod wakers;

use std::{
    convert::Infallible,
    error::Error,
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering::SeqCst},
    task::Waker,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Semaphore, time::Instant};

use crate::{
    encode::{Encode, encode_to},
    encoded_event::EncodeEventError,
    event::Event,
    output::Output,
};

pub use self::{
    encoded_events::EncodedEvents,
    log::{Answer, AppendError, Entry, Log, LogError, Page},
    log_hub::LogHub,
    memory_log::MemoryLog,
    position::{NotAPosition, Position},
    subscription::{OnLag, Subscription},
};
use self::{
    metrics::Metrics,
    state::{Limits, State},
    sync::{AtomicU64, Mutex, MutexGuard},
};

/// Topics with a history, to which events are published and to which streams subscribe.
///
/// It is made once and cloned as a handle. An event is encoded once, whatever the number of its
/// subscribers; its id is its [`Position`] in the one order of all topics, which takes the place
/// of an id that it has. No task is behind it.
///
/// - **What a client missed** it gets when it comes back with its `Last-Event-ID`
///   ([`Subscription::after`]): exactly once and in order, or a [`Reset`] event if the history
///   does not reach back to it.
/// - **A client that hears nothing** keeps an old id. Where that can matter, with topics that come
///   and go or a log that is short, name one topic more in every subscription, and publish an
///   empty event to it now and then: `Event::data("").event_type(TICK)`, of a type that nobody
///   listens to. Every browser takes its id and shows nothing. The comment of a keep-alive has no
///   id, and of a block with an id alone Firefox does not take it.
/// - **A client that does not read** delays nobody and costs no memory: a subscription is a place
///   in the history. What happens when the history has left it behind says [`OnLag`].
/// - **The history** of a topic is bounded by count, bytes and age, and that of all topics
///   together by [`memory`](HubBuilder::memory). The newest event of a topic is kept beyond the
///   bounds of the topic, and the newest of all beyond the memory.
/// - **Monitoring**: [`topics`](Self::topics) tells of each topic. With the feature `metrics` the
///   recorder of the crate `metrics` is told of all together, under names that begin with
///   `sse_hub_`.
/// - **Topics** are any text. One comes to be when it is first published or subscribed to, and is
///   gone when it has no subscribers and no history. Of one that is gone its history is lost to
///   those who come back with an older id: they get a reset.
///
/// ```
/// use futures_util::StreamExt as _;
/// use http_sse::{Event, Hub};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = Hub::new();
/// let mut live = hub.subscribe(["prices", "news"]);
/// let first = hub.publish("prices", Event::data("100"))?;
/// let second = hub.publish("news", Event::data("hello"))?;
/// let both = format!("data: 100\nid: {first}\n\ndata: hello\nid: {second}\n\n");
/// assert_eq!(live.next().await.unwrap(), &*both);
///
/// // A client that has the first and comes back gets the second.
/// let last = first.to_string().parse()?;
/// let mut resumed = hub.subscribe(["prices", "news"]).after(last);
/// let missed = format!("data: hello\nid: {second}\n\n");
/// assert_eq!(resumed.next().await.unwrap(), &*missed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Hub(Arc<Shared>);

/// How a hub is set up; made by [`Hub::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct HubBuilder {
    limits: Limits,
    reset: ResetEvent,
}

struct Shared {
    state: Mutex<State>,
    /// Counts what changes the state for those who wait. It is raised under the lock, before any
    /// waker is taken, so that a subscriber which finds it as it was when it left its waker knows
    /// that the waker is still there.
    version: AtomicU64,
    /// Whether entries have an age.
    ages: bool,
    reset: ResetEvent,
    metrics: Metrics,
    /// What is read where the history does not reach.
    backing: Option<Backing>,
}

struct Backing {
    log: Arc<dyn Log>,
    /// How many may read at once: a restart brings every client back at the same time.
    readers: Semaphore,
}

struct ResetEvent(Box<dyn Fn(Reset) -> Event + Send + Sync>);

/// Why a client is told that it cannot have all that it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reset {
    /// The history does not reach back to the id that it came with.
    Expired,
    /// The id that it came with is none of this hub's: it is garbage, or from before a restart.
    Unknown,
    /// It read so slowly that the history has left it behind.
    Lagged,
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// How many subscriptions it has.
    pub subscribers: usize,
    /// How many events its history holds.
    pub events: usize,
    /// How many bytes those are.
    pub bytes: usize,
    /// How many were published since the topic came to be.
    pub published: u64,
    /// How many subscriptions were reset because of something that it lost, or with
    /// [`OnLag::Latest`] got its newest event in place of that.
    pub resets: u64,
    /// How many fell behind its history, whatever became of them.
    pub lagged: u64,
}

impl Hub {
    /// A hub with the bounds that [`builder`](Self::builder) begins with.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A hub to be set up. Each topic has a history of 1,024 events and 1 MiB, of any age; all
    /// together have 64 MiB.
    pub fn builder() -> HubBuilder {
        HubBuilder {
            limits: Limits {
                events: 1024,
                bytes: 1 << 20,
                age: None,
                memory: 64 << 20,
            },
            reset: ResetEvent(Box::new(default_reset)),
        }
    }

    /// Publishes an item to a topic, and tells its position. Subscribers are woken; nobody is
    /// waited for.
    ///
    /// Where an item is several events, the last of them has the id, so that a client that
    /// resumes has all of them or none.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing is published then.
    pub fn publish<T: Encode>(
        &self,
        topic: &str,
        item: T,
    ) -> Result<Position, PublishError<T::Error>> {
        let mut output = Output::with_capacity(FIRST);
        let events = encode_to(&mut output, item).map_err(PublishError::Encode)?;
        let wire = output.take_all();
        let now = self.0.now();
        let mut woken = Vec::new();
        let (at, bytes, held) = {
            let mut state = self.0.state();
            if state.closed {
                return Err(PublishError::Closed);
            }
            self.0.version.fetch_add(1, SeqCst);
            let at = Position::new(state.head.hi(), state.head.lo() + 1);
            let bytes = state.push(at, topic, wire, events, now, &mut woken);
            (at, bytes, state.held())
        };
        self.0.metrics.published(1, bytes);
        self.0.metrics.holds(held);
        wake(woken);
        Ok(at)
    }

    /// Subscribes to these topics, from now on. Topics that are named twice count once; with none
    /// the subscription is silent until the hub is closed.
    ///
    /// A handler names the topics that its client may see: an id that the client sends replays
    /// nothing of any other.
    ///
    /// A client that has had no event has no id to come back with. Where it must not miss those
    /// between two connections, tell it [`head`](Self::head) with what it begins with, and let it
    /// subscribe behind that: `new EventSource("/events?lastEventId=" + head)`. The example
    /// `notifications` does so.
    pub fn subscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Subscription {
        Subscription::new(self.0.clone(), topics)
    }

    /// The position of the last event that was published; that of none in a new hub.
    #[must_use]
    pub fn head(&self) -> Position {
        self.0.state().head
    }

    /// Drops the history of a topic; `false` if it has none. Its subscribers stay, and those who
    /// have not read all of it are told.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn remove(&self, topic: &str) -> bool {
        let mut state = self.0.state();
        let removed = state.remove(topic);
        let held = state.held();
        drop(state);
        self.0.metrics.holds(held);
        removed
    }

    /// Ends the subscriptions, each when it has read what is there. Nothing is published any
    /// more.
    pub fn close(&self) {
        let mut woken = Vec::new();
        {
            let mut state = self.0.state();
            self.0.version.fetch_add(1, SeqCst);
            state.close(&mut woken);
        }
        wake(woken);
    }

    /// What is known of every topic, in no order. It looks at each of them.
    #[must_use]
    pub fn topics(&self) -> Vec<Topic> {
        let state = self.0.state();
        let topics = state.topics().map(|topic| Topic {
            name: topic.name.clone(),
            subscribers: topic.waiting.len(),
            events: topic.entries.len(),
            bytes: topic.bytes,
            published: topic.published,
            resets: topic.resets,
            lagged: topic.lagged,
        });
        topics.collect()
    }

    /// How many bytes of memory topics and their history cost, about. It is over what
    /// [`memory`](HubBuilder::memory) allows only where there is nothing to be dropped.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.state().memory()
    }

    fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// Brings entries of a log to the subscribers; those that came before count once.
    fn deliver(&self, entries: &[Entry]) {
        let now = self.0.now();
        let (mut items, mut bytes) = (0, 0);
        let mut woken = Vec::new();
        let held = {
            let mut state = self.0.state();
            self.0.version.fetch_add(1, SeqCst);
            for entry in entries {
                if entry.at > state.head && !state.closed {
                    let wire = entry.event.as_bytes().into();
                    items += 1;
                    bytes += state.push(entry.at, &entry.topic, wire, 1, now, &mut woken);
                }
            }
            state.held()
        };
        self.0.metrics.published(items, bytes);
        self.0.metrics.holds(held);
        wake(woken);
    }

    /// Forgets the history: what there was up to `head` is not known.
    fn gap_to(&self, head: Position) {
        let mut woken = Vec::new();
        {
            let mut state = self.0.state();
            self.0.version.fetch_add(1, SeqCst);
            state.gap_to(head, &mut woken);
        }
        wake(woken);
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("head", &self.head())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

impl HubBuilder {
    /// Sets how many events a topic keeps; at least one.
    pub fn history(mut self, events: usize) -> Self {
        self.limits.events = events;
        self
    }

    /// Sets how many bytes of events a topic keeps; at least one event.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Sets how long events are kept. They are dropped when something is published.
    pub fn history_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(age);
        self
    }

    /// Sets how many bytes all topics together may cost, with what they need beyond the bytes of
    /// their events. The oldest events are dropped first, whatever their topic.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.limits.memory = bytes;
        self
    }

    /// Sets the event by which a client is told that it cannot have all that it missed, so that
    /// it loads anew what it shows. Its id is the position from which on it gets all.
    ///
    /// By default it has the event type `reset`, and the reason as its data: `expired`, `unknown`
    /// or `lagged`.
    pub fn reset_event(mut self, event: impl Fn(Reset) -> Event + Send + Sync + 'static) -> Self {
        self.reset = ResetEvent(Box::new(event));
        self
    }

    /// A hub that keeps its events in `log`, with what the log has loaded into its history.
    ///
    /// # Errors
    ///
    /// What the log says if it cannot be read.
    pub async fn log(self, log: Arc<dyn Log>) -> Result<LogHub, LogError> {
        const READERS: usize = 4;
        let backing = Backing {
            log: log.clone(),
            readers: Semaphore::new(READERS),
        };
        let hub = LogHub::new(self.starting_at(Position::default(), Some(backing)), log);
        hub.load().await?;
        Ok(hub)
    }

    /// The hub.
    #[must_use]
    pub fn build(self) -> Hub {
        // Later than that of any hub before it, so that their ids are told apart.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let epoch = since_1970.unwrap_or_default().as_micros() as u64;
        self.starting_at(Position::new(epoch, 0), None)
    }

    fn starting_at(self, start: Position, backing: Option<Backing>) -> Hub {
        Hub(Arc::new(Shared {
            ages: self.limits.age.is_some(),
            state: Mutex::new(State::new(self.limits, start)),
            version: AtomicU64::new(0),
            reset: self.reset,
            metrics: Metrics::default(),
            backing,
        }))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Under the lock nothing of a caller runs, so a panic there can come from memory alone.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Option<Instant> {
        self.ages.then(Instant::now)
    }
}

impl fmt::Debug for ResetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetEvent")
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Reset {
    /// Every one, in their order.
    #[cfg(feature = "metrics")]
    const ALL: [Self; 3] = [Self::Expired, Self::Unknown, Self::Lagged];

    fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Lagged => "lagged",
        }
    }
}

/// Why an event was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError<E = Infallible> {
    /// The item could not be encoded.
    Encode(E),
    /// The item wrote nothing or more than one event. Only a [`LogHub`] returns it.
    NotOneEvent,
    /// The log of a [`LogHub`] has not taken it, or may not have.
    Append(AppendError),
    /// The hub is closed.
    Closed,
}

impl<E: fmt::Display> fmt::Display for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::NotOneEvent => f.write_str("the item wrote nothing or more than one event"),
            Self::Append(error) => error.fmt(f),
            Self::Closed => f.write_str("the hub was closed by its owner"),
        }
    }
}

impl<E: Error> Error for PublishError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => error.source(),
            Self::Append(error) => Some(error),
            Self::NotOneEvent | Self::Closed => None,
        }
    }
}

impl<E> From<EncodeEventError<E>> for PublishError<E> {
    fn from(error: EncodeEventError<E>) -> Self {
        match error {
            EncodeEventError::Encode(error) => Self::Encode(error),
            EncodeEventError::NotOneEvent => Self::NotOneEvent,
        }
    }
}

fn default_reset(reason: Reset) -> Event {
    const RESET: crate::EventType = crate::EventType::from_static("reset");
    Event::data(reason.as_str()).event_type(RESET)
}

/// Wakes without the lock: a waker may run the code of anybody.
fn wake(woken: Vec<Waker>) {
    woken.into_iter().for_each(Waker::wake);
}

/// What a block for an event begins with: most events and their id fit, and the rest is given
/// back by none of them for long.
const FIRST: usize = 256;
