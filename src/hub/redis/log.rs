//! A log in a stream of Redis or Valkey.

use std::{fmt, sync::Arc};

use super::{
    error::{CommandError, RedisLogError},
    store::Store,
    tail::RedisTail,
    warning::RedisWarning,
};
use crate::hub::{
    log::{AppendError, Entry, EventLog, LogFuture, Page, Record, Tail},
    position::Position,
};

/// An [`EventLog`] in a stream of Redis 6.2 or later, or of Valkey 7.2 or later.
///
/// Each hub opens one, and gives it to [`HubBuilder::distributed`](crate::hub::HubBuilder::distributed).
/// The page [scaling out](crate::guide::scaling_out) has an example, the sizing, and the settings of
/// the server. Cloning is cheap: clones share the connections. Two hubs in a
/// process need a log each.
///
/// # Proof
///
/// Each entry names the one before it by a random tag. A tail and a read check that, so that an entry
/// that was trimmed, deleted, or lost at a failover is a [`Page::Gap`]. Nothing else may add to the
/// stream: a foreign entry is a gap too. A tail
/// notices within about 2 s that the log has vanished or gone back, also if nothing is appended.
///
/// The position of an entry is its id in the stream, which begins with the clock of Redis. If the clock
/// goes back, as at a failover, an append continues after the last position that its server has seen.
/// Keep the clocks synchronised, so that a server that has seen less does not give an id twice.
///
/// # Connections and commands
///
/// It has one connection for appends, one for reads, and one for each tail. Each is opened when it is
/// needed, and opened again after a failure. An append is one round trip, and so is a page of up to 500
/// entries. The first page has 50. Each is at most twice as
/// long as the one before, and aims at 4 MiB by the average size of the entries before. The tail makes one round trip
/// per batch of entries, and one per second without entries.
///
/// The user of the connections needs the keys of the log ([`prefix`](super::RedisLogBuilder::prefix)) and
/// the commands `EVAL`, `EVALSHA`, `GET`, `SET`, `TYPE`, `XADD`, `XDEL`, `XRANGE`, `XREAD`,
/// `XREVRANGE`, `XTRIM`, for the [`warnings`](Self::warnings) `INFO`, and `SELECT` if the database is
/// not 0.
///
/// # Errors
///
/// The [`EventLogError`](crate::hub::EventLogError) of each method is a boxed
/// [`RedisLogError`](super::RedisLogError). An [append](EventLog::append) fails with
///
/// - [`AppendError::NotWritten`] if there is no connection, or if the server is loading its data, is not
///   the master, or cannot write to its disk
/// - [`AppendError::Unknown`] if the connection fails, the server does not answer in time, or a command
///   fails after the entry was written
/// - [`AppendError::Rejected`] if the server has reached its `maxmemory`, the key holds something other than a log,
///   or a command is not permitted
///
/// An idempotency key is remembered for the
/// [`idempotency_window`](super::RedisLogBuilder::idempotency_window), also if the entry is trimmed
/// meanwhile.
///
/// A Redis Cluster works if the URL is that of the node that has the key `{prefix}:log`. The log does not
/// follow the key to another node.
#[derive(Clone)]
pub struct RedisLog {
    store: Arc<Store>,
    warnings: Arc<[RedisWarning]>,
}

impl RedisLog {
    pub(super) fn new(store: Store, warnings: Vec<RedisWarning>) -> Self {
        Self {
            store: Arc::new(store),
            warnings: warnings.into(),
        }
    }

    /// Connects to the server at a URL with the default settings of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// The same as for [`RedisLogBuilder::connect`](super::RedisLogBuilder::connect).
    pub async fn connect(url: &str) -> Result<Self, RedisLogError> {
        Self::builder(url).connect().await
    }

    /// Returns the settings of the server that endanger the log, as they were at the start.
    #[must_use]
    pub fn warnings(&self) -> &[RedisWarning] {
        &self.warnings
    }
}

impl EventLog for RedisLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError> {
        Box::pin(async move {
            let appended = self.store.append(topic, &record, idempotency_key).await;
            appended.map_err(CommandError::into_append_error)
        })
    }

    fn head(&self) -> LogFuture<'_, Position> {
        Box::pin(async { Ok(self.store.head().await?) })
    }

    fn first(&self) -> LogFuture<'_, Option<Entry>> {
        Box::pin(async { Ok(self.store.first().await?) })
    }

    fn read(&self, after: Position, max: usize) -> LogFuture<'_, Page> {
        Box::pin(async move { Ok(self.store.read(after, max).await?) })
    }

    fn tail(&self, after: Position) -> LogFuture<'_, Box<dyn Tail>> {
        Box::pin(async move {
            let tail: Box<dyn Tail> = Box::new(RedisTail::open(self.store.clone(), after).await?);
            Ok(tail)
        })
    }
}

impl fmt::Debug for RedisLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLog")
            .field("key", &self.store.keys.stream)
            .finish_non_exhaustive()
    }
}
