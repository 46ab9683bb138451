//! The commands of a log, and what they return.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use redis::Value;

use super::{
    connection::{SharedConnection, unexpected},
    entry::{Stored, fields},
    error::{CommandError, RedisLogError},
    keys::Keys,
    mark::{Mark, Tags},
    script::Script,
    server::Server,
};
use crate::hub::{
    log::{Entry, PAGE, Page, Record},
    position::Position,
    sync::{AtomicUsize, Mutex, lock},
};

/// The stream on the server.
pub(super) struct Store {
    pub(super) server: Server,
    pub(super) keys: Keys,
    limits: LogLimits,
    append: Script,
    head: Script,
    tags: Tags,
    /// Reads have a connection of their own, so that no append waits behind a large page.
    writer: SharedConnection,
    reader: SharedConnection,
    seen: Mutex<Seen>,
    /// The number of entries in one read.
    page: AtomicUsize,
    /// The longest page that is tried. It shrinks with each read that fails, and grows slowly again.
    longest_page: AtomicUsize,
}

/// The entries that were read or appended.
#[derive(Default)]
struct Seen {
    /// The last entry that a tail has read. A failover may put another entry in its place.
    last_read: Option<Mark>,
    /// The latest position of all.
    latest: Position,
}

/// The bounds of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLimits {
    pub(super) entries: usize,
    pub(super) age: Option<Duration>,
    pub(super) idempotency: Duration,
}

impl Store {
    pub(super) fn new(server: Server, keys: Keys, limits: LogLimits) -> Self {
        Self {
            keys,
            limits,
            append: Script::append(),
            head: Script::head(),
            tags: Tags::new(),
            writer: SharedConnection::new(server.clone()),
            reader: SharedConnection::new(server.clone()),
            server,
            seen: Mutex::default(),
            page: AtomicUsize::new(FIRST_PAGE),
            longest_page: AtomicUsize::new(PAGE),
        }
    }

    /// Returns the connection for reads.
    pub(super) fn reader(&self) -> &SharedConnection {
        &self.reader
    }

    /// Returns the position of the last entry. Begins a log if there is none.
    pub(super) async fn head(&self) -> Result<Position, RedisLogError> {
        let keys = self.keys.of_log();
        let common = self.common_args();
        let args = common.each_ref().map(String::as_bytes);
        let last = self.reader.script(&self.head, &keys, &args).await?;
        let last: Mark = last.parse().map_err(|_| unexpected())?;
        self.see(last.at);
        Ok(last.at)
    }

    pub(super) async fn append(
        &self,
        topic: &str,
        record: &Record,
        idempotency_key: Option<&str>,
    ) -> Result<Position, CommandError> {
        let idempotency_key = idempotency_key.map(|key| self.keys.idempotency(topic, key));
        let mut keys = self.keys.of_log().to_vec();
        keys.extend(idempotency_key.as_deref());
        let common = self.common_args();
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let age = self.limits.age.map_or(0, |age| millis(age).max(1));
        let own = [
            self.tags.next(),
            (self.limits.entries as u64)
                .clamp(1, MAX_NUMBER)
                .to_string(),
            age.min(MAX_NUMBER).to_string(),
            millis(self.limits.idempotency)
                .clamp(1, MAX_NUMBER)
                .to_string(),
        ];
        let [kind, data, coalesce] = fields(record);
        let mut args: Vec<&[u8]> = common.iter().chain(&own).map(String::as_bytes).collect();
        args.extend([topic.as_bytes(), kind, data, coalesce]);
        let at = self.writer.script(&self.append, &keys, &args).await?;
        let at = at
            .parse()
            .map_err(|_| CommandError::Unknown(unexpected()))?;
        self.see(at);
        Ok(at)
    }

    /// Returns the arguments that every script has.
    fn common_args(&self) -> [String; 3] {
        let latest = lock(&self.seen).latest;
        let [ms, seq] = [latest.hi(), latest.lo()].map(|number| number.min(MAX_NUMBER).to_string());
        [self.tags.next(), ms, seq]
    }

