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
