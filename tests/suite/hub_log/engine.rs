//! A log whose entries and answers a test sets.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http_sse::{
    EncodedEvent, Event,
    hub::{AppendError, Entry, EventLog, EventLogError, Page, Position},
};
use tokio::time::{Instant, sleep};

/// A log whose entries and answers a test sets.
#[derive(Default)]
pub(super) struct Engine(Mutex<EngineState>);

#[derive(Default)]
pub(super) struct EngineState {
    pub(super) entries: Vec<Entry>,
    /// The position of the last dropped entry.
    pub(super) floor: Position,
    /// The reported head. If it is `None`, the head is that of the entries.
    pub(super) head: Option<Position>,
    pub(super) is_unavailable: bool,
    /// The duration of a read.
    pub(super) delay: Duration,
    /// The times of the calls of the reader that follows the log.
    pub(super) followed: Vec<Instant>,
    /// Counts of the reads for single clients: all, those in progress, and their maximum.
    pub(super) replays: [usize; 3],
}

impl Engine {
    pub(super) fn state(&self) -> MutexGuard<'_, EngineState> {
        self.0.lock().unwrap()
    }

    pub(super) fn push(&self, at: Position, topic: &str, data: &str) {
        self.state().entries.push(Entry {
            at,
            topic: topic.into(),
            event: EncodedEvent::new(Event::data(data.to_owned())).unwrap(),
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

    pub(super) fn check_available(&self) -> Result<(), EventLogError> {
        if self.is_unavailable {
            return Err("the engine is unavailable".into());
        }
        Ok(())
    }
}

impl EventLog for Engine {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        event: EncodedEvent,
        _key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            let mut state = self.state();
            let at = Position::new(state.head().hi(), state.head().lo() + 1);
            let topic = topic.into();
            state.entries.push(Entry { at, topic, event });
            Ok(at)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, EventLogError>> {
        Box::pin(async { Ok(self.state().head()) })
    }

    fn read(
        &self,
        after: Position,
        upto: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            let delay = {
                let mut state = self.state();
                if upto.is_some() {
                    let [all, now, most] = &mut state.replays;
                    (*all, *now) = (*all + 1, *now + 1);
                    *most = (*most).max(*now);
                } else {
                    state.followed.push(Instant::now());
                    assert!(state.followed.len() < 10_000, "the log is read for ever");
                    state.check_available()?;
                }
                state.delay
            };
            sleep(delay).await;
            let mut state = self.state();
            if upto.is_some() {
                state.replays[1] -= 1;
            }
            state.check_available()?;
            let known = |entry: &Entry| entry.at == after;
            if after != state.floor && !state.entries.iter().any(known) {
                return Ok(Page::Gap);
            }
            let mut entries = state.entries_after(after, max);
            entries.retain(|entry| upto.is_none_or(|upto| entry.at <= upto));
            Ok(Page::Entries(entries))
        })
    }

    fn wait(
        &self,
        after: Position,
        max: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<Entry>, EventLogError>> {
        Box::pin(async move {
            let end = Instant::now() + timeout;
            if timeout > Duration::ZERO {
                self.state().followed.push(Instant::now());
            }
            loop {
                let entries = {
                    let state = self.state();
                    state.check_available()?;
                    state.entries_after(after, max)
                };
                if !entries.is_empty() || Instant::now() >= end {
                    return Ok(entries);
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
    }
}
