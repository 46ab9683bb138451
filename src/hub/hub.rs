//! The hub of one server, and the core of a hub that shares a log.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    add::{Added, Addition},
    demand::Demand,
    info::TopicInfo,
    item::Item,
    position::Position,
    publish_error::PublishError,
    publish_options::PublishOptions,
    shared::Shared,
    subscription::Subscription,
    topic::Topic,
};
use crate::{
    wake::wake_all,
    wire::{Encode, Output, encode_to},
};

/// A publish-subscribe hub, whose topics have a history to resume from.
///
/// Create one hub per server, then clone it: all clones share the same topics. An event is encoded
/// once, whatever the number of its subscribers. The hub gives it an id, its [`Position`] in one order
/// over all topics, in place of any id that the event has. The hub spawns no task.
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
/// when it has neither subscribers nor history and is not finished. A client that subscribes to a
/// removed topic, with an id from before the removal, gets a reset.
///
/// # History
///
/// The history of a topic is bounded by count, bytes and age. The history of all topics together
/// is bounded by [`memory`](super::HubBuilder::memory). The bounds are enforced when something is
/// published. The bounds on count and bytes never drop a topic's newest event. Those on age and
/// memory can.
///
/// A topic can [end](Self::finish). A client that comes back then gets the events that it has
/// missed, and the end of the stream.
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
/// A client that does not read delays no other client and queues no events. If events are dropped
/// before the client gets them, its [`Subscription`] lags. [`OnLag`](super::OnLag) sets what happens
/// then.
///
/// # Monitoring
///
/// [`topics`](Self::topics) returns the state of each topic. With the feature `metrics`, the hub
/// reports [metrics](crate::guide::hub#monitoring), with its [name](super::HubBuilder::name) as the label
/// `hub`. A panic of the recorder does not affect the hub.
#[derive(Clone)]
pub struct Hub(pub(super) Arc<Shared>);

impl Hub {
    /// Publishes an item to a topic and returns its position.
    ///
    /// It wakes the subscribers and does not wait for them. Without subscribers the item is stored
    /// in the history.
    ///
    /// If the item is several events, only the last one has the id. A client that is cut off between
    /// them gets all of them again. Ids that the item has itself are left out. If the item writes
    /// nothing, a block with only the id is published, which clients do not dispatch.
    /// [`DistributedHub::publish`](super::DistributedHub::publish) accepts neither kind of item.
    ///
    /// # Errors
    ///
    /// - [`PublishError::Encode`] if the item fails to encode.
    /// - [`PublishError::Finished`] after [`finish`](Self::finish).
    /// - [`PublishError::Closed`] after [`close`](Self::close).
    ///
    /// Nothing is published then.
    pub fn publish<T: Encode>(
        &self,
        topic: &str,
        item: T,
    ) -> Result<Position, PublishError<T::Error>> {
        self.publish_with(topic, item, &PublishOptions::new())
    }

    /// Publishes an item as [`publish`](Self::publish) does, with options.
    ///
    /// # Errors
    ///
    /// The same as for [`publish`](Self::publish).
    pub fn publish_with<T: Encode>(
        &self,
        topic: &str,
        item: T,
        options: &PublishOptions,
    ) -> Result<Position, PublishError<T::Error>> {
        let mut output = Output::with_capacity(INITIAL_CAPACITY);
        let events = encode_to(&mut output, item).map_err(PublishError::Encode)?;
        let item = Item::encoded(output.take_all(), events, options.keys());
        self.add(topic, Addition::Item(item))
    }

