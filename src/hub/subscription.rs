//! One subscription to some topics of a hub.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use futures_core::Stream;

use super::{
    encoded_events::EncodedEvents,
    handle::SubscriptionHandle,
    item::Item,
    latest::LatestEvery,
    many::Many,
    on_lag::OnLag,
    one::One,
    position::Position,
    read::{Left, Mark, Read},
    replay::{Replay, Replayed},
    reset::ResetReason,
    shared::Shared,
    topic::{Topic, TopicState},
};
use crate::{
    request::LastEventId,
    wake::wake_all,
    wire::{EndEarly, Output, encode_to},
};

/// A stream of the events that are published to some topics, returned by
/// [`Hub::subscribe`](crate::Hub::subscribe). Pass it to [`Sse::new`](crate::Sse::new).
///
/// It yields each event exactly once, in order. It starts with the next event that is published,
/// or with the first one [`after`](Self::after) a client's last event ID. If events are no longer
/// available, it yields a reset event instead, as [`OnLag`] and [`ResetReason`] describe.
///
/// Events that are ready are yielded together, until they reach 32 KiB. An event of 32 KiB or more
/// is yielded alone.
///
/// A subscription holds a position and not a queue, so a slow client costs the hub no memory. A read
/// takes time in proportion to the events that it yields, whatever the number of topics. Dropping the
/// subscription removes it from its topics.
///
/// # The end
///
/// | if | it ends | with [`CloseReason`](crate::CloseReason) |
/// |---|---|---|
/// | all its topics are [finished](crate::Hub::finish) | after their last events | `End` |
/// | the hub is [closed](crate::Hub::close) | after the last events | `End` |
/// | it lags with [`OnLag::Disconnect`] | at once | `Lagged` |
/// | [`Hub::disconnect`](crate::Hub::disconnect) closes its last topic | at once | `ByServer` |
/// | it resumes from the log of a [`DistributedHub`](crate::hub::DistributedHub), and the log cannot be read for 30 s | after that | `Error` |
///
/// The response sends the event of [`Sse::end_with`](crate::Sse::end_with) only after `End`. A
/// subscription that ever had a [`handle`](Self::handle) can get other topics, so it does not end when
/// its topics do.
#[must_use = "streams do nothing until they are polled"]
pub struct Subscription {
    hub: Arc<Shared>,
    places: Places,
    mark: Mark,
    on_lag: OnLag,
    stage: Stage,
    /// True if the client has an id to come back with.
    has_id: bool,
    /// The stored waker. `None` if there may be more to read.
    left: Option<Left>,
    extra: Option<Box<Extra>>,
}

/// The places of a subscription in its topics. Most subscriptions have one topic, whose place needs
/// no allocation.
enum Places {
    One(One),
    Many(Box<Many>),
}

/// The state that few subscriptions need.
#[derive(Default)]
struct Extra {
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

/// The progress of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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

impl Subscription {
    pub(super) fn new<T: AsRef<str>>(
        hub: Arc<Shared>,
        topics: impl IntoIterator<Item = T>,
    ) -> Self {
        let topics: Vec<T> = topics.into_iter().collect();
        // `as_ref` runs foreign code, so it is called before a seat is taken.
        let mut names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.dedup();
        hub.end_finished();
        let generation = hub.generation();
        let (places, after, wakers) = match &names[..] {
            [name] => {
                let (one, after, wakers) = One::join(&hub, name);
                (Places::One(one), after, wakers)
            }
            names => {
                let (many, after, wakers) = Many::join(&hub, names);
                (Places::Many(Box::new(many)), after, wakers)
            }
        };
        hub.metrics.subscribed();
        hub.metrics.holds(hub.memory.bytes());
        let subscription = Self {
            hub,
            places,
            mark: Mark { after, generation },
            on_lag: OnLag::default(),
            stage: Stage::New,
            has_id: false,
            left: None,
            extra: None,
        };
        wake_all(wakers); // if one of them panics, the seats are given up
        subscription
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
        if let Places::Many(many) = &mut self.places {
            many.start_again();
        }
        self
    }

