//! The hub of one server, and the core of a hub that shares a log.

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

/// A publish-subscribe hub, whose topics have a history to resume from.
///
/// Create one hub per server, then clone it: all clones share the same topics. An event is encoded
/// once, whatever the number of its subscribers. Its id is its [`Position`] in one order over all
/// topics, which replaces an id of its own. The hub spawns no task.
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
/// // A client that reconnects with the first id gets the second event.
/// let last = first.to_string().parse()?;
/// let mut resumed = hub.subscribe(["prices", "news"]).after(last);
/// let missed = format!("data: hello\nid: {second}\n\n");
/// assert_eq!(resumed.next().await.unwrap(), &*missed);
/// # Ok(())
/// # }
/// ```
///
/// # Topics
///
/// A topic is any text. It is created when it is first published or subscribed to. It is removed
/// when it has neither subscribers nor history. A client that subscribes to a removed topic, with
/// an id from before the removal, gets a reset.
///
/// # History
///
/// The history of a topic is bounded by count, bytes and age. The history of all topics together
/// is bounded by [`memory`](super::HubBuilder::memory). The bounds are enforced when something is
/// published. The bounds on count and bytes never drop a topic's newest event. Those on age and
/// memory can.
///
/// # Resuming
///
/// A client reconnects with its last event ID, which the handler passes to
/// [`Subscription::after`]. The subscription yields each event after that id exactly once, in
/// order. If the history no longer reaches back that far, it yields one reset event instead, with
/// a [`ResetReason`](super::ResetReason).
///
/// A client that gets no events keeps an old id, which can expire while other topics are busy. To
/// prevent that, add a shared topic to every subscription. Publish an event to it from time to
/// time, with empty data and a type without a listener: `Event::data("").event_type(TICK)`.
/// Chromium and Firefox store its id and dispatch nothing visible. A block with only an id does
/// not work, because Firefox ignores it (`tests/real/results.md`). A keep-alive is a comment
/// and has no id.
///
/// # Slow clients
///
/// A client that does not read delays no other client and queues no events, because a subscription
/// is only a position in the history. If events are dropped before the client gets them, the
/// subscription lags. [`OnLag`](super::OnLag) sets what happens then.
///
/// # Monitoring
///
/// [`topics`](Self::topics) returns the state of each topic. With the feature `metrics`, the hub
/// reports the sum of all topics to the recorder of the crate `metrics`, with the prefix
/// `sse_hub_`. The names have no label for the hub. If a process has several hubs, the values of
/// `sse_hub_topics`, `sse_hub_memory_bytes` and `sse_hub_lagged_total` are those of the hub that
/// changed last.
#[derive(Clone)]
pub struct Hub(pub(super) Arc<Shared>);

impl Hub {
    /// Publishes an item to a topic and returns its position.
    ///
    /// It wakes the subscribers and does not wait for them. Without subscribers the item is stored
    /// in the history.
    ///
    /// If the item is several events, only the last one has the id. A client that resumes therefore
    /// gets all of them or none. If the item writes nothing, a block with only the id is published,
    /// which clients do not dispatch.
    ///
    /// # Errors
    ///
    /// Returns [`PublishError::Encode`] if the item fails to encode, and [`PublishError::Closed`]
    /// after [`close`](Self::close). Nothing is published then. An item that is several events is
    /// accepted, although [`DistributedHub::publish`](super::DistributedHub::publish) rejects it.
    pub fn publish<T: Encode>(
        &self,
        topic: &str,
        item: T,
    ) -> Result<Position, PublishError<T::Error>> {
        let mut output = Output::with_capacity(INITIAL_CAPACITY);
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

    /// Subscribes to these topics, starting with the next event that is published.
    ///
    /// Duplicate topics count once. Without topics the subscription yields nothing until the hub is
    /// closed. On a closed hub it ends at once, after the events that it
    /// [resumes](Subscription::after).
    ///
    /// Pass only the topics that the client may see. A last event ID never replays events of other
    /// topics.
    ///
    /// A client that has not received an event has no id to resume from. To let it resume, send it
    /// [`head`](Self::head) together with the initial data, and have it connect with that id:
    /// `new EventSource("/events?lastEventId=" + head)`. The example `notifications` does this.
    pub fn subscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Subscription {
        Subscription::new(self.0.clone(), topics)
    }

    /// Returns the position of the last published event. In a new hub it is the position before
    /// the first event.
    #[must_use]
    pub fn head(&self) -> Position {
        self.0.state().head
    }

    /// Drops the history of a topic. Returns `false` if it has none.
    ///
    /// Subscriptions to the topic stay open. Those with unread events lag, as
    /// [`OnLag`](super::OnLag) describes.
    #[expect(
        clippy::must_use_candidate,
        reason = "callers may not care whether there was a history"
    )]
    pub fn remove(&self, topic: &str) -> bool {
        let mut state = self.0.state();
        let removed = state.remove(topic);
        let held = state.held();
        drop(state);
        self.0.metrics.holds(held);
        removed
    }

    /// Closes the hub. Each subscription ends after it has read the remaining events.
    ///
    /// Later publishes fail with [`PublishError::Closed`]. Closing twice has no effect.
    pub fn close(&self) {
        let mut woken = Vec::new();
        {
            let mut state = self.0.state();
            self.0.version.fetch_add(1, SeqCst);
            state.close(&mut woken);
        }
        wake(woken);
    }

    /// Returns the state of every topic, in no particular order.
    ///
    /// It visits each topic under the lock of the hub.
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

    /// Returns the estimated memory of topics and their history, in bytes.
    ///
    /// Each publish drops events until this is within the
    /// [bound](super::HubBuilder::memory). It can exceed the bound between two publishes, or if
    /// there is nothing left to drop: the newest event, and topics with subscribers, are kept.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.state().memory()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// Delivers entries of a log to the subscribers. Entries that were already delivered are
    /// skipped.
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

    /// Drops the whole history and moves the head to `head`. Every subscriber before it lags.
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

/// The initial capacity of the buffer that an event is encoded into, in bytes. Most events fit with
/// their id.
const INITIAL_CAPACITY: usize = 256;