    /// Finishes a topic, and returns the position of its end. Later publishes to it fail. A topic that
    /// does not exist is created.
    ///
    /// A subscription ends when all its topics are finished and it has read their events. Its response
    /// ends with [`CloseReason::End`](crate::CloseReason::End). A client that resumes gets the events
    /// that it has missed, and then the end. A client without a last event ID gets the end at once,
    /// and an `EventSource` then connects again and again: let such a client begin
    /// [from the start](Subscription::from_start).
    ///
    /// The history is dropped after [`finished_for`](super::HubBuilder::finished_for). From then on,
    /// [`Subscription::is_over`] returns `true`, and a handler answers with
    /// [`Sse::stop`](crate::Sse::stop). The name can be used for a new topic, and ids from before cause
    /// a reset. A subscription to several topics that was open when the topic was finished gets no
    /// events of the new one.
    ///
    /// A finished topic counts as memory of the history until its name is used again. If the memory
    /// is used up, it is forgotten together with its history: the topic then does not exist.
    ///
    /// ```
    /// # use futures_util::{FutureExt as _, StreamExt as _};
    /// # use http_sse::{Event, Hub, hub::PublishError};
    /// let hub = Hub::new();
    /// let id = hub.publish("answer 7", Event::data("yes"))?;
    /// hub.finish("answer 7")?;
    /// assert!(matches!(hub.publish("answer 7", Event::data("no")), Err(PublishError::Finished)));
    ///
    /// let mut reloaded = hub.subscribe(["answer 7"]).from_start();
    /// let events = reloaded.next().now_or_never().unwrap();
    /// assert_eq!(events.unwrap(), &*format!("data: yes\nid: {id}\n\n"));
    /// assert!(reloaded.next().now_or_never().unwrap().is_none());
    /// # Ok::<(), PublishError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`PublishError::Finished`] if the topic is finished already, and
    /// [`PublishError::Closed`] after [`close`](Self::close).
    pub fn finish(&self, topic: &str) -> Result<Position, PublishError> {
        self.add(topic, Addition::Finish)
    }

    fn add<E>(&self, topic: &str, addition: Addition) -> Result<Position, PublishError<E>> {
        let is_item = matches!(addition, Addition::Item(_));
        self.0.end_finished();
        match self.0.add(topic, addition, None) {
            Added::New(at, bytes, waiting) => {
                let wakers = self.0.complete(at, waiting);
                self.0.enforce_limits(at);
                self.0.metrics.published(is_item.into(), bytes);
                self.0.metrics.holds(self.0.memory.bytes());
                wake_all(wakers);
                Ok(at)
            }
            Added::Before(at) => Ok(at),
            Added::Finished => Err(PublishError::Finished),
            Added::Closed => Err(PublishError::Closed),
        }
    }

    /// Subscribes to these topics, starting with the next event that is published.
    ///
    /// Duplicate topics count once. Without topics the subscription yields nothing, and ends when the
    /// hub is closed. On a closed hub it ends after the events that [`after`](Subscription::after)
    /// selects.
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

    /// Returns the position up to which everything is published. In a new hub it is the position
    /// before the first event.
    ///
    /// While other threads publish, it can be before the position that a publish of this thread has
    /// returned.
    #[must_use]
    pub fn head(&self) -> Position {
        self.0.order.complete()
    }

