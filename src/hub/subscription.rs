//! One subscription to some topics of a hub.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;

use super::{
    encoded_events::EncodedEvents,
    handle::SubscriptionHandle,
    on_lag::OnLag,
    places::Places,
    progress::{Progress, Stage},
    read::{Left, Read},
    shared::Shared,
};
use crate::{request::LastEventId, wake::wake_all};

/// A stream of the events that are published to some topics, returned by
/// [`Hub::subscribe`](crate::Hub::subscribe). Pass it to [`Sse::new`](crate::Sse::new).
///
/// It yields each event exactly once, in order. It starts with the next event that is published,
/// or with the first one [`after`](Self::after) a client's last event ID. If events are no longer
/// available, it yields a reset event instead, as [`OnLag`] and
/// [`ResetReason`](super::ResetReason) describe.
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
pub struct Subscription(Progress);

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
        let (progress, wakers) = Progress::join(hub, &names);
        let subscription = Self(progress);
        wake_all(wakers); // if one of them panics, the seats are given up
        subscription
    }

    /// Starts after the last event ID that a client sent. An empty id has no effect.
    ///
    /// An id that is not a [`Position`](super::Position) of this hub causes a reset with
    /// [`ResetReason::Unknown`](super::ResetReason::Unknown). An id that the history no longer reaches
    /// back to causes one with [`ResetReason::Expired`](super::ResetReason::Expired). With
    /// [`OnLag::Latest`], the newest events replace the reset.
    pub fn after(mut self, last: LastEventId) -> Self {
        if !last.is_empty() {
            self.0.start_after(&last);
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
        self.0.start_before_last(events);
        self
    }

    /// Starts with the first event of each topic, if the client sent no last event ID.
    ///
    /// If the history of a topic no longer reaches back to its first event, the subscription yields
    /// a reset with [`ResetReason::Expired`](super::ResetReason::Expired) instead. This includes a topic
    /// whose events were all dropped for their age or for memory while nobody was subscribed: the hub
    /// remembers up to 16,384 of them. A topic that was [removed](crate::Hub::remove) is a new topic
    /// afterwards. A [`DistributedHub`](crate::hub::DistributedHub) starts with the first event that its
    /// log had when the server started.
    ///
    /// With a last event ID, [`after`](Self::after) takes precedence, in whatever order both are
    /// called. Use it for a stream with a beginning and an [end](crate::Hub::finish), if clients may
    /// reload at any time.
    pub fn from_start(mut self) -> Self {
        self.0.start_before_first();
        self
    }

    /// Sets what happens if the subscription lags. By default [`OnLag::Reset`].
    pub fn on_lag(mut self, on_lag: OnLag) -> Self {
        self.0.on_lag = on_lag;
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
        self.0.yield_latest_every(interval);
        self
    }

    /// Returns a handle that adds and removes topics while the subscription is streamed. Call it
    /// before the subscription is passed to [`Sse::new`](crate::Sse::new).
    ///
    /// From then on the subscription does not end when its topics are finished or disconnected, because
    /// it may get others. It ends when the hub is closed, or if it lags with [`OnLag::Disconnect`].
    pub fn handle(&mut self) -> SubscriptionHandle {
        self.0.handle()
    }

    /// Returns `true` if there is nothing to stream: all topics are finished, and their histories were
    /// dropped. Pass the result to [`Sse::stop_if`](crate::Sse::stop_if), which answers with `204`, so
    /// that an `EventSource` does not reconnect. A subscription without topics is never over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.places.are_over(&self.0.hub)
    }
}

impl Stream for Subscription {
    type Item = EncodedEvents;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<EncodedEvents>> {
        let this = &mut self.0;
        // A body polls again right after it has read everything. That poll needs no lock.
        if this.left.is_some() && this.left == Some(Left::new(cx.waker(), this.places.version())) {
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
        let Progress { hub, places, .. } = &mut self.0;
        let wakers = places.leave(hub);
        hub.metrics.left();
        hub.metrics.holds(hub.memory.bytes());
        wake_all(wakers);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("after", &self.0.mark.after)
            .field("on_lag", &self.0.on_lag)
            .field("stage", &self.0.stage)
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
