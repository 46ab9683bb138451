//! A hub that shares its events with other servers through a log.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::sleep};

use super::{
    builder::HubBuilder,
    hub::Hub,
    info::TopicInfo,
    log::{EventLog, EventLogError, PAGE, Page},
    position::Position,
    publish_error::PublishError,
    shared::Backing,
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
///   ([`ResetReason`](crate::hub::ResetReason)). So does a client whose replay would read more
///   than 10,000 entries, of all topics together.
/// - If the log cannot be read, the subscription ends. An `EventSource` then reconnects.
/// - At most 4 clients read from the log at a time. The others wait.
#[derive(Clone)]
pub struct DistributedHub {
    hub: Hub,
    log: Arc<dyn EventLog>,
}

/// The time for which one call waits for an entry. It bounds how late a close is noticed.
const WAIT: Duration = Duration::from_secs(1);

/// The first and the longest pause after a failed read.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl HubBuilder {
    /// Creates a hub that shares its events through `log`, and loads the entries of the log into
    /// its history.
    ///
    /// # Errors
    ///
    /// Returns the log's own error if the log cannot be read.
    pub async fn distributed(
        self,
        log: Arc<dyn EventLog>,
    ) -> Result<DistributedHub, EventLogError> {
        const READERS: usize = 4;
        let backing = Backing {
            log: log.clone(),
            readers: Semaphore::new(READERS),
        };
        let hub = DistributedHub::new(self.starting_at(Position::default(), Some(backing)), log);
        hub.load().await?;
        Ok(hub)
    }
}

impl DistributedHub {
    pub(super) fn new(hub: Hub, log: Arc<dyn EventLog>) -> Self {
        Self { hub, log }
    }

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
    /// - [`PublishError::Closed`] after [`close`](Self::close).
    pub async fn publish<T: Encode>(
        &self,
        topic: &str,
        item: T,
    ) -> Result<Position, PublishError<T::Error>> {
        self.append(topic, item, None).await
    }

    /// Publishes an item as [`publish`](Self::publish) does, unless the log already has an event
    /// with the same key. Returns the position of that event then.
    ///
    /// Use it to retry if the outcome is [unknown](crate::hub::AppendError::Unknown).
    ///
    /// # Errors
    ///
    /// The same as for [`publish`](Self::publish).
    pub async fn publish_once<T: Encode>(
        &self,
        topic: &str,
        item: T,
        idempotency_key: &str,
    ) -> Result<Position, PublishError<T::Error>> {
        self.append(topic, item, Some(idempotency_key)).await
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

    /// Returns the state of every topic on this server, in no particular order.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.hub.topics()
    }

    /// Reads the log and delivers its entries to the subscribers of this server, until the hub is
    /// closed. Run it in one task.
    ///
    /// It returns at most 1 s after [`close`](Self::close), unless the log itself takes longer. If
    /// the future is dropped, delivery stops. A new call continues where it stopped.
    ///
    /// If the log cannot be read, the subscriptions stay open. The read is repeated after 50 ms,
    /// and then after pauses that double up to 1 s. If the log has lost entries, every subscription
    /// lags, as [`OnLag`](crate::hub::OnLag) describes.
    ///
    /// # Panics
    ///
    /// Panics after a failed read if it runs outside a tokio runtime with time enabled.
    pub async fn follow(&self) {
        let mut at_end = false;
        let mut back_off = BACK_OFF.0;
        while !self.hub.is_closed() {
            let followed = if at_end {
                self.wait().await
            } else {
                self.read().await
            };
            match followed {
                Ok(is_at_end) => {
                    at_end = is_at_end;
                    back_off = BACK_OFF.0;
                }
                Err(_) => {
                    at_end = false;
                    sleep(back_off).await;
                    back_off = (2 * back_off).min(BACK_OFF.1);
                }
            }
        }
    }

    /// Loads the entries of the log, so that clients can resume after a restart of the server.
    pub(super) async fn load(&self) -> Result<(), EventLogError> {
        let head = self.log.head().await?;
        let start = Position::default();
        let first = self.log.wait(start, 1, Duration::ZERO).await?;
        if let [first] = &first[..] {
            self.hub.gap_to(first.at); // earlier entries are no longer available
        }
        while self.hub.head() < head {
            match self.log.read(self.hub.head(), None, PAGE).await? {
                Page::Entries(entries) if !entries.is_empty() => self.hub.deliver(&entries),
                Page::Entries(_) | Page::Gap => self.hub.gap_to(head),
            }
        }
        Ok(())
    }

    /// Waits for an entry. Returns whether the hub is still at the end of the log. The entry is not
    /// delivered, because entries before it may be missing.
    async fn wait(&self) -> Result<bool, EventLogError> {
        let entries = self.log.wait(self.hub.head(), 1, WAIT).await?;
        Ok(entries.is_empty())
    }

    /// Reads the next entries, with proof that none is missing. Returns whether the hub is now at
    /// the end of the log.
    async fn read(&self) -> Result<bool, EventLogError> {
        match self.log.read(self.hub.head(), None, PAGE).await? {
            Page::Entries(entries) => {
                self.hub.deliver(&entries);
                Ok(entries.len() < PAGE)
            }
            Page::Gap => {
                let head = self.log.head().await?;
                self.hub.gap_to(head);
                Ok(true)
            }
        }
    }

    async fn append<T: Encode>(
        &self,
        topic: &str,
        item: T,
        key: Option<&str>,
    ) -> Result<Position, PublishError<T::Error>> {
        if self.hub.is_closed() {
            return Err(PublishError::Closed);
        }
        let event = EncodedEvent::new(item)?;
        let at = self.log.append(topic, event, key).await;
        at.map_err(PublishError::Append)
    }
}

impl fmt::Debug for DistributedHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DistributedHub").field(&self.hub).finish()
    }
}
