//! The progress of a subscription: its start, its reads, and what follows a loss.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use super::{
    encoded_events::EncodedEvents,
    handle::SubscriptionHandle,
    item::Item,
    latest::LatestEvery,
    on_lag::OnLag,
    places::Places,
    position::Position,
    read::{Left, Mark, Read},
    replay::{Replay, Replayed},
    reset::ResetReason,
    shared::Shared,
    topic::Topic,
};
use crate::{
    request::LastEventId,
    wake::wake_all,
    wire::{EndEarly, Output, encode_to},
};

/// The progress of a subscription in its topics.
pub(super) struct Progress {
    pub(super) hub: Arc<Shared>,
    pub(super) places: Places,
    pub(super) mark: Mark,
    pub(super) on_lag: OnLag,
    pub(super) stage: Stage,
    /// True if the client has an id to come back with.
    pub(super) has_id: bool,
    /// The stored waker. `None` if there may be more to read.
    pub(super) left: Option<Left>,
    pub(super) extra: Option<Box<Extra>>,
}

/// The state that few subscriptions need.
#[derive(Default)]
pub(super) struct Extra {
    start: Start,
    latest: Option<LatestEvery>,
    replay: Option<Replay>,
}

/// The start of a subscription without a last event ID.
#[derive(Clone, Copy, Default)]
enum Start {
    /// With the next event that is published.
    #[default]
    Next,
    /// With the last events.
    Last,
    /// With the first event of each topic.
    First,
}

/// The stage of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Before the first read, without a last event ID.
    New,
    /// Before the first event, with an id that this hub has given out.
    Resuming,
    /// With an id that is not yet looked up in the log.
    Claims,
    /// With an id that this hub never gave out, or that the log does not reach back to.
    Lost(ResetReason),
    /// Before the first read. The newest event of a topic, with which it was to begin, was dropped.
    Gone,
    Live,
    /// After the end.
    Over,
}

impl Progress {
    /// Begins a subscription to some topics. Returns also wakers to wake.
    pub(super) fn join(hub: Arc<Shared>, topics: &[&str]) -> (Self, Vec<Waker>) {
        let generation = hub.generation();
        let (places, after, wakers) = Places::join(&hub, topics);
        hub.metrics.subscribed();
        hub.metrics.holds(hub.memory.bytes());
        let progress = Self {
            hub,
            places,
            mark: Mark { after, generation },
            on_lag: OnLag::default(),
            stage: Stage::New,
            has_id: false,
            left: None,
            extra: None,
        };
        (progress, wakers)
    }

    /// Starts after a last event ID, which is not empty.
    pub(super) fn start_after(&mut self, last: &LastEventId) {
        let head = self.hub.order.last();
        let in_log = self.hub.backing.is_some();
        let given = |at: &Position| in_log || (at.hi() == head.hi() && *at <= head);
        self.left = None;
        self.has_id = true;
        self.stage = match last.parse::<Position>().filter(given) {
            Some(position) => {
                self.mark.after = position;
                if in_log {
                    Stage::Claims
                } else {
                    Stage::Resuming
                }
            }
            None => Stage::Lost(ResetReason::Unknown),
        };
        self.places.start_again();
    }

    /// Starts before the last events, unless there is a last event ID.
    pub(super) fn start_before_last(&mut self, events: usize) {
        if self.stage == Stage::New {
            self.left = None;
            self.extra().start = Start::Last;
            self.mark.after = self.places.start_before_last(&self.hub, events);
        }
    }

    /// Starts before the first event of each topic, unless there is a last event ID.
    pub(super) fn start_before_first(&mut self) {
        if self.stage == Stage::New {
            self.left = None;
            self.extra().start = Start::First;
            self.mark.after = self.places.start_before_first(&self.hub);
        }
    }

    /// Yields only the newest events from now on, once per interval.
    pub(super) fn yield_latest_every(&mut self, interval: Duration) {
        self.left = None;
        self.on_lag = OnLag::Latest;
        self.extra().latest = Some(LatestEvery::new(interval));
    }

