//! A hub that shares its events with other servers through a log.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    backing::{Backing, CALL},
    builder::HubBuilder,
    demand::Demand,
    hub::Hub,
    info::TopicInfo,
    log::{AppendError, EventLog, EventLogError, Record},
    log_status::LogStatus,
    position::Position,
    publish_error::PublishError,
    publish_options::PublishOptions,
    subscription::Subscription,
};
use crate::wire::{Encode, EncodedEvent};

/// A [`Hub`] that shares its events with other servers through an [`EventLog`], created by
/// [`HubBuilder::distributed`].
///
/// Every event reaches the subscribers through the log, also on the server that published it. All
/// servers therefore have the same order. Run [`follow`](Self::follow) in one task per hub:
/// without it, nothing is delivered.
///
/// The history holds the entries that this server has read. A client that missed more is served
/// from the log:
///
/// - A client may come from a server that has read further than this one. Its subscription starts
///   after the client's id.
/// - If the log does not have the id, or no longer has it, the client gets a reset
///   ([`ResetReason`](crate::hub::ResetReason)). So does a client that missed more than 10,000 events
///   or 4 MiB, or more than 200,000 entries of all topics.
/// - If the log cannot be read for 30 s, the subscription of a client that needs it ends. An
///   `EventSource` then reconnects.
/// - At most 4 reads run at a time, of up to 500 entries each. Clients that resume at the same time
///   share them. Those with different ids share all but the first, within the last 65,536 entries of
///   the log.
///
/// A call of the log that takes longer than 5 s fails.
#[derive(Clone)]
pub struct DistributedHub {
    hub: Hub,
    log: Arc<dyn EventLog>,
}

impl HubBuilder {
    /// Creates a hub that shares its events through `log`, and loads the entries of the log into
    /// its history.
    ///
    /// # Errors
    ///
    /// Returns the log's own error if the log cannot be read, or an error if a call takes longer
    /// than 5 s.
    pub async fn distributed(
        self,
        log: Arc<dyn EventLog>,
    ) -> Result<DistributedHub, EventLogError> {
        let backing = Backing::new(log.clone());
        let hub = self.starting_at(Position::default(), Some(backing));
        hub.0.load(None).await?;
        // So that a log that `follow` never reads is not missing from the metrics.
        hub.0.metrics.follows(false, None);
        Ok(DistributedHub { hub, log })
    }
}

impl DistributedHub {
    /// Publishes an item to a topic on all servers and returns its position.
    ///
    /// It waits until the log has stored the event, and not until subscribers get it. If the future
    /// is dropped, the event may or may not be published.
    ///
    /// # Errors
    ///
    /// - [`PublishError::Encode`] if the item fails to encode.
    /// - [`PublishError::NotOneEvent`] if the item writes nothing or several events, because an
    ///   entry of the log is one event. [`Hub::publish`] accepts such an item.
    /// - [`PublishError::Append`] if the log fails. It says whether the event is in the log.
    /// - [`PublishError::Finished`] if this server knows that the topic is finished. If it does not
    ///   know yet, the event begins the topic anew.
    /// - [`PublishError::Closed`] after [`close`](Self::close).
    pub async fn publish<T: Encode>(
        &self,
        topic: &str,
        item: T,
    ) -> Result<Position, PublishError<T::Error>> {
        self.publish_with(topic, item, &PublishOptions::new()).await
    }

    /// Publishes an item as [`publish`](Self::publish) does, with options.
    ///
    /// Use an [idempotency key](PublishOptions::idempotency_key) to retry if the outcome is
    /// [unknown](crate::hub::AppendError::Unknown).
    ///
    /// # Errors
    ///
    /// The same as for [`publish`](Self::publish).
    pub async fn publish_with<T: Encode>(
        &self,
        topic: &str,
        item: T,
        options: &PublishOptions,
    ) -> Result<Position, PublishError<T::Error>> {
        if self.hub.is_closed() {
            return Err(PublishError::Closed);
        }
        let event = EncodedEvent::new(item)?;
        let keys = options.keys();
        let coalesce = keys.as_deref().and_then(|keys| keys.coalesce.clone());
        let key = keys.as_deref().and_then(|keys| keys.idempotency.clone());
        self.append(topic, Record::Event { event, coalesce }, key.as_deref())
            .await
    }

    /// Finishes a topic on all servers, as [`Hub::finish`] does, and returns the position of its
    /// end.
    ///
    /// # Errors
    ///
    /// The same as for [`publish`](Self::publish), except for those of the item.
    pub async fn finish(&self, topic: &str) -> Result<Position, PublishError> {
        self.append(topic, Record::Finish, None).await
    }

