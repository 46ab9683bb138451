//! A hub whose events are kept in a log, which it may share with other servers.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::sleep;

use tokio::sync::Semaphore;

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

/// A [`Hub`] on one of several servers that publish to one [`EventLog`]; made by
/// [`HubBuilder::distributed`].
///
/// The history of the hub is what this server has read of the log: [`follow`](Self::follow) is
/// the one reader, to be run in a task by whoever made the hub. What a client missed beyond it is
/// read from the log. An event that is published here comes by the log too, so that all servers
/// have one order.
///
/// A client may come from a server that is ahead of this one: it is served from its own id on. One
/// whose id is not in the log, or not any more, gets a [`ResetReason`](crate::hub::ResetReason), as does one that
/// would be sent more than 10,000 entries. If the log cannot be read when a client resumes, its
/// subscription ends, and the client comes back.
#[derive(Clone)]
pub struct DistributedHub {
    hub: Hub,
    log: Arc<dyn EventLog>,
}

/// How long the reader waits for an entry.
const WAIT: Duration = Duration::from_secs(1);

/// How long the reader waits when the log cannot be read, at first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl HubBuilder {
    /// A hub that keeps its events in `log`, with what the log has loaded into its history.
    ///
    /// # Errors
    ///
    /// What the log says if it cannot be read.
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

    /// Publishes an item to a topic of all servers, and tells its position.
    ///
    /// # Errors
    ///
    /// [`PublishError::Append`] says whether the event is in the log.
    pub async fn publish<T: Encode>(
        &self,
        topic: &str,
        item: T,
    ) -> Result<Position, PublishError<T::Error>> {
        self.append(topic, item, None).await
    }

    /// The same, with a key by which the log knows that it has the event, so that it can be
    /// published again when the outcome is [unknown](crate::hub::AppendError::Unknown).
    ///
    /// # Errors
    ///
    /// [`PublishError::Append`] says whether the event is in the log.
    pub async fn publish_once<T: Encode>(
        &self,
        topic: &str,
        item: T,
        idempotency_key: &str,
    ) -> Result<Position, PublishError<T::Error>> {
        self.append(topic, item, Some(idempotency_key)).await
    }

    /// Subscribes to these topics, from where this server is on; as [`Hub::subscribe`] does.
    pub fn subscribe<T: AsRef<str>>(&self, topics: impl IntoIterator<Item = T>) -> Subscription {
        self.hub.subscribe(topics)
    }

    /// The position up to which this server has read.
    #[must_use]
    pub fn head(&self) -> Position {
        self.hub.head()
    }

    /// Ends the subscriptions of this server, and [`follow`](Self::follow).
    pub fn close(&self) {
        self.hub.close();
    }

    /// What is known here of every topic, in no order.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.hub.topics()
    }

    /// Reads the log and brings its entries to the subscribers of this server, until the hub is
    /// closed or up to a second longer. Run it once, in a task.
    ///
    /// While the log cannot be read the subscribers stay, and it is tried again after 50 ms and at
    /// most every second. Where entries are lost, as when an engine comes back with less than it
    /// had, every subscriber is reset.
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

    /// Loads what the log has, so that clients who come back after a restart are served.
    pub(super) async fn load(&self) -> Result<(), EventLogError> {
        let head = self.log.head().await?;
        let start = Position::default();
        let first = self.log.wait(start, 1, Duration::ZERO).await?;
        if let [first] = &first[..] {
            self.hub.gap_to(first.at); // what came before is not known
        }
        while self.hub.head() < head {
            match self.log.read(self.hub.head(), None, PAGE).await? {
                Page::Entries(entries) if !entries.is_empty() => self.hub.deliver(&entries),
                Page::Entries(_) | Page::Gap => self.hub.gap_to(head),
            }
        }
        Ok(())
    }

    /// Waits for an entry, which proves nothing: those before it may be gone. Tells whether the
    /// end is still where it was.
    async fn wait(&self) -> Result<bool, EventLogError> {
        let entries = self.log.wait(self.hub.head(), 1, WAIT).await?;
        Ok(entries.is_empty())
    }

    /// Reads on, with proof that nothing is missing; tells whether it came to the end.
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
