//! One subscriber's place in a hub.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Poll, RawWakerVTable, Waker, ready},
};

use futures_core::Stream;

use super::{
    encoded_events::EncodedEvents,
    log::{LogFuture, PAGE, Page},
    position::Position,
    reset::ResetReason,
    shared::Shared,
    state::{Read, Seats},
};
use crate::{
    request::LastEventId,
    wire::{Output, encode_to, set_last_id},
};

/// A stream of what is published to some topics, for [`Sse::new`](crate::Sse::new); made by
/// [`Hub::subscribe`](crate::Hub::subscribe).
///
/// Every event that was published to its topics since, or behind the id that it resumes
/// [`after`](Self::after), it yields exactly once and in order, or a [`ResetReason`] in place of
/// what is lost. What is ready comes in one piece, of about 32 KiB at most.
///
/// It holds a position, not a queue. It ends when the hub is [closed](crate::Hub::close) and
/// everything is read, and with [`OnLag::Disconnect`].
#[must_use = "streams do nothing until they are polled"]
pub struct Subscription {
    hub: Arc<Shared>,
    seats: Seats,
    /// Its waker's place if it has no topics.
    idle: Option<usize>,
    /// Up to here it has read.
    after: Position,
    on_lag: OnLag,
    stage: Stage,
    /// What was left with all its topics when there was nothing more to read.
    left: Option<Left>,
    replay: Option<Box<Replay>>,
}

/// Reading from the log what the history does not have.
struct Replay {
    page: LogFuture<'static, Page>,
    /// Up to where.
    upto: Position,
    /// How many pages there were.
    pages: usize,
}

/// How many pages of a log one client is sent. One that missed more than that begins anew.
const MAX_PAGES: usize = 20;

/// A waker, and the version of the hub when it was left there.
///
/// While the hub has that version nothing was published since, the waker is still in its place,
/// and no other can have its address: so one with the same address is the same, and whoever
/// publishes next wakes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    waker: (usize, usize),
    version: u64,
}

impl Left {
    fn new(waker: &Waker, version: u64) -> Self {
        let vtable: *const RawWakerVTable = waker.vtable();
        Self {
            waker: (waker.data() as usize, vtable as usize),
            version,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not read, and came with no id.
    New,
    /// It has not read, and came with an id that is in the log, or was.
    Resuming,
    /// It has not read, and came with an id that this hub never gave.
    Unknown,
    /// It came with an id that a log may have.
    Claims,
    /// The same, and the log has it.
    Proven,
    /// The log does not reach back to its id.
    Expired,
    Live,
    Over,
}

/// What happens to a subscription when the history has left it behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnLag {
    /// It gets one [`ResetReason`] event, and then what is published from now on.
    #[default]
    Reset,
    /// It ends; its client comes back with its last event ID, and is told then. A client whose id
    /// is lost already when it comes back gets a reset, or it would come back for ever.
    Disconnect,
    /// It gets the newest event of each of its topics that it does not have, for topics whose
    /// last event says all. So does one that begins without an id, or with one that is lost or
    /// unknown.
    Latest,
}

impl Subscription {
    pub(super) fn new<T: AsRef<str>>(
        hub: Arc<Shared>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        // Names are collected first, since the iterator is the caller's code.
        let mut names: Vec<T> = topics.into_iter().collect();
        names.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        names.dedup_by(|a, b| a.as_ref() == b.as_ref());
        let mut state = hub.state();
        let seats: Seats = names.iter().map(|name| state.join(name.as_ref())).collect();
        let idle = seats.is_empty().then(|| state.idle.join());
        let after = state.head;
        let held = state.held();
        drop(state);
        hub.metrics.holds(held);
        hub.metrics.subscribed();
        Self {
            hub,
            seats,
            idle,
            after,
            on_lag: OnLag::default(),
            stage: Stage::New,
            left: None,
            replay: None,
        }
    }