    /// Drops the history of a topic. A finished topic can then be published to again. Returns `false`
    /// if the topic had no history and was not finished.
    ///
    /// Subscriptions to the topic stay open. Those with unread events lag, as
    /// [`OnLag`](super::OnLag) describes.
    #[expect(
        clippy::must_use_candidate,
        reason = "callers may not care whether there was a history"
    )]
    pub fn remove(&self, topic: &str) -> bool {
        let removed = self.0.remove(topic);
        self.0.metrics.holds(self.0.memory.bytes());
        removed
    }

    /// Disconnects the present subscriptions from a topic, for example when a room is deleted. Returns
    /// their number, which is 0 for a topic that does not exist.
    ///
    /// They get no more events of the topic, not even those that they have not read. A subscription
    /// whose only topic this is ends at once, and its response with
    /// [`CloseReason::ByServer`](crate::CloseReason::ByServer). The history stays, and new
    /// subscriptions are possible. An `EventSource` comes back at once, so let the handler refuse it, or
    /// answer with [`Sse::stop`](crate::Sse::stop). To close the streams of one client, use
    /// [`Connections::close_key`](crate::Connections::close_key).
    #[expect(
        clippy::must_use_candidate,
        reason = "callers may not care whether there were subscriptions"
    )]
    pub fn disconnect(&self, topic: &str) -> usize {
        self.0.disconnect(topic)
    }

    /// Closes the hub. Each subscription ends after it has read the remaining events.
    ///
    /// Later publishes fail with [`PublishError::Closed`]. Closing twice has no effect.
    pub fn close(&self) {
        self.0.close();
    }

    /// Returns a stream that reports when a topic gets its first subscriber, and when it has been
    /// without one for `delay`. It begins with the topics that have subscribers now. A topic that
    /// never had a subscriber is not reported.
    ///
    /// Use it to run an upstream only while somebody listens. The delay keeps the upstream running
    /// while clients reconnect. The call visits every topic.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use futures_util::StreamExt as _;
    /// # use http_sse::{Hub, hub::DemandChange};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let hub = Hub::new();
    /// let mut demand = hub.demand(Duration::from_secs(5));
    /// let prices = hub.subscribe(["prices"]);
    /// assert_eq!(demand.next().await, Some(DemandChange::Wanted("prices".into())));
    /// drop(prices);
    /// assert_eq!(demand.next().await, Some(DemandChange::Unwanted("prices".into()))); // after 5 s
    /// # }
    /// ```
    pub fn demand(&self, delay: Duration) -> Demand {
        Demand::new(self.0.clone(), delay)
    }

    /// Returns the state of a topic, or `None` if the hub has none of this name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicInfo> {
        let topic = self.0.topics.get(name)?;
        self.info(&topic)
    }

    /// Returns the state of every topic, in no particular order.
    ///
    /// Each topic is visited under its own lock, one after the other. Topics that are created or
    /// removed meanwhile may be missing.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.topics_where(|_| true)
    }

    /// Returns the state of every topic for which `wanted` returns `true`, in no particular order.
    ///
    /// `wanted` is called without a lock, so it may use the hub.
    #[must_use]
    pub fn topics_where(&self, mut wanted: impl FnMut(&TopicInfo) -> bool) -> Vec<TopicInfo> {
        let topics = self.0.topics.iter().filter_map(|topic| self.info(&topic));
        topics.filter(|info| wanted(info)).collect()
    }

    fn info(&self, topic: &Topic) -> Option<TopicInfo> {
        let state = self.0.lock(topic);
        let losses = state.counts.losses();
        (!state.is_removed).then(|| TopicInfo {
            name: topic.name.clone(),
            subscribers: state.seats.len(),
            events: state.history.len(),
            bytes: state.history.bytes(),
            published: state.counts.published,
            resets: losses.resets,
            lagged: losses.lagged,
            skipped: losses.skipped,
            is_finished: state.finish.is_some(),
        })
    }

    /// Returns the memory of the hub in bytes: histories, topics, and the seats of subscriptions.
    /// It is within 10 % of the heap that they use.
    ///
    /// It does not include the hub itself, which is about 1 kB, nor the subscriptions, which their
    /// responses hold. Each publish drops events until the part that
    /// [`HubBuilder::memory`](super::HubBuilder::memory) describes is within its bound. The command
    /// `cargo test --test costs hub` compares it with the allocator's count.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.memory.bytes()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.order.is_closed()
    }

    /// Returns whether nothing can be published to a topic.
    pub(super) fn is_finished(&self, topic: &str) -> bool {
        self.0.end_finished();
        let topic = self.0.topics.get(topic);
        topic.is_some_and(|topic| {
            let state = self.0.lock(&topic);
            state.finish.as_ref().is_some_and(|finish| !finish.is_over)
        })
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