    /// Starts with the last `events` events of its topics, all topics together, if the client sent
    /// no last event ID. If the history has fewer, it starts with the oldest one. An item of several
    /// events counts once. A server with a log replays the events that it has itself.
    ///
    /// Use it for clients that have no state yet, such as a page that shows the last ten messages.
    /// With a last event ID, [`after`](Self::after) takes precedence, in whatever order both are
    /// called. Of `replay` and [`from_start`](Self::from_start), the last call takes effect.
    ///
    /// ```
    /// # use futures_util::{FutureExt as _, StreamExt as _};
    /// # use http_sse::{Event, Hub};
    /// let hub = Hub::new();
    /// let ids = ["1", "2", "3"].map(|text| hub.publish("chat", Event::data(text)).unwrap());
    ///
    /// let mut newcomer = hub.subscribe(["chat"]).replay(2);
    /// let events = newcomer.next().now_or_never().unwrap().unwrap();
    /// let last_two = format!("data: 2\nid: {}\n\ndata: 3\nid: {}\n\n", ids[1], ids[2]);
    /// assert_eq!(events, &*last_two);
    /// ```
    pub fn replay(mut self, events: usize) -> Self {
        if self.stage == Stage::New {
            self.left = None;
            self.extra().start = Start::Last;
            let hub = &self.hub;
            match &mut self.places {
                Places::One(one) => self.mark.after = one.before_last(hub, events),
                Places::Many(many) => {
                    self.mark.after = Position::default();
                    many.list.start_before_last(hub, events);
                }
            }
        }
        self
    }

    /// Starts with the first event of each topic, if the client sent no last event ID.
    ///
    /// If the history of a topic no longer reaches back to its first event, the subscription yields
    /// a reset with [`ResetReason::Expired`] instead. This includes a topic whose events were all
    /// dropped for their age or for memory while nobody was subscribed: the hub remembers up to 16,384
    /// of them. A topic that was [removed](crate::Hub::remove) is a new topic afterwards. A
    /// [`DistributedHub`](crate::hub::DistributedHub) starts with the first event that its log had
    /// when the server started.
    ///
    /// With a last event ID, [`after`](Self::after) takes precedence, in whatever order both are
    /// called. Use it for a stream with a beginning and an [end](crate::Hub::finish), if clients may
    /// reload at any time.
    pub fn from_start(mut self) -> Self {
        if self.stage == Stage::New {
            self.left = None;
            self.extra().start = Start::First;
            let hub = &self.hub;
            match &mut self.places {
                Places::One(one) => self.mark.after = hub.lock(&one.topic).beginning(),
                Places::Many(many) => {
                    self.mark.after = Position::default();
                    many.list.start_at(hub, TopicState::beginning);
                }
            }
        }
        self
    }

    /// Sets what happens if the subscription lags. By default [`OnLag::Reset`].
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.on_lag = on_lag;
        self
    }

    /// Yields at most the newest event of each topic, once per `interval`. The first events are
    /// yielded at once.
    ///
    /// Use it for topics whose newest event is the whole state, such as a price, if clients should
    /// not get more events than they can show. Skipped events are counted in
    /// [`TopicInfo::skipped`](super::TopicInfo::skipped). It implies [`OnLag::Latest`], and leaves
    /// [`replay`](Self::replay) and [`from_start`](Self::from_start) without effect. An end is noticed
    /// only after the current interval.
    ///
    /// The subscription yields current events, but a slow client gets them late, because the
    /// buffers of sockets and servers hold older ones. See
    /// [slow clients](crate::guide::slow_clients).
    ///
    /// # Panics
    ///
    /// The subscription panics when it is polled outside a tokio runtime with time enabled.
    pub fn latest_every(mut self, interval: Duration) -> Self {
        self.left = None;
        self.on_lag = OnLag::Latest;
        self.extra().latest = Some(LatestEvery::new(interval));
        self
    }