    /// Resumes after the id that a client came back with; without one, this does nothing.
    pub fn after(mut self, last: LastEventId) -> Self {
        if last.is_empty() {
            return self;
        }
        let head = self.hub.state().head;
        let in_log = self.hub.backing.is_some();
        let given = |at: &Position| in_log || (at.hi() == head.hi() && *at <= head);
        self.left = None;
        self.stage = match last.parse::<Position>().filter(given) {
            Some(position) => {
                self.after = position;
                if in_log {
                    Stage::Claims
                } else {
                    Stage::Resuming
                }
            }
            None => Stage::Unknown,
        };
        self
    }

    /// Sets what happens when the history has left it behind. By default [`OnLag::Reset`].
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.on_lag = on_lag;
        self
    }

    /// A page of the log, if the history does not have all that it missed or its id is not proven.
    fn poll_replay(&mut self, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        let proven = self.stage == Stage::Proven;
        let (page, upto, pages) = match &mut self.replay {
            None => {
                let state = self.hub.state();
                let is_there = proven || state.knows(self.after);
                if is_there && !state.loses(&self.seats, self.after) {
                    self.stage = Stage::Resuming;
                    return Poll::Ready(None);
                }
                let upto = state.head.max(self.after);
                drop(state);
                self.begin_replay(upto, 1);
                return Poll::Ready(None);
            }
            Some(replay) => {
                let page = ready!(replay.page.as_mut().poll(cx));
                (page, replay.upto, replay.pages)
            }
        };
        self.replay = None;
        self.stage = match page {
            Ok(Page::Entries(_)) if pages <= MAX_PAGES => Stage::Proven,
            Ok(Page::Entries(_) | Page::Gap) => Stage::Expired,
            Err(_) => Stage::Over,
        };
        let Ok(Page::Entries(entries)) = page else {
            return Poll::Ready(None);
        };
        if self.stage == Stage::Expired {
            return Poll::Ready(None);
        }
        // A short page is all that there is.
        let last = entries.last().map_or(upto, |last| last.at);
        self.after = if entries.len() < PAGE {
            last.max(upto)
        } else {
            last
        };
        let (names, lost) = {
            let state = self.hub.state();
            (
                state.names(&self.seats),
                state.loses(&self.seats, self.after),
            )
        };
        if lost {
            let upto = self.hub.state().head.max(self.after);
            self.begin_replay(upto, pages + 1);
        }
        let mine = entries.iter().filter(|entry| names.contains(&entry.topic));
        let mine: Vec<_> = mine.map(EncodedEvents::from).collect();
        Poll::Ready((!mine.is_empty()).then(|| EncodedEvents::join(mine.iter())))
    }

    fn begin_replay(&mut self, upto: Position, pages: usize) {
        let (hub, after) = (self.hub.clone(), self.after);
        let page = Box::pin(async move {
            let Some(backing) = &hub.backing else {
                return Ok(Page::Gap);
            };
            let _turn = backing.readers.acquire().await?;
            backing.log.read(after, Some(upto), PAGE).await
        });
        self.replay = Some(Box::new(Replay { page, upto, pages }));
    }