    pub(super) async fn first(&self) -> Result<Option<Entry>, RedisLogError> {
        let [first] = self
            .reader
            .query([self.keys.range("-", 1)], &self.keys.stream)
            .await?;
        let first = Stored::from_reply(first).ok_or_else(unexpected)?.pop();
        // An entry that cannot be read is the same as none: the log cannot be proven from there.
        Ok(first
            .filter(|first| first.mark().is_some())
            .and_then(Stored::entry))
    }

    pub(super) async fn read(&self, after: Position, max: usize) -> Result<Page, RedisLogError> {
        let max = self.page_size(max);
        let range = self.keys.range(&after.to_string(), max + 1);
        let commands = self.keys.with_ends(range);
        let replies = self.reader.query(commands, &self.keys.stream).await;
        let [entries, newest, start] = replies.inspect_err(|error| self.failed(error))?;
        let mut entries = Stored::from_reply(entries).ok_or_else(unexpected)?;
        let last = match entries.first() {
            Some(first) if first.at == after => entries.remove(0).mark(),
            Some(_) => mark_at(after, start),
            // The log was trimmed to nothing, or just began.
            None => mark_at(after, newest),
        };
        entries.truncate(max);
        let proven = last.and_then(|last| self.prove(last, entries));
        Ok(proven.map_or(Page::Gap, |(entries, _)| Page::Entries(entries)))
    }

    /// Returns the entries and the mark of the last one, if they follow `last` without a gap.
    ///
    /// The size of later pages follows that of these entries.
    pub(super) fn prove(&self, mut last: Mark, stored: Vec<Stored>) -> Option<(Vec<Entry>, Mark)> {
        self.adapt_page(&stored);
        if let Some(newest) = stored.last() {
            self.see(newest.at);
        }
        let mut entries = Vec::with_capacity(stored.len());
        for stored in stored {
            let entry;
            (entry, last) = stored.after(last)?;
            entries.push(entry);
        }
        Some((entries, last))
    }

    /// Returns the number of entries to read at once.
    pub(super) fn page_size(&self, max: usize) -> usize {
        self.page.load(SeqCst).min(max).max(1)
    }

    /// Makes pages of large entries shorter.
    fn adapt_page(&self, entries: &[Stored]) {
        let bytes: usize = entries.iter().map(Stored::len).sum();
        if let Some(average) = bytes.checked_div(entries.len()) {
            let longest = PAGE.min(1 + self.longest_page.load(SeqCst));
            self.longest_page.store(longest, SeqCst);
            let fits = (MAX_PAGE_BYTES / average.max(1)).min(2 * self.page.load(SeqCst));
            self.page.store(fits.clamp(1, longest), SeqCst);
        }
    }

    /// Makes pages shorter after one that did not arrive in time, because it may have been too large.
    pub(super) fn failed(&self, error: &CommandError) {
        if matches!(error, CommandError::Unknown(_)) {
            let page = self.page.load(SeqCst);
            self.page.store((page / 4).max(1), SeqCst);
            self.longest_page.store((page / 2).max(1), SeqCst);
        }
    }

    /// Returns the mark of the entry at `at`, if a tail has read it last.
    pub(super) fn remembered(&self, at: Position) -> Option<Mark> {
        lock(&self.seen).last_read.filter(|last| last.at == at)
    }

    /// Remembers the last entry that a tail has read.
    pub(super) fn remember(&self, last: Option<Mark>) {
        lock(&self.seen).last_read = last;
    }

    /// Remembers the latest position.
    fn see(&self, at: Position) {
        let mut seen = lock(&self.seen);
        seen.latest = seen.latest.max(at);
    }
}

/// Returns the mark in a reply to [`Keys::newest`].
pub(super) fn mark_of(reply: Value) -> Option<Mark> {
    let Value::BulkString(text) = reply else {
        return None;
    };
    std::str::from_utf8(&text).ok()?.parse().ok()
}

/// Returns the mark in a reply, if it is that of this position.
pub(super) fn mark_at(at: Position, reply: Value) -> Option<Mark> {
    mark_of(reply).filter(|mark| mark.at == at)
}

/// The number of entries in the first read. Later ones are at most twice as long as the one before.
const FIRST_PAGE: usize = 50;

/// The size that a page of entries should have, in bytes.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// The greatest bound that a script gets. It can count with it exactly.
const MAX_NUMBER: u64 = 1 << 50;
