//! A log in memory, for tests and for several hubs in one process.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    log::{AppendError, Entry, EventLog, LogFuture, Page, Record, Tail},
    position::Position,
};

/// An [`EventLog`] in memory with a bounded number of entries.
///
/// It is the reference for other implementations. When it is full, an append drops the oldest
/// entry together with its idempotency key. Clones share one log. Its [`Tail`] needs a tokio
/// runtime with time enabled.
#[derive(Clone)]
pub struct MemoryLog(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    appended: Notify,
}

struct Kept {
    max: usize,
    entries: VecDeque<(Entry, Option<String>)>,
    /// The position before the first entry: the start of the log, or the last dropped entry.
    before_first: Position,
    /// The position of the last entry.
    head: Position,
    /// The last position that was given, also to an entry that was lost since.
    given: Position,
    /// Incremented when entries are lost at the end.
    losses: u64,
}

/// The reader of a [`MemoryLog`].
struct MemoryTail {
    log: MemoryLog,
    after: Position,
    /// `Kept::losses` when `after` was read.
    losses: u64,
    /// The number of entries after `after` when it was read. `None` at first and after a gap.
    behind: Option<u64>,
}

impl MemoryLog {
    /// Creates an empty log of at most `max` entries, whose positions have this `hi`. With a `max`
    /// of 0, every entry is dropped as soon as it is appended.
    ///
    /// Give each log a greater `hi` than the one before, such as the time of its creation. Otherwise
    /// the ids of an earlier log match other entries of this one.
    #[must_use]
    pub fn new(hi: u64, max: usize) -> Self {
        let start = Position::new(hi, 0);
        Self(Arc::new(Inner {
            kept: Mutex::new(Kept {
                max,
                entries: VecDeque::new(),
                before_first: start,
                head: start,
                given: start,
                losses: 0,
            }),
            appended: Notify::new(),
        }))
    }

    /// Drops the oldest entries, and keeps the newest `kept` of them.
    pub fn trim(&self, kept: usize) {
        self.kept().trim(kept);
    }

    /// Loses the newest `lost` entries, as an engine does that fails before it has stored them. The
    /// head goes back. The positions of the lost entries are not given again.
    pub fn lose(&self, lost: usize) {
        self.kept().lose(lost);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn lose(&mut self, entries: usize) {
        let kept = self.entries.len().saturating_sub(entries);
        if kept < self.entries.len() {
            self.entries.truncate(kept);
            self.losses += 1;
        }
        let last = self.entries.back();
        self.head = last.map_or(self.before_first, |(entry, _)| entry.at);
    }

    fn entries_after(&self, after: Position, max: usize) -> Vec<Entry> {
        let entries = self.entries.range(self.count_upto(after)..).take(max);
        entries.map(|(entry, _)| entry.clone()).collect()
    }

    fn count_after(&self, after: Position) -> u64 {
        (self.entries.len() - self.count_upto(after)) as u64
    }

    fn count_upto(&self, at: Position) -> usize {
        self.entries.partition_point(|(entry, _)| entry.at <= at)
    }

    /// Returns whether every entry after `after` is in the log, and `after` was one itself.
    fn reaches(&self, after: Position) -> bool {
        let is_entry = |after| {
            let found = self
                .entries
                .binary_search_by_key(&after, |(entry, _)| entry.at);
            found.is_ok()
        };
        after == self.before_first || is_entry(after)
    }

    fn append(&mut self, topic: &str, record: Record, key: Option<&str>) -> Position {
        let written = key.and_then(|key| {
            let mut entries = self.entries.iter();
            entries
                .find(|(entry, written)| &*entry.topic == topic && written.as_deref() == Some(key))
        });
        if let Some((entry, _)) = written {
            return entry.at;
        }
        let at = Position::new(self.given.hi(), self.given.lo() + 1);
        (self.given, self.head) = (at, at);
        let topic = topic.into();
        let entry = Entry { at, topic, record };
        self.entries.push_back((entry, key.map(str::to_owned)));
        self.trim(self.max);
        at
    }
}

impl EventLog for MemoryLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError> {
        Box::pin(async move {
            let at = self.kept().append(topic, record, idempotency_key);
            self.0.appended.notify_waiters();
            Ok(at)
        })
    }

    fn head(&self) -> LogFuture<'_, Position> {
        Box::pin(async { Ok(self.kept().head) })
    }

    fn first(&self) -> LogFuture<'_, Option<Entry>> {
        Box::pin(async { Ok(self.kept().entries.front().map(|(entry, _)| entry.clone())) })
    }

    fn read(&self, after: Position, max: usize) -> LogFuture<'_, Page> {
        Box::pin(async move {
            let kept = self.kept();
            Ok(match kept.reaches(after) {
                true => Page::Entries(kept.entries_after(after, max)),
                false => Page::Gap,
            })
        })
    }

    fn tail(&self, after: Position) -> LogFuture<'_, Box<dyn Tail>> {
        Box::pin(async move {
            let losses = self.kept().losses;
            let tail: Box<dyn Tail> = Box::new(MemoryTail {
                log: self.clone(),
                after,
                losses,
                behind: None,
            });
            Ok(tail)
        })
    }
}

impl MemoryTail {
    /// Returns the next entries, or `None` if there are none yet.
    fn poll_next(&mut self, max: usize) -> Option<Page> {
        let kept = self.log.kept();
        if !kept.reaches(self.after) || kept.losses != self.losses {
            self.behind = None;
            return Some(Page::Gap);
        }
        let entries = kept.entries_after(self.after, max);
        self.after = entries.last().map_or(self.after, |last| last.at);
        self.behind = Some(kept.count_after(self.after));
        (!entries.is_empty()).then_some(Page::Entries(entries))
    }
}

impl Tail for MemoryTail {
    fn next(&mut self, max: usize) -> LogFuture<'_, Page> {
        Box::pin(async move {
            let inner = self.log.0.clone();
            let next = timeout(HEARTBEAT, async {
                loop {
                    let appended = inner.appended.notified();
                    if let Some(page) = self.poll_next(max) {
                        return page;
                    }
                    appended.await;
                }
            });
            match next.await {
                Ok(page) => Ok(page),
                Err(_) => Ok(self.poll_next(max).unwrap_or(Page::Entries(Vec::new()))),
            }
        })
    }

    fn behind(&self) -> Option<u64> {
        self.behind
    }
}

/// The time after which a tail without entries returns an empty page.
const HEARTBEAT: Duration = Duration::from_secs(1);

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("head", &self.kept().head)
            .finish_non_exhaustive()
    }
}