    /// Returns a handle that changes the topics.
    pub(super) fn handle(&mut self) -> SubscriptionHandle {
        self.left = None;
        let (many, wakers) = self.places.make_many(&self.hub, self.mark.after);
        wake_all(wakers);
        let changes = many.changes(&self.hub);
        SubscriptionHandle::new(self.hub.clone(), many.listener.clone(), changes)
    }

    /// Polls for the next item.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        loop {
            match self.stage {
                Stage::Over => return Poll::Ready(None),
                Stage::Claims => {
                    if let Some(events) = ready!(self.poll_replay(cx)) {
                        return Poll::Ready(Some(events));
                    }
                    continue;
                }
                Stage::Lost(reason) => {
                    if let Some(reset) = self.lose(reason) {
                        return Poll::Ready(Some(reset));
                    }
                }
                Stage::Gone => {
                    if let Some(reset) = self.lose(ResetReason::Expired) {
                        return Poll::Ready(Some(reset));
                    }
                }
                Stage::New => {
                    self.start();
                    continue;
                }
                Stage::Resuming | Stage::Live => {}
            }
            let mut limit = None;
            if let Some(latest) = self.latest() {
                limit = latest.batch();
                if limit.is_none() {
                    ready!(latest.poll_due(cx));
                    limit = Some(self.begin_batch());
                }
            }
            match self
                .places
                .read(&self.hub, &mut self.mark, limit, cx.waker())
            {
                Read::Events(events, left) => {
                    self.stage = Stage::Live;
                    self.has_id = true;
                    self.left = left.filter(|_| limit.is_none());
                    if let Some(latest) = self.latest() {
                        latest.yielded();
                    }
                    return Poll::Ready(Some(events));
                }
                Read::Nothing(left) => {
                    self.stage = Stage::Live;
                    match self.latest().map(LatestEvery::end_batch) {
                        None => self.left = left,
                        Some(true) => continue, // to wait for the next interval
                        Some(false) => match self.places.wait(&self.hub, self.mark, cx.waker()) {
                            Some(left) => self.left = left,
                            None => continue, // there is something new
                        },
                    }
                    return Poll::Pending;
                }
                Read::Finished => {
                    self.stage = Stage::Over;
                    return Poll::Ready(None);
                }
                Read::Closed => return Poll::Ready(Some(self.end_early(EndEarly::Closed))),
                Read::Lost => {
                    let reason = match self.stage {
                        Stage::Resuming => ResetReason::Expired,
                        _ => ResetReason::Lagged,
                    };
                    if let Some(reset) = self.lose(reason) {
                        return Poll::Ready(Some(reset));
                    }
                }
            }
        }
    }

    /// Begins without a last event ID.
    fn start(&mut self) {
        let start = self.extra.as_ref().map_or(Start::Next, |extra| extra.start);
        self.stage = match start {
            Start::Next if self.on_lag == OnLag::Latest && !self.skip_to_newest(None, false) => {
                Stage::Gone
            }
            Start::Next | Start::Last => Stage::Live,
            // A first event that is no longer available has expired.
            Start::First => Stage::Resuming,
        };
    }

    /// Skips to the newest events, and returns the position up to which they are yielded together.
    fn begin_batch(&mut self) -> Position {
        let (batch, skipped) = self.places.skip_and_count(&self.hub, &mut self.mark);
        self.hub.metrics.skipped(skipped);
        if let Some(latest) = self.latest() {
            latest.begin_batch(batch);
        }
        batch
    }

    /// Replays events from the log if the history does not reach back to the id, or if the hub does
    /// not know the id. Returns `None` when there is nothing more to yield from it.
    fn poll_replay(&mut self, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        let hub = &self.hub;
        let extra = self.extra.get_or_insert_default();
        let replay = extra.replay.get_or_insert_with(|| {
            self.mark.generation = hub.generation();
            let topics = self.places.topics(|_, _| true);
            Replay::new(hub.clone(), topics, self.mark.after)
        });
        if !self.places.watch(hub, self.mark.after, replay, cx.waker()) {
            return Poll::Ready(Some(self.end_early(EndEarly::Closed)));
        }
        let replayed = match replay.poll(cx) {
            Poll::Ready(replayed) => replayed,
            Poll::Pending if hub.order.is_closed() => {
                ready!(replay.poll_closing(cx));
                Replayed::Unavailable
            }
            Poll::Pending => return Poll::Pending,
        };
        match replayed {
            Replayed::Events(last, events) => {
                self.mark.after = last;
                self.has_id = true;
                return Poll::Ready(Some(events));
            }
            Replayed::Live(after) => {
                self.mark.after = after;
                self.stage = Stage::Resuming;
                self.places.resume();
            }
            Replayed::Gap => self.stage = Stage::Lost(ResetReason::Expired),
            Replayed::Unavailable => {
                return Poll::Ready(Some(self.end_early(EndEarly::Failed)));
            }
        }
        self.extra().replay = None;
        Poll::Ready(None)
    }

    /// Continues after a loss: as the policy says, or with a reset, which it returns.
    #[cold]
    fn lose(&mut self, reason: ResetReason) -> Option<EncodedEvents> {
        let generation = self.hub.generation();
        let is_new = generation != self.mark.generation;
        let has_place = reason != ResetReason::Unknown && self.stage != Stage::Gone;
        let after = (!is_new && has_place).then_some(self.mark.after);
        let is_lag = reason == ResetReason::Lagged;
        if is_lag {
            self.hub.metrics.lagged();
        }
        // Found before the places are moved.
        let lossy = match reason {
            ResetReason::Unknown => Vec::new(),
            _ => self.lossy_topics(after),
        };
        let disconnects = is_lag && self.on_lag == OnLag::Disconnect && self.has_id;
        let last = if disconnects {
            Some(self.end_early(EndEarly::Lagged))
        } else if self.on_lag == OnLag::Latest && self.skip_to_newest(after, is_new) {
            None
        } else {
            Some(self.reset(reason, is_new))
        };
        if !disconnects {
            self.stage = Stage::Live;
            self.mark.generation = generation;
        }
        for topic in lossy {
            let mut state = self.hub.lock(&topic);
            let losses = state.counts.losses_mut();
            losses.lagged += u64::from(is_lag);
            losses.resets += u64::from(last.is_some() && !disconnects);
        }
        last
    }

    /// Returns the topics that have lost events after `after`, or all if it is `None`.
    fn lossy_topics(&self, after: Option<Position>) -> Vec<Arc<Topic>> {
        self.places.topics(|topic, from| {
            let state = self.hub.lock(topic);
            if self.stage == Stage::Gone {
                return state.last().is_none() && state.has_lost(Position::default());
            }
            after.is_none_or(|after| state.has_lost(after.max(from)))
        })
    }

    /// Skips to the newest event of each topic, as [`Places::skip_to_newest`] does.
    fn skip_to_newest(&mut self, after: Option<Position>, all_lost: bool) -> bool {
        self.places
            .skip_to_newest(&self.hub, &mut self.mark, after, all_lost)
    }

    /// Returns the reset event. Its id is the position after which the client gets every event.
    fn reset(&mut self, reason: ResetReason, is_new_generation: bool) -> EncodedEvents {
        // Foreign code: if it panics, the next poll tries again.
        let mut output = Output::default();
        let Ok(events) = encode_to(&mut output, (self.hub.reset.0)(reason));
        self.hub.metrics.reset(reason);
        if let Some(backing) = &self.hub.backing {
            backing.contact.reset(reason);
        }
        // Not the last complete one: an event that is not complete yet may be lost already.
        let given = self.hub.order.last();
        // An id that was not looked up may be anything.
        let is_read = reason == ResetReason::Lagged && !is_new_generation;
        self.mark.after = if is_read {
            given.max(self.mark.after)
        } else {
            given
        };
        self.places.start_again();
        self.has_id = true;
        let reset = Item::encoded(output.take_all(), events, None);
        reset.store(self.mark.after, 0).events
    }

    /// Ends the subscription although its topics go on. Returns the last item.
    #[cold]
    fn end_early(&mut self, why: EndEarly) -> EncodedEvents {
        self.stage = Stage::Over;
        EncodedEvents::end_early(why)
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    fn latest(&mut self) -> Option<&mut LatestEvery> {
        self.extra.as_mut()?.latest.as_mut()
    }
}
