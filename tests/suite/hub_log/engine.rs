//! A log whose entries and answers a test sets.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http_sse::{
    EncodedEvent, Event,
    hub::{AppendError, Entry, EventLog, EventLogError, Page, Position, Record, Tail},
};
use tokio::time::{Instant, sleep};

/// A log whose entries and answers a test sets.
#[derive(Clone, Default)]
pub(super) struct Engine(Arc<Mutex<EngineState>>);

#[derive(Default)]
pub(super) struct EngineState {
    pub(super) entries: Vec<Entry>,
    /// The position of the last dropped entry.
    pub(super) floor: Position,
    /// The reported head. If it is `None`, the head is that of the entries.
    pub(super) head: Option<Position>,
    pub(super) is_unavailable: bool,
    /// True if each page has at most one entry.
    pub(super) has_short_pages: bool,
    /// The number of times that the two oldest entries are trimmed as soon as one was returned.
    pub(super) trims: usize,
    /// The duration of a read.
    pub(super) delay: Duration,
    /// True if no call ever returns.
    pub(super) hangs: bool,
    /// The times of the pages of the tail, and of the calls that did not get one.
    pub(super) followed: Vec<Instant>,
    /// Counts of the reads: all, those in progress, and their maximum.
    pub(super) reads: [usize; 3],
}

impl Engine {
    pub(super) fn state(&self) -> MutexGuard<'_, EngineState> {
        self.0.lock().unwrap()
    }

    pub(super) fn push(&self, at: Position, topic: &str, data: &str) {
        self.state().entries.push(Entry {
            at,
            topic: topic.into(),
            record: Record::Event {
                event: EncodedEvent::new(Event::data(data.to_owned())).unwrap(),
                coalesce: None,
            },
        });
    }
}

impl EngineState {
    pub(super) fn head(&self) -> Position {
        let last = self.entries.last().map_or(self.floor, |entry| entry.at);
        self.head.unwrap_or(last)
    }

    pub(super) fn entries_after(&self, after: Position, max: usize) -> Vec<Entry> {
        let entries = self.entries.iter().filter(|entry| entry.at > after);
        entries.take(max).cloned().collect()
    }

    /// Returns the entries after `after`, if the log reaches back to it.
    pub(super) fn page(&self, after: Position, max: usize) -> Page {
        let is_known = |entry: &Entry| entry.at == after;
        if after != self.floor && !self.entries.iter().any(is_known) {
            return Page::Gap;
        }
        let max = if self.has_short_pages { 1 } else { max };
        Page::Entries(self.entries_after(after, max))
    }

    pub(super) fn check_available(&self) -> Result<(), EventLogError> {
        if self.is_unavailable {
            return Err("the engine is unavailable".into());
        }
        Ok(())
    }
}

impl Engine {
    /// Waits forever if no call ever returns.
    async fn hang(&self) {
        if self.state().hangs {
            self.delay().await;
        }
    }

    /// Waits for the delay of a call, or forever.
    async fn delay(&self) {
        let (delay, hangs) = {
            let state = self.state();
            (state.delay, state.hangs)
        };
        // has a deadline: the test that sets it is about the deadline of the hub
        let time = if hangs {
            Duration::from_secs(1_000_000)
        } else {
            delay
        };
        sleep(time).await;
    }
}

impl EventLog for Engine {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        _key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            self.hang().await;
            let mut state = self.state();
            let at = Position::new(state.head().hi(), state.head().lo() + 1);
            let topic = topic.into();
            state.entries.push(Entry { at, topic, record });
            Ok(at)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, EventLogError>> {
        Box::pin(async {
            self.hang().await;
            self.state().check_available()?;
            Ok(self.state().head())
        })
    }

    fn first(&self) -> BoxFuture<'_, Result<Option<Entry>, EventLogError>> {
        Box::pin(async {
            self.hang().await;
            let mut state = self.state();
            state.check_available()?;
            let first = state.entries.first().cloned();
            if state.trims > 0 {
                state.trims -= 1;
                state.floor = state.entries[1].at;
                state.entries.drain(..2);
            }
            Ok(first)
        })
    }

    fn read(&self, after: Position, max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            {
                let mut state = self.state();
                let [all, now, most] = &mut state.reads;
                (*all, *now) = (*all + 1, *now + 1);
                *most = (*most).max(*now);
            }
            self.delay().await;
            let mut state = self.state();
            state.reads[1] -= 1;
            state.check_available()?;
            Ok(state.page(after, max))
        })
    }

    fn tail(&self, after: Position) -> BoxFuture<'_, Result<Box<dyn Tail>, EventLogError>> {
        Box::pin(async move {
            self.hang().await;
            let mut state = self.state();
            if state.is_unavailable {
                state.followed.push(Instant::now());
                assert!(state.followed.len() < 10_000, "the log is read for ever");
            }
            state.check_available()?;
            let log = self.clone();
            let tail: Box<dyn Tail> = Box::new(EngineTail { log, after });
            Ok(tail)
        })
    }
}

/// A reader that polls every 10 ms.
struct EngineTail {
    log: Engine,
    after: Position,
}

impl Tail for EngineTail {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            let end = Instant::now() + Duration::from_secs(1);
            loop {
                self.log.hang().await;
                let page = {
                    let state = self.log.state();
                    state.check_available()?;
                    state.page(self.after, max)
                };
                match page {
                    Page::Gap => return Ok(Page::Gap),
                    Page::Entries(entries) if entries.is_empty() && Instant::now() < end => {}
                    Page::Entries(entries) => {
                        self.log.state().followed.push(Instant::now());
                        self.log.delay().await;
                        self.after = entries.last().map_or(self.after, |last| last.at);
                        return Ok(Page::Entries(entries));
                    }
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
    }
}