    /// Drops the history of a topic on all servers, as [`Hub::remove`] does. Returns the position of
    /// the removal.
    ///
    /// # Errors
    ///
    /// Returns [`PublishError::Append`] if the log fails, and [`PublishError::Closed`] after
    /// [`close`](Self::close).
    pub async fn remove(&self, topic: &str) -> Result<Position, PublishError> {
        self.append(topic, Record::Remove, None).await
    }

    /// Subscribes to these topics as [`Hub::subscribe`] does, starting after
    /// [`head`](Self::head).
    pub fn subscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Subscription {
        self.hub.subscribe(topics)
    }

    /// Returns the position up to which this server has read the log.
    #[must_use]
    pub fn head(&self) -> Position {
        self.hub.head()
    }

    /// Closes the hub on this server. Each subscription ends after it has read the remaining
    /// events, and [`follow`](Self::follow) returns.
    ///
    /// Later publishes on this server fail with [`PublishError::Closed`]. The log and other servers
    /// are not affected.
    pub fn close(&self) {
        self.hub.close();
    }

    /// Closes the present subscriptions to a topic on this server, as [`Hub::disconnect`] does.
    /// Returns their number.
    #[expect(
        clippy::must_use_candidate,
        reason = "callers may not care whether there were subscriptions"
    )]
    pub fn disconnect(&self, topic: &str) -> usize {
        self.hub.disconnect(topic)
    }

    /// Returns the state of a topic on this server, or `None` if it has none.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.hub.topic(name)
    }

    /// Returns the state of every topic on this server, in no particular order.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.hub.topics()
    }

    /// Returns the state of every topic on this server for which `wanted` returns `true`, in no
    /// particular order.
    #[must_use]
    pub fn topics_where(&self, wanted: impl FnMut(&TopicInfo) -> bool) -> Vec<TopicInfo> {
        self.hub.topics_where(wanted)
    }

    /// Returns the memory of the hub on this server, in bytes, as [`Hub::memory`] does.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.hub.memory()
    }

    /// Returns the state of the connection between this server and the log, for monitoring.
    ///
    /// It does not call the log. Before [`follow`](Self::follow) has read the log for the first time,
    /// the hub is not connected and all counts of the log are 0 or unknown. After the hub was closed
    /// and `follow` has returned, the hub is not connected either. The counts remain.
    #[must_use]
    pub fn status(&self) -> LogStatus {
        let backing = self.hub.0.backing.as_ref();
        let status = backing.map(|backing| backing.contact.status());
        LogStatus {
            // The first one was loaded when the hub was created.
            losses: self.hub.0.generation() - 1,
            ..status.unwrap_or_default()
        }
    }

    /// Returns a stream that reports which topics have subscribers on this server, as
    /// [`Hub::demand`] does.
    pub fn demand(&self, delay: Duration) -> Demand {
        self.hub.demand(delay)
    }

    /// Reads the log and delivers its entries to the subscribers of this server, until the hub is
    /// closed. Run it in one task. A second call waits for the first one to end.
    ///
    /// It returns as soon as the hub is [closed](Self::close). If the future is dropped, delivery
    /// stops. A new call continues where it stopped.
    ///
    /// If the log cannot be read, the subscriptions stay open. The read is repeated after 50 ms,
    /// and then after pauses that double up to 1 s. If the log has lost entries, every subscription
    /// lags, as [`OnLag`](crate::hub::OnLag) describes, and the history is loaded again.
    ///
    /// # Panics
    ///
    /// Panics if it runs outside a tokio runtime with time enabled.
    pub async fn follow(&self) {
        self.hub.0.follow().await;
    }

    async fn append<E>(
        &self,
        topic: &str,
        record: Record,
        key: Option<&str>,
    ) -> Result<Position, PublishError<E>> {
        if self.hub.is_closed() {
            return Err(PublishError::Closed);
        }
        if record != Record::Remove && self.hub.is_finished(topic) {
            return Err(PublishError::Finished);
        }
        let appended = timeout(CALL, self.log.append(topic, record, key)).await;
        let appended = appended.unwrap_or_else(|_| {
            Err(AppendError::Unknown(
                "the log did not answer in time".into(),
            ))
        });
        appended.map_err(PublishError::Append)
    }
}

impl fmt::Debug for DistributedHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DistributedHub").field(&self.hub).finish()
    }
}
