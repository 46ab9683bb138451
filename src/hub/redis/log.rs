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
/// Each hub opens one, and gives it to
/// [`HubBuilder::distributed`](crate::hub::HubBuilder::distributed). Two hubs in a process need a log
/// each. Cloning is cheap: clones share the connections. The page
/// [scaling out](crate::guide::scaling_out) has an example, the sizing, and the settings of Redis.
///
/// # Lost entries
///
/// Each entry holds the random tag of the entry before it. Reads and tails check this chain. They return
/// [`Page::Gap`] if an entry was trimmed, deleted, or lost at a failover. A tail notices within about
/// 2 s that the log has vanished or gone back, also if nothing is appended. Nothing else may add to the
/// stream: a foreign entry is a gap too.
///
/// The position of an entry is its id in the stream, which begins with the clock of Redis. If that clock
/// goes back, as at a failover, an append continues after the last position that its `RedisLog` has
/// seen. Keep the clocks of master and replica synchronised, since another one may have seen less.
///
/// # Connections and commands
///
/// It has one connection for appends, one for reads, and one for each tail. Each is opened when it is
/// needed, and opened again after a failure.
///
/// - An append is one round trip.
/// - A page is one round trip. The first one has 50 entries, and later ones up to 500. Each is at most
///   twice as long as the one before, and aims at 4 MiB by the average size of the entries before.
///   After a read that failed, pages are shorter.
/// - A tail makes one round trip per batch of entries, and one per second without entries.
///
/// The user of the connections needs the keys of the log ([`prefix`](super::RedisLogBuilder::prefix)) and
/// the commands `EVAL`, `EVALSHA`, `GET`, `SET`, `TYPE`, `XADD`, `XDEL`, `XRANGE`, `XREAD`,
/// `XREVRANGE` and `XTRIM`. It needs `INFO` for the [`warnings`](Self::warnings), and `SELECT` if the
/// database is not 0.
///
/// A Redis Cluster works if the URL is that of the node that has the key `{prefix}:log`. The log does not
/// follow the key to another node.
///
/// # Errors
///
/// The [`EventLogError`](crate::hub::EventLogError) of each method is a boxed
/// [`RedisLogError`](super::RedisLogError). An [append](EventLog::append) fails with
///
/// - [`AppendError::NotWritten`] if there is no connection, or if Redis is loading its data, is not the
///   master, or cannot write to its disk
/// - [`AppendError::Unknown`] if the connection fails, Redis does not answer in time, or a command fails
///   after the entry was written
/// - [`AppendError::Rejected`] if Redis has reached its `maxmemory`, the key holds something other than
///   a log, or a command is not permitted
///
/// An idempotency key is remembered for the
/// [`idempotency_window`](super::RedisLogBuilder::idempotency_window), also if the entry is trimmed
/// meanwhile.
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

    /// Returns the settings of Redis that endanger the log, as they were at the start.
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
