//! The hub: topics that any number of streams subscribe to, with a history to resume from.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use super::{
    info::TopicInfo,
    log::Entry,
    position::Position,
    publish_error::PublishError,
    shared::{Shared, wake},
    subscription::Subscription,
};
use crate::wire::{Encode, Output, encode_to};

/// Topics with a history, to which events are published and to which streams subscribe.
///
/// It is made once and cloned as a handle. An event is encoded once, whatever the number of its
/// subscribers; its id is its [`Position`] in the one order of all topics, which takes the place
/// of an id that it has. No task is behind it.
///
/// - **What a client missed** it gets when it comes back with its `Last-Event-ID`
///   ([`Subscription::after`]): exactly once and in order, or a [`ResetReason`](super::ResetReason) event if the history
///   does not reach back to it.
/// - **A client that hears nothing** keeps an old id. Where that can matter, with topics that come
///   and go or a log that is short, name one topic more in every subscription, and publish an
///   empty event to it now and then: `Event::data("").event_type(TICK)`, of a type that nobody
///   listens to. Every browser takes its id and shows nothing. The comment of a keep-alive has no
///   id, and of a block with an id alone Firefox does not take it.
/// - **A client that does not read** delays nobody and costs no memory: a subscription is a place
///   in the history. What happens when the history has left it behind says [`OnLag`](super::OnLag).
/// - **The history** of a topic is bounded by count, bytes and age, and that of all topics
///   together by [`memory`](super::HubBuilder::memory). The newest event of a topic is kept beyond the
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
pub struct Hub(pub(super) Arc<Shared>);

impl Hub {
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
    pub fn topics(&self) -> Vec<TopicInfo> {
        let state = self.0.state();
        let topics = state.topics().map(|topic| TopicInfo {
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
    /// [`memory`](super::HubBuilder::memory) allows only where there is nothing to be dropped.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.state().memory()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// Brings entries of a log to the subscribers; those that came before count once.
    pub(super) fn deliver(&self, entries: &[Entry]) {
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
    pub(super) fn gap_to(&self, head: Position) {
        let mut woken = Vec::new();
        {
            let mut state = self.0.state();
            self.0.version.fetch_add(1, SeqCst);
            state.gap_to(head, &mut woken);
        }
        wake(woken);
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

/// What a block for an event begins with: most events and their id fit, and the rest is given
/// back by none of them for long.
const FIRST: usize = 256;
