//! A log in memory, for tests and for several hubs in one process.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    log::{AppendError, Entry, EventLog, LogFuture, Page},
    position::Position,
};
use crate::wire::EncodedEvent;

/// An [`EventLog`] in memory with a bounded number of entries.
///
/// It is the reference for other implementations. When it is full, an append drops the oldest
/// entry together with its idempotency key. [`EventLog::wait`] needs a tokio runtime with time
/// enabled.
pub struct MemoryLog {
    kept: Mutex<Kept>,
    appended: Notify,
}

struct Kept {
    max: usize,
    entries: VecDeque<(Entry, Option<String>)>,
    /// The position before the first entry: the start of the log, or the last dropped entry.
    before_first: Position,
    head: Position,
}

impl MemoryLog {
    /// Creates an empty log of at most `max` entries, whose positions have this `hi`. With a `max`
    /// of 0, every entry is dropped as soon as it is appended.
    #[must_use]
    pub fn new(hi: u64, max: usize) -> Self {
        let start = Position::new(hi, 0);
        Self {
            kept: Mutex::new(Kept {
                max,
                entries: VecDeque::new(),
                before_first: start,
                head: start,
            }),
            appended: Notify::new(),
        }
    }

    /// Drops all but the last `entries` entries.
    pub fn trim(&self, entries: usize) {
        self.kept().trim(entries);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn trim(&mut self, max: usize) {
        while self.entries.len() > max {
            if let Some((entry, _)) = self.entries.pop_front() {
                self.before_first = entry.at;
            }
        }
    }

    fn entries_after(&self, after: Position, max: usize) -> Vec<Entry> {
        let start = self.entries.partition_point(|(entry, _)| entry.at <= after);
        let entries = self.entries.range(start..).take(max);
        entries.map(|(entry, _)| entry.clone()).collect()
    }

    /// Returns whether every entry after `after` is still here.
    fn reaches(&self, after: Position) -> bool {
        let entry = self
            .entries
            .binary_search_by_key(&after, |(entry, _)| entry.at);
        after == self.before_first || entry.is_ok()
    }
}

impl EventLog for MemoryLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        event: EncodedEvent,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError> {
        Box::pin(async move {
            let at = {
                let mut kept = self.kept();
                let written = idempotency_key.and_then(|key| {
                    let mut entries = kept.entries.iter();
                    entries.find(|(_, written)| written.as_deref() == Some(key))
                });
                if let Some((entry, _)) = written {
                    return Ok(entry.at);
                }
                let at = Position::new(kept.head.hi(), kept.head.lo() + 1);
                kept.head = at;
                let topic = topic.into();
                let entry = Entry { at, topic, event };
                kept.entries
                    .push_back((entry, idempotency_key.map(str::to_owned)));
                let max = kept.max;
                kept.trim(max);
                at
            };
            self.appended.notify_waiters();
            Ok(at)
        })
    }

    fn head(&self) -> LogFuture<'_, Position> {
        Box::pin(async { Ok(self.kept().head) })
    }

    fn read(&self, after: Position, upto: Option<Position>, max: usize) -> LogFuture<'_, Page> {
        Box::pin(async move {
            let kept = self.kept();
            if !kept.reaches(after) {
                return Ok(Page::Gap);
            }
            let mut entries = kept.entries_after(after, max);
            entries.retain(|entry| upto.is_none_or(|upto| entry.at <= upto));
            Ok(Page::Entries(entries))
        })
    }

    fn wait(&self, after: Position, max: usize, time: Duration) -> LogFuture<'_, Vec<Entry>> {
        Box::pin(async move {
            let found = timeout(time, async {
                loop {
                    let appended = self.appended.notified();
                    let entries = self.kept().entries_after(after, max);
                    if !entries.is_empty() {
                        return entries;
                    }
                    appended.await;
                }
            });
            Ok(found.await.unwrap_or_default())
        })
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("head", &self.kept().head)
            .finish_non_exhaustive()
    }
}