    /// Returns a handle that adds and removes topics while the subscription is streamed. Call it
    /// before the subscription is passed to [`Sse::new`](crate::Sse::new).
    ///
    /// From then on the subscription does not end when its topics are finished or disconnected, because
    /// it may get others. It ends when the hub is closed, or if it lags with [`OnLag::Disconnect`].
    pub fn handle(&mut self) -> SubscriptionHandle {
        self.left = None;
        if let Places::One(one) = &self.places {
            let (many, wakers) = Many::replace(one, &self.hub, self.mark.after);
            self.places = Places::Many(Box::new(many));
            wake_all(wakers);
        }
        let Places::Many(many) = &mut self.places else {
            unreachable!("a subscription of one topic was turned into one of several")
        };
        let changes = many.changes(&self.hub);
        SubscriptionHandle::new(self.hub.clone(), many.listener.clone(), changes)
    }

    /// Returns `true` if there is nothing to stream: all topics are finished, and their histories were
    /// dropped. Pass the result to [`Sse::stop_if`](crate::Sse::stop_if), which answers with `204`, so
    /// that an `EventSource` does not reconnect. A subscription without topics is never over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let is_over = |topic| {
            let state = self.hub.lock(topic);
            state.finish.as_ref().is_some_and(|finish| finish.is_over)
        };
        match &self.places {
            Places::One(one) => is_over(&one.topic),
            Places::Many(many) => {
                let mut places = many.list.iter().peekable();
                places.peek().is_some() && places.all(|place| is_over(&place.topic))
            }
        }
    }

    fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    #[inline]
    fn version(&self) -> u64 {
        match &self.places {
            Places::One(one) => one.topic.version(),
            Places::Many(many) => many.listener.version(),
        }
    }

    /// Polls for the next item.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
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
            match self.read(limit, cx.waker()) {
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
                        Some(false) => match self.wait(cx.waker()) {
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

    fn read(&mut self, limit: Option<Position>, waker: &Waker) -> Read {
        let (hub, mark) = (&*self.hub, &mut self.mark);
        match &mut self.places {
            Places::One(one) => one.read(hub, mark, limit, waker),
            Places::Many(many) => many.read(hub, mark, limit, waker),
        }
    }

    /// Waits for something new. Returns `None` if there is something already.
    fn wait(&mut self, waker: &Waker) -> Option<Option<Left>> {
        match &mut self.places {
            Places::One(one) => one.wait(&self.hub, self.mark, waker).map(Some),
            Places::Many(many) => many.wait_for_news(&self.hub, waker),
        }
    }

    fn latest(&mut self) -> Option<&mut LatestEvery> {
        self.extra.as_mut()?.latest.as_mut()
    }

    /// Skips to the newest events, and returns the position up to which they are yielded together.
    fn begin_batch(&mut self) -> Position {
        let hub = &self.hub;
        let (batch, skipped) = match &mut self.places {
            Places::One(one) => one.skip_and_count(hub, &mut self.mark.after),
            Places::Many(many) => {
                let complete = hub.order.complete();
                (complete, many.skip_and_count(hub, self.mark.after))
            }
        };
        hub.metrics.skipped(skipped);
        if let Some(latest) = self.latest() {
            latest.begin_batch(batch);
        }
        batch
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
        let is_lossy = |topic: &Topic, from: Position| {
            let state = self.hub.lock(topic);
            if self.stage == Stage::Gone {
                return state.last().is_none() && state.has_lost(Position::default());
            }
            after.is_none_or(|after| state.has_lost(after.max(from)))
        };
        match &self.places {
            Places::One(one) if is_lossy(&one.topic, Position::default()) => {
                vec![one.topic.clone()]
            }
            Places::One(_) => Vec::new(),
            Places::Many(many) => {
                let open = many.list.iter().filter(|place| !place.is_over);
                let lossy = open.filter(|place| is_lossy(&place.topic, place.from));
                lossy.map(|place| place.topic.clone()).collect()
            }
        }
    }

    /// Skips to the newest event of each topic after `after`, or of all if it is `None`. Returns
    /// `false` if the newest event of a topic was lost. If `all_lost` is set, every topic without an
    /// event counts as such.
    fn skip_to_newest(&mut self, after: Option<Position>, all_lost: bool) -> bool {
        match &mut self.places {
            Places::One(one) => {
                let from = after.unwrap_or_default();
                let newest = self.hub.lock(&one.topic).before_newest(from, all_lost);
                self.mark.after = newest.unwrap_or(self.mark.after);
                newest.is_some()
            }
            Places::Many(many) => {
                self.mark.after = after.unwrap_or_default();
                many.list.skip_to_newest(&self.hub, after, all_lost)
            }
        }
    }

    /// Returns the reset event. Its id is the position after which the client gets every event.
    fn reset(&mut self, reason: ResetReason, is_new_generation: bool) -> EncodedEvents {
        // Foreign code: if it panics, the next poll tries again.
        let mut output = Output::default();
        let Ok(events) = encode_to(&mut output, (self.hub.reset.0)(reason));
        self.hub.metrics.reset(reason);
        // Not the last complete one: an event that is not complete yet may be lost already.
        let given = self.hub.order.last();
        // An id that was not looked up may be anything.
        let is_read = reason == ResetReason::Lagged && !is_new_generation;
        self.mark.after = if is_read {
            given.max(self.mark.after)
        } else {
            given
        };
        if let Places::Many(many) = &mut self.places {
            many.start_again();
        }
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

    /// Replays events from the log if the history does not reach back to the id, or if the hub does
    /// not know the id. Returns `None` when there is nothing more to yield from it.
    fn poll_replay(&mut self, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        let topics = || match &self.places {
            Places::One(one) => vec![one.topic.clone()],
            Places::Many(many) => many.list.iter().map(|place| place.topic.clone()).collect(),
        };
        if self
            .extra
            .as_ref()
            .is_none_or(|extra| extra.replay.is_none())
        {
            self.mark.generation = self.hub.generation();
            let replay = Replay::new(self.hub.clone(), topics(), self.mark.after);
            self.extra().replay = Some(replay);
        }
        let Some(replay) = self.extra.as_mut().and_then(|extra| extra.replay.as_mut()) else {
            unreachable!("a replay was begun");
        };
        let hub = &self.hub;
        let is_disconnected = match &mut self.places {
            Places::One(one) => !one.watch(hub, cx.waker()),
            Places::Many(many) => {
                let has_changed = many.watch(hub, self.mark.after, cx.waker());
                if has_changed {
                    replay.keep_only(many.list.wanted(hub));
                }
                has_changed && many.is_disconnected(hub)
            }
        };
        if is_disconnected {
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
                if let Places::Many(many) = &mut self.places {
                    many.resume();
                }
            }
            Replayed::Gap => self.stage = Stage::Lost(ResetReason::Expired),
            Replayed::Unavailable => {
                return Poll::Ready(Some(self.end_early(EndEarly::Failed)));
            }
        }
        self.extra().replay = None;
        Poll::Ready(None)
    }
}

impl Stream for Subscription {
    type Item = EncodedEvents;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        let this = &mut *self;
        // A body polls again right after it has read everything. That poll needs no lock.
        if this.left.is_some() && this.left == Some(Left::new(cx.waker(), this.version())) {
            return Poll::Pending;
        }
        this.left = None;
        if let (Places::One(one), Stage::Live, None) = (&this.places, this.stage, &this.extra) {
            match one.read(&this.hub, &mut this.mark, None, cx.waker()) {
                Read::Events(events, left) => {
                    this.left = left;
                    this.has_id = true;
                    return Poll::Ready(Some(events));
                }
                Read::Nothing(left) => {
                    this.left = left;
                    return Poll::Pending;
                }
                _ => {}
            }
        }
        this.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let wakers = match &mut self.places {
            Places::One(one) => one.leave(&self.hub),
            Places::Many(many) => many.leave(&self.hub),
        };
        self.hub.metrics.left();
        self.hub.metrics.holds(self.hub.memory.bytes());
        wake_all(wakers);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("after", &self.mark.after)
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