    /// The next item in whatever state it is.
    #[cold]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        while matches!(self.stage, Stage::Claims | Stage::Proven) {
            if let Some(events) = ready!(self.poll_replay(cx)) {
                return Poll::Ready(Some(events));
            }
        }
        let read = ready!(self.poll_read(cx.waker()));
        Poll::Ready(read.map(|read| read.unwrap_or_else(|reason| self.reset(reason))))
    }

    /// What it mostly comes to: the next events of one topic, and waiting for more.
    #[inline]
    fn read_on(&mut self, waker: &Waker) -> Option<EncodedEvents> {
        let Seats::One([seat]) = self.seats else {
            return None;
        };
        let _replaced; // dropped when the lock is released
        let mut state = self.hub.state();
        if self.stage != Stage::Live || state.closed {
            return None;
        }
        let (last, events) = state.read_one(seat, self.after)?;
        self.after = last;
        let waits;
        (waits, _replaced) = state.wait_one(seat, last, waker);
        if waits {
            self.left = Some(Left::new(waker, self.hub.version.load(SeqCst)));
        }
        Some(events)
    }

    /// What there is for it, or why it is to be reset.
    fn poll_read(&mut self, waker: &Waker) -> Poll<Option<Result<EncodedEvents, ResetReason>>> {
        let mut replaced = Vec::new(); // dropped when the lock is released
        let mut state = self.hub.state();
        let stage = mem::replace(&mut self.stage, Stage::Live);
        let lost = match stage {
            Stage::Over => {
                self.stage = Stage::Over;
                return Poll::Ready(None);
            }
            Stage::Unknown => Some(ResetReason::Unknown),
            Stage::Expired => Some(ResetReason::Expired),
            Stage::New if self.on_lag == OnLag::Latest => Some(ResetReason::Unknown),
            Stage::New | Stage::Resuming | Stage::Claims | Stage::Proven | Stage::Live => {
                match state.read(&self.seats, self.after) {
                    Read::Events(last, events) => {
                        self.after = last;
                        if !state.closed && !state.has_more(&self.seats, last) {
                            state.wait(&self.seats, waker, &mut replaced);
                            self.left = Some(Left::new(waker, self.hub.version.load(SeqCst)));
                        }
                        return Poll::Ready(Some(Ok(events)));
                    }
                    Read::Nothing => None,
                    Read::Lost if stage == Stage::Resuming => Some(ResetReason::Expired),
                    Read::Lost => Some(ResetReason::Lagged),
                }
            }
        };
        if let Some(reset) = lost {
            // What is unknown is before everything.
            let after = match reset {
                ResetReason::Unknown => Position::default(),
                ResetReason::Expired | ResetReason::Lagged => self.after,
            };
            let lagged = reset == ResetReason::Lagged;
            if lagged {
                state.lagged += 1;
                state.count(&self.seats, after, |topic| topic.lagged += 1);
            }
            self.after = state.head;
            match self.on_lag {
                OnLag::Latest => {
                    if reset == ResetReason::Expired {
                        state.count(&self.seats, after, |topic| topic.resets += 1);
                    }
                    if let Some(events) = state.newest(&self.seats, after) {
                        return Poll::Ready(Some(Ok(events)));
                    }
                }
                OnLag::Disconnect if lagged => {
                    self.stage = Stage::Over;
                    return Poll::Ready(None);
                }
                OnLag::Reset | OnLag::Disconnect => {
                    state.count(&self.seats, after, |topic| topic.resets += 1);
                    return Poll::Ready(Some(Err(reset)));
                }
            }
        }
        if state.closed {
            self.stage = Stage::Over;
            return Poll::Ready(None);
        }
        state.wait(&self.seats, waker, &mut replaced);
        if let Some(seat) = self.idle {
            replaced.extend(state.idle.arm(seat, waker));
        }
        self.left = Some(Left::new(waker, self.hub.version.load(SeqCst)));
        Poll::Pending
    }

    /// The event that says so, with the id from which on it gets all.
    fn reset(&self, reason: ResetReason) -> EncodedEvents {
        self.hub.metrics.reset(reason);
        let mut output = Output::default();
        let Ok(events) = encode_to(&mut output, (self.hub.reset.0)(reason));
        let mut wire = output.take_all();
        set_last_id(&mut wire, self.after.hi(), self.after.lo());
        EncodedEvents::new(wire.freeze(), events.max(1))
    }
}

impl Stream for Subscription {
    type Item = EncodedEvents;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        // Without the lock, mostly right after everything was read.
        let left = Some(Left::new(cx.waker(), self.hub.version.load(SeqCst)));
        if self.left == left {
            return Poll::Pending;
        }
        if let Some(events) = self.read_on(cx.waker()) {
            return Poll::Ready(Some(events));
        }
        self.poll_other(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut wakers: Vec<Waker> = Vec::new(); // dropped when the lock is released
        let mut state = self.hub.state();
        wakers.extend(self.seats.iter().filter_map(|seat| state.leave(*seat)));
        wakers.extend(self.idle.and_then(|seat| state.idle.leave(seat)));
        let held = state.held();
        drop(state);
        self.hub.metrics.holds(held);
        self.hub.metrics.left();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("after", &self.after)
            .field("on_lag", &self.on_lag)
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}
