//! The reader of what is new in a log.

use std::{sync::Arc, time::Duration};

use redis::{Value, aio::MultiplexedConnection};

use super::{
    connection::{query, unexpected},
    entry::{Stored, of_read},
    error::RedisLogError,
    mark::Mark,
    store::{Store, mark_at, mark_of},
};
use crate::hub::{
    log::{LogFuture, Page, Tail},
    position::Position,
};

/// The time for which the server waits for an entry. Redis 7.0 answers up to 0.1 s later.
const BLOCK: Duration = Duration::from_millis(900);

/// The reader of a [`RedisLog`](super::RedisLog). It owns a connection.
///
/// One round trip waits for entries and returns the mark of the last entry of the log. Entries must
/// follow the last one that was read. If there are none, that one must be the last of the log.
pub(super) struct RedisTail {
    store: Arc<Store>,
    connection: MultiplexedConnection,
    /// The last entry that was read. `None` if it is not in the log.
    last: Option<Mark>,
    /// The number of the last entry of the log.
    newest: Option<u64>,
    /// True while the server may still wait for a call that was dropped.
    is_waiting: bool,
}

impl RedisTail {
    /// Opens a reader of what follows `after`.
    pub(super) async fn open(store: Arc<Store>, after: Position) -> Result<Self, RedisLogError> {
        let mut connection = store.server.connect(BLOCK).await?;
        let last = match store.remembered(after) {
            Some(last) => Some(last),
            None => {
                let range = store.keys.range(&after.to_string(), 1);
                let commands = store.keys.with_ends(range);
                let replies = query(&mut connection, commands, &store.keys.stream).await?;
                let [entries, newest, start] = replies;
                let entries = Stored::from_reply(entries).ok_or_else(unexpected)?;
                let entry = entries.first().filter(|entry| entry.at == after);
                let mark = entry.and_then(Stored::mark);
                mark.or_else(|| mark_at(after, newest))
                    .or_else(|| mark_at(after, start))
            }
        };
        Ok(Self {
            store,
            connection,
            last,
            newest: None,
            is_waiting: false,
        })
    }

    async fn read(&mut self, max: usize) -> Result<Page, RedisLogError> {
        let Some(last) = self.last else {
            return Ok(self.gap());
        };
        let (mut entries, mut newest) = self.wait(last, max, Some(BLOCK)).await?;
        if entries.is_empty() && newest != Some(last) {
            // An entry may have been appended between the two commands.
            (entries, newest) = self.wait(last, max, None).await?;
            if entries.is_empty() && newest != Some(last) {
                return Ok(self.gap());
            }
        }
        let Some((entries, last)) = self.store.prove(last, entries) else {
            return Ok(self.gap());
        };
        self.last = Some(last);
        self.newest = newest.map(|newest| newest.number);
        self.store.remember(Some(last));
        Ok(Page::Entries(entries))
    }

    /// Waits for entries after `last`. Returns them, and the last one of the log.
    async fn wait(
        &mut self,
        last: Mark,
        max: usize,
        block: Option<Duration>,
    ) -> Result<(Vec<Stored>, Option<Mark>), RedisLogError> {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(self.store.page_size(max));
        if let Some(block) = block {
            read.arg("BLOCK").arg(block.as_millis() as u64);
        }
        read.arg("STREAMS").arg(&self.store.keys.stream);
        read.arg(last.at.to_string());
        let keys = &self.store.keys;
        let commands = [read, keys.newest(), keys.stream_type()];
        if std::mem::replace(&mut self.is_waiting, true) {
            // The commands would wait behind those of a call that was dropped.
            self.connection = self.store.server.connect(BLOCK).await?;
        }
        let replies = query(&mut self.connection, commands, &keys.stream).await;
        self.is_waiting = false;
        let replies = replies.inspect_err(|error| self.store.failed(error))?;
        let [entries, newest, exists] = replies;
        let entries = of_read(entries).ok_or_else(unexpected)?;
        let exists = exists == Value::SimpleString("stream".to_owned());
        Ok((entries, mark_of(newest).filter(|_| exists)))
    }

    fn gap(&mut self) -> Page {
        self.last = None;
        self.store.remember(None);
        Page::Gap
    }
}

impl Tail for RedisTail {
    fn next(&mut self, max: usize) -> LogFuture<'_, Page> {
        Box::pin(async move { Ok(self.read(max).await?) })
    }

    fn behind(&self) -> Option<u64> {
        Some(self.newest?.saturating_sub(self.last?.number))
    }
}
