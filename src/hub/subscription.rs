//! One subscription to some topics of a hub.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::SeqCst},
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

/// A stream of the events that are published to some topics, returned by
/// [`Hub::subscribe`](crate::Hub::subscribe). Pass it to [`Sse::new`](crate::Sse::new).
///
/// It yields each event exactly once, in order. It starts with the next event that is published,
/// or with the first one [`after`](Self::after) a client's last event ID. If events are no longer
/// available, it yields a reset event instead, as [`OnLag`] and [`ResetReason`] describe.
///
/// Events that are ready are yielded together, until they reach 32 KiB. An event of 32 KiB or more
/// is yielded alone. A replay from the log of a [`DistributedHub`](crate::hub::DistributedHub)
/// yields up to 500 entries together, of any size.
///
/// A subscription holds a position and not a queue. It ends when the hub is
/// [closed](crate::Hub::close) and all events are read, when it lags with [`OnLag::Disconnect`],
/// or when the log cannot be read. Dropping it removes it from its topics.
#[must_use = "streams do nothing until they are polled"]
pub struct Subscription {
    hub: Arc<Shared>,
    seats: Seats,
    /// The seat of its waker if it has no topics.
    idle: Option<usize>,
    /// The position up to which it has read.
    after: Position,
    on_lag: OnLag,
    stage: Stage,
    /// The waker that is registered with all its topics. `None` if there may be more to read.
    left: Option<Left>,
    replay: Option<Box<Replay>>,
}

/// A read from the log, for events that are no longer in the history.
struct Replay {
    /// The mutex makes the subscription `Sync`, since an [`EventLog`](super::EventLog) promises only
    /// `Send` futures. It is never locked.
    page: Mutex<LogFuture<'static, Page>>,
    /// The last position to read.
    upto: Position,
    /// The number of pages so far, including this one.
    pages: usize,
}

/// The maximum number of pages of one replay. A client that missed more gets a reset.
const MAX_PAGES: usize = 20;

/// A registered waker, and the version of the hub at its registration.
///
/// While the version is unchanged, nothing was published and the waker is still registered. No
/// other waker can have the same address then. So a poll with a waker of that address has nothing
/// to read, and the next publish wakes it.
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

/// The progress of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Before the first read, without a last event ID.
    New,
    /// Before the first read, with an id that this hub has given out.
    Resuming,
    /// Before the first read, with an id that this hub never gave out.
    Unknown,
    /// With an id that is not yet looked up in the log.
    Claims,
    /// With an id that the log has. The events after it are being replayed.
    Proven,
    /// With an id that the log does not reach back to.
    Expired,
    /// After the first read.
    Live,
    /// After the end.
    Over,
}

/// The policy for a subscription that lags, because events were dropped before it read them.
///
/// A subscription that resumes from an expired or unknown id gets a reset under the first two
/// policies, and the newest events under the third.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnLag {
    /// Yields one reset event, then the events that are published from now on.
    #[default]
    Reset,
    /// Ends the subscription. The client reconnects with its last event ID and gets a reset then.
    Disconnect,
    /// Yields the newest event of each topic that the client does not have yet. Use it for topics
    /// whose newest event is the whole state.
    ///
    /// A subscription that starts without a last event ID yields the newest events too.
    Latest,
}

impl Subscription {
    pub(super) fn new<T: AsRef<str>>(
        hub: Arc<Shared>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        // The iterator is foreign code, so it is consumed before the lock is taken.
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

    /// Starts after the last event ID that a client sent. An empty id has no effect.
    ///
    /// An id that is not a [`Position`] of this hub causes a reset with [`ResetReason::Unknown`].
    /// An id that the history no longer reaches back to causes one with [`ResetReason::Expired`].
    /// With [`OnLag::Latest`], the newest events replace the reset.
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

    /// Sets what happens if the subscription lags. By default [`OnLag::Reset`].
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.on_lag = on_lag;
        self
    }

    /// Replays a page of the log if the history does not reach back to the id, or if the hub does
    /// not know the id. Returns `None` if there is nothing to yield from it.
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
                let page = replay
                    .page
                    .get_mut()
                    .unwrap_or_else(PoisonError::into_inner);
                let page = ready!(page.as_mut().poll(cx));
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
        // A page that is not full reaches up to `upto`.
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
        let page: LogFuture<'static, Page> = page;
        let page = Mutex::new(page);
        self.replay = Some(Box::new(Replay { page, upto, pages }));
    }

    /// Polls for the next item in any stage.
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

    /// Returns the next events of a single topic, and registers the waker if there are no more. This
    /// is the fast path.
    #[inline]
    fn read_on(&mut self, waker: &Waker) -> Option<EncodedEvents> {
        let Seats::One([seat]) = self.seats else {
            return None;
        };
        let _replaced; // dropped after the lock is released
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

    /// Returns the next events, or the reason for a reset.
    fn poll_read(&mut self, waker: &Waker) -> Poll<Option<Result<EncodedEvents, ResetReason>>> {
        let mut replaced = Vec::new(); // dropped after the lock is released
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
            // An unknown id counts as older than every event.
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

    /// Returns the reset event. Its id is the position after which the client gets every event.
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
        // A body polls again right after it has read everything. That poll needs no lock.
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
        let mut wakers: Vec<Waker> = Vec::new(); // dropped after the lock is released
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SseBody;

    #[test]
    fn a_subscription_can_be_sent_to_and_shared_with_other_threads() {
        const fn is_send_sync_and_unpin<T: Send + Sync + Unpin>() {}
        const { is_send_sync_and_unpin::<Subscription>() };
        const { is_send_sync_and_unpin::<SseBody<Subscription>>() };
    }
}
