//! The one poll loop: items in, frames out.

use std::{
    any::Any,
    convert::Infallible,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    close::{CloseReason, Closed},
    connections::{Order, Permit},
    encode::{Encode, OPENING, encode_to},
    encoded_event::EncodedEvent,
    event::Event,
    jitter,
    keep_alive::{IdleTimer, KeepAlive},
    output::Output,
    retry::Retry,
    telemetry::Counts,
    timer::Timer,
    written::Written,
};

pin_project! {
    /// A stream of items as the bytes of an event stream, made by [`Sse`](crate::Sse).
    ///
    /// It is an [`http_body::Body`], and a [`Stream`] of the same frames. One poll takes every
    /// item that is ready, encodes it behind the last, and yields one frame when the source is
    /// pending or the frame holds 32 KiB. What each poll yields:
    ///
    /// - **first** a frame that opens the stream with a comment, with whatever is ready behind it;
    /// - **a frame** of whole events; a large one (64 KiB) may be spread over several frames;
    /// - **a keep-alive** when nothing was sent for an interval;
    /// - **an error**, once, if the source fails or an item cannot be encoded. A frame precedes it:
    ///   the events encoded already, or an empty comment. The error waits until the connection has
    ///   dropped that frame, because hyper discards unwritten bytes when a body fails. It waits at
    ///   most 10 s, or until the server ends the stream. Without a tokio runtime it waits one turn;
    /// - **a panic** of the source, of an item or of [`Sse::on_error`](crate::Sse::on_error),
    ///   once, in the same way;
    /// - **nothing more** after the end, the error or the panic, however often it is polled.
    ///   `is_end_stream` is true from the last frame on.
    ///
    /// The source is dropped when the end is reached, or with the body. Dropping the body is all
    /// that there is to cleaning up.
    #[project = Projection]
    #[must_use = "a body does nothing until it is polled"]
    pub struct SseBody<S>
    where
        S: Stream,
        S::Item: Encode,
    {
        // `None` from the end on.
        #[pin]
        source: Option<S>,
        state: State<ErrorOf<S>>,
        rare: Option<Box<Rare<ErrorOf<S>>>>,
        output: Output,
        idle: Option<IdleTimer>,
        timer: Timer,
        permit: Option<Permit>,
        events: u64,
        bytes: u64,
        keep_alives: u64,
    }

    impl<S> PinnedDrop for SseBody<S>
    where
        S: Stream,
        S::Item: Encode,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let reason = match *this.state {
                State::New => CloseReason::End,
                State::Failing(_) | State::Panicking => CloseReason::Error,
                State::Ending(reason) if this.output.is_empty() => reason,
                State::Open | State::Ending(_) | State::Closed => CloseReason::ClientGone,
            };
            let mut closing = Closing { body: this, reason };
            closing.body.source.set(None);
        }
    }
}

/// Why a body of `S` fails.
type ErrorOf<S> = <<S as Stream>::Item as Encode>::Error;

/// What a body is asked to do beyond sending items, and the times that come of it. Most are asked
/// for none of this, and an idle stream should be small.
pub(crate) struct Rare<E> {
    pub(crate) retry: Option<Retry>,
    pub(crate) linger: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) reconnect_within: Option<Duration>,
    pub(crate) end_with: Option<EncodedEvent>,
    pub(crate) break_off_with: Option<EncodedEvent>,
    pub(crate) on_error: Option<Callback<E, Event>>,
    pub(crate) on_close: Option<Callback<Closed, ()>>,
    /// The method is `HEAD`: the response has no stream.
    is_head: bool,
    /// The end of the batch that is held back.
    linger_until: Option<Instant>,
    /// When the stream is to end, and why: its age, or that of the server's patience.
    ends_at: Option<(Instant, CloseReason)>,
    /// The last frame before an error or a panic.
    last_frame: Option<LastFrame>,
    /// The panic of the source or of a callback.
    panic: Option<Mutex<Panic>>,
}

/// A user's closure, called at most once. The mutex makes the body `Sync`, and is never contended.
pub(crate) struct Callback<T, R>(Mutex<Box<dyn FnOnce(T) -> R + Send>>);

impl<T, R> Callback<T, R> {
    pub(crate) fn new(call: impl FnOnce(T) -> R + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(call)))
    }

    fn call(self, argument: T) -> R {
        let call = self.0.into_inner();
        call.unwrap_or_else(PoisonError::into_inner)(argument)
    }
}

/// The payload of a panic.
type Panic = Box<dyn Any + Send>;

/// The last frame before an error or a panic, and what is known of it.
struct LastFrame {
    written: Written,
    /// The time at which the error stops waiting for the frame.
    until: Option<Instant>,
    /// The connection has had a turn since it took the frame. hyper on HTTP/1.1 may copy a frame
    /// and drop it before it writes the copy, which it does in that turn.
    had_turn: bool,
}

enum State<E> {
    /// Before the first poll.
    New,
    Open,
    /// Nothing more is read from the source; what is in the output leaves, then the body ends.
    Ending(CloseReason),
    /// The same, with an error at the end.
    Failing(E),
    /// The same, with the panic of [`Rare`] at the end.
    Panicking,
    Closed,
}

/// Why no more was taken from the source.
enum Source<E> {
    Pending,
    /// The frame is full.
    Full,
    Ended,
    /// It failed, or its item did.
    Failed(E),
    Panicked(Panic),
}

/// A body being dropped. It is closed after its source, even if the source's drop panics.
struct Closing<'a, S>
where
    S: Stream,
    S::Item: Encode,
{
    body: Projection<'a, S>,
    reason: CloseReason,
}

impl<S> Drop for Closing<'_, S>
where
    S: Stream,
    S::Item: Encode,
{
    fn drop(&mut self) {
        self.body.close(self.reason);
    }
}

impl<S> SseBody<S>
where
    S: Stream,
    S::Item: Encode,
{
    pub(crate) fn new(source: S) -> Self {
        let mut body = Self::default();
        body.source = Some(source);
        body.state = State::New;
        body.set_keep_alive(Some(KeepAlive::new()));
        body
    }

    /// Ends the stream before it has begun, for a response without a body.
    pub(crate) fn skip(&mut self) {
        self.source = None;
        self.state = State::Ending(CloseReason::End);
        self.options().is_head = true;
    }

    /// Returns whether the stream is omitted because the method is `HEAD`.
    #[allow(dead_code, reason = "only one framework asks")]
    pub(crate) fn is_head(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_head)
    }

    pub(crate) fn options(&mut self) -> &mut Rare<ErrorOf<S>> {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn set_permit(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    pub(crate) fn set_keep_alive(&mut self, keep_alive: Option<KeepAlive>) {
        self.idle = keep_alive.map(IdleTimer::new);
    }

    fn poll_bytes(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, ErrorOf<S>>>> {
        let mut this = self.project();
        if matches!(this.state, State::New) {
            this.open();
        }
        if matches!(this.state, State::Open) && !this.output.has_chunks() {
            ready!(this.poll_fill(cx));
        }
        if matches!(this.state, State::Open) {
            let frame = this.output.pop();
            if let Some(frame) = &frame {
                this.count(frame.len());
            }
            return Poll::Ready(frame.map(Ok));
        }
        this.poll_end(cx)
    }
}

impl<S> Projection<'_, S>
where
    S: Stream,
    S::Item: Encode,
{
    fn open(&mut self) {
        *self.state = State::Open;
        self.output.push(OPENING);
        let (retry, max_age) = match self.rare {
            Some(rare) => (rare.retry, rare.max_age),
            None => (None, None),
        };
        if let Some(retry) = retry {
            self.write_event(Event::new().retry(retry));
        }
        if let Some(max_age) = max_age {
            // Up to a tenth sooner, so that streams that began together do not end together.
            let max_age = max_age - jitter::up_to(max_age / 10);
            self.end_at(Instant::now().checked_add(max_age), CloseReason::MaxAge);
        }
    }

    /// Ready when there is something to hand over, or the stream is no longer open.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // What ends the stream comes first: a source that is always ready must not outlive it.
        let told = self.ordered(cx).or_else(|| self.is_over(Instant::now));
        if let Some(reason) = told {
            self.end(reason);
            return Poll::Ready(());
        }
        match self.poll_source(cx) {
            Source::Pending => {}
            Source::Full => return Poll::Ready(()),
            Source::Ended => {
                self.end(CloseReason::End);
                return Poll::Ready(());
            }
            Source::Failed(error) => {
                self.fail(error);
                return Poll::Ready(());
            }
            Source::Panicked(panic) => {
                self.set_panicking(panic);
                self.drop_source();
                return Poll::Ready(());
            }
        }
        loop {
            if !self.output.is_empty() && !self.lingers() {
                return Poll::Ready(());
            }
            if self.output.is_empty() {
                match self.idle {
                    Some(_) => self.output.trim_spent(),
                    None => self.output.release(),
                }
            }
            let Some(deadline) = self.deadline() else {
                return Poll::Pending;
            };
            let now = ready!(self.timer.poll(cx, deadline));
            if let Some(reason) = self.is_over(|| now) {
                self.end(reason);
                return Poll::Ready(());
            }
            if !self.output.is_empty() {
                return Poll::Ready(()); // what lingered
            }
            if let Some(keep_alive) = self.idle.as_ref().and_then(|idle| idle.keep_alive(now)) {
                self.output.release();
                self.output.push(keep_alive);
                *self.keep_alives += 1;
            }
        }
    }

    /// Why the server wants the stream to end, if it does.
    fn ordered(&mut self, cx: &Context<'_>) -> Option<CloseReason> {
        let permit = self.permit.as_ref()?;
        match permit.order(cx.waker()) {
            Order::GoOn => None,
            Order::Drain => {
                let until = permit.drained_at();
                self.end_at(until, CloseReason::Shutdown);
                None
            }
            Order::Shutdown => Some(CloseReason::Shutdown),
            Order::Close => Some(CloseReason::Closed),
        }
    }

    /// Sets when the stream is to end, unless it is to end before.
    fn end_at(&mut self, at: Option<Instant>, reason: CloseReason) {
        let before = self.ends_at();
        if let Some(at) = at.filter(|at| before.is_none_or(|(before, _)| *at < before)) {
            self.rare.get_or_insert_default().ends_at = Some((at, reason));
        }
    }

    fn ends_at(&self) -> Option<(Instant, CloseReason)> {
        self.rare.as_ref().and_then(|rare| rare.ends_at)
    }

    /// Why the time of the stream is over, if it is. The clock is read only if it has a time.
    fn is_over(&self, now: impl FnOnce() -> Instant) -> Option<CloseReason> {
        let (at, reason) = self.ends_at()?;
        (at <= now()).then_some(reason)
    }

    /// Encodes what is ready.
    #[inline]
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Source<ErrorOf<S>> {
        /// How many items in a row may come to nothing before others have their turn.
        const MAX_EMPTY: u32 = 1024;

        let Some(mut source) = self.source.as_mut().as_pin_mut() else {
            return Source::Ended;
        };
        let _entered = self.permit.as_ref().map(|permit| permit.trace().enter());
        let mut before = self.output.waiting();
        let (output, events) = (&mut *self.output, &mut *self.events);
        // Bytes encoded before a panic are sent first, as before an error.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let mut empty = 0;
            while !output.is_full() {
                // One match, so that an item is not copied from one place to the next.
                match source.as_mut().poll_next(cx) {
                    Poll::Ready(Some(item)) => match encode_to(output, item) {
                        Ok(encoded) => *events += encoded,
                        Err(error) => return Source::Failed(error),
                    },
                    Poll::Ready(None) => return Source::Ended,
                    Poll::Pending => return Source::Pending,
                }
                let waiting = output.waiting();
                if waiting == before {
                    empty += 1;
                    if empty == MAX_EMPTY {
                        cx.waker().wake_by_ref();
                        return Source::Pending;
                    }
                }
                before = waiting;
            }
            Source::Full
        }));
        polled.unwrap_or_else(|panic| {
            self.output.truncate(before);
            Source::Panicked(panic)
        })
    }

    /// Whether what is in the output is held back for more to join it.
    fn lingers(&mut self) -> bool {
        let Some(rare) = self.rare.as_mut() else {
            return false;
        };
        let Some(linger) = rare.linger else {
            return false;
        };
        // The opening must not wait, nor the rest of an event that has begun to leave.
        if *self.bytes == 0 || self.output.is_torn() {
            return false;
        }
        if rare.linger_until.is_none() {
            rare.linger_until = Instant::now().checked_add(linger);
        }
        true
    }

    /// When there is something to do, though nothing comes from the source.
    fn deadline(&self) -> Option<Instant> {
        let idle = self.idle.as_ref().and_then(IdleTimer::due);
        let Some(rare) = &self.rare else {
            return idle;
        };
        let ends_at = rare.ends_at.map(|(at, _)| at);
        [idle, rare.linger_until, ends_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn is_failing(&self) -> bool {
        matches!(self.state, State::Failing(_) | State::Panicking)
    }

    /// Waits until the connection has written the frame before an error or a panic. On failure hyper
    /// discards unwritten bytes, and on HTTP/2 the headers too.
    #[cold]
    fn poll_last_frame(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        const PATIENCE: Duration = Duration::from_secs(10);

        let rare = self.rare.get_or_insert_default();
        let Some(last) = &mut rare.last_frame else {
            // The last frame left before the failure, untracked. A comment follows it and is tracked.
            self.output.push(OPENING);
            return Poll::Ready(());
        };
        if !mem::replace(&mut last.had_turn, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if last.written.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut until = *last.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        match self.permit.as_ref().map(|permit| permit.order(cx.waker())) {
            None | Some(Order::GoOn) => {}
            Some(Order::Drain) => {
                let drained = self.permit.as_ref().and_then(Permit::drained_at);
                until = drained.map_or(until, |drained| drained.min(until));
            }
            Some(Order::Shutdown | Order::Close) => return Poll::Ready(()),
        }
        self.timer.poll_or_ready(cx, until).map(drop)
    }

    fn end(&mut self, reason: CloseReason) {
        match reason {
            CloseReason::End => {
                if let Some(event) = self.rare.as_mut().and_then(|rare| rare.end_with.take()) {
                    self.write_event(event);
                }
            }
            CloseReason::MaxAge | CloseReason::Shutdown | CloseReason::Closed => {
                let permit = self.permit.as_ref();
                let window = permit.and_then(Permit::reconnect_within);
                let goodbye = permit.and_then(Permit::goodbye);
                let own_window = self.rare.as_ref().and_then(|rare| rare.reconnect_within);
                if let Some(window) = window.or(own_window) {
                    let retry = Retry::saturating(jitter::up_to(window));
                    self.write_event(Event::new().retry(retry));
                }
                if let Some(goodbye) = goodbye.filter(|_| reason == CloseReason::Shutdown) {
                    self.write_event(goodbye);
                }
            }
            CloseReason::Error | CloseReason::ClientGone => {}
        }
        *self.state = State::Ending(reason);
        self.drop_source();
    }

    fn fail(&mut self, error: ErrorOf<S>) {
        match self.rare.as_mut().and_then(|rare| rare.on_error.take()) {
            None => {
                self.write_break_off();
                *self.state = State::Failing(error);
            }
            Some(on_error) => match catch_unwind(AssertUnwindSafe(|| on_error.call(error))) {
                Ok(event) => {
                    self.write_event(event);
                    *self.state = State::Ending(CloseReason::Error);
                }
                Err(panic) => self.set_panicking(panic),
            },
        }
        self.drop_source();
    }

    #[cold]
    fn write_break_off(&mut self) {
        let rare = self.rare.as_mut();
        if let Some(event) = rare.and_then(|rare| rare.break_off_with.take()) {
            self.write_event(event);
        }
    }

    #[cold]
    fn set_panicking(&mut self, panic: Panic) {
        self.write_break_off();
        self.rare.get_or_insert_default().panic = Some(Mutex::new(panic));
        *self.state = State::Panicking;
    }

    fn drop_source(&mut self) {
        let dropped = catch_unwind(AssertUnwindSafe(|| self.source.set(None)));
        if let Err(panic) = dropped {
            self.set_panicking(panic);
        }
    }

    #[cold]
    fn write_event(&mut self, event: impl Encode<Error = Infallible>) {
        let Ok(events) = encode_to(self.output, event);
        *self.events += events;
    }

    /// Yields what is left in the output, then the end, the error or the panic.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ErrorOf<S>>>> {
        if self.is_failing() && self.output.is_empty() {
            ready!(self.poll_last_frame(cx));
        }
        if let Some(frame) = self.output.pop_rest() {
            self.count(frame.len());
            let is_last = self.output.is_empty();
            return Poll::Ready(Some(Ok(match *self.state {
                State::Ending(reason) if is_last => {
                    self.close(reason);
                    frame
                }
                State::Failing(_) | State::Panicking if is_last => self.track(frame),
                _ => frame,
            })));
        }
        Poll::Ready(match mem::replace(self.state, State::Closed) {
            State::Failing(error) => {
                self.close(CloseReason::Error);
                Some(Err(error))
            }
            State::Panicking => {
                let panic = self.rare.as_mut().and_then(|rare| rare.panic.take());
                self.close(CloseReason::Error);
                let panic = panic.map(|panic| panic.into_inner());
                resume_unwind(match panic {
                    Some(panic) => panic.unwrap_or_else(PoisonError::into_inner),
                    None => Box::new("the source panicked"),
                })
            }
            State::Ending(reason) => {
                self.close(reason);
                None
            }
            State::New | State::Open | State::Closed => None,
        })
    }

    /// Counts a frame of this many bytes as sent.
    fn count(&mut self, bytes: usize) {
        *self.bytes += bytes as u64;
        if let Some(rare) = self.rare.as_mut() {
            rare.linger_until = None;
        }
        if self.idle.is_some() || self.permit.is_some() {
            let now = Instant::now();
            if let Some(idle) = self.idle {
                idle.restart(now);
            }
            if let Some(permit) = self.permit.as_ref() {
                permit.sent(self.counts(), now);
            }
        }
    }

    /// Makes this the frame that an error or a panic waits for.
    #[cold]
    fn track(&mut self, frame: Bytes) -> Bytes {
        let (frame, written) = Written::track(frame);
        self.rare.get_or_insert_default().last_frame = Some(LastFrame {
            written,
            until: None,
            had_turn: false,
        });
        frame
    }

    fn counts(&self) -> Counts {
        Counts {
            events: *self.events,
            bytes: *self.bytes,
            keep_alives: *self.keep_alives,
        }
    }

    /// Tells `on_close`, the first time.
    fn close(&mut self, reason: CloseReason) {
        *self.state = State::Closed;
        if let Some(permit) = self.permit.take() {
            permit.close(reason, self.counts());
        }
        let on_close = self.rare.as_mut().and_then(|rare| rare.on_close.take());
        if let Some(on_close) = on_close {
            on_close.call(Closed {
                reason,
                events: *self.events,
                bytes: *self.bytes,
                keep_alives: *self.keep_alives,
            });
        }
    }
}

/// An ended body, with no source and nothing in it: what a `204` has.
impl<S> Default for SseBody<S>
where
    S: Stream,
    S::Item: Encode,
{
    fn default() -> Self {
        Self {
            source: None,
            state: State::Ending(CloseReason::End),
            rare: None,
            output: Output::default(),
            idle: None,
            timer: Timer::default(),
            permit: None,
            events: 0,
            bytes: 0,
            keep_alives: 0,
        }
    }
}

impl<S> Body for SseBody<S>
where
    S: Stream,
    S::Item: Encode,
{
    type Data = Bytes;
    type Error = ErrorOf<S>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ErrorOf<S>>>> {
        self.poll_bytes(cx)
            .map(|item| item.map(|frame| frame.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Ending(_) => self.output.is_empty(),
            State::New | State::Open | State::Failing(_) | State::Panicking => false,
            State::Closed => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        let waiting = self.output.len() as u64;
        match self.state {
            State::Ending(_) | State::Closed => hint.set_exact(waiting),
            State::New | State::Open | State::Failing(_) | State::Panicking => {
                hint.set_lower(waiting);
            }
        }
        hint
    }
}

impl<S> Stream for SseBody<S>
where
    S: Stream,
    S::Item: Encode,
{
    type Item = Result<Bytes, ErrorOf<S>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_bytes(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.is_end_stream() {
            (0, Some(0))
        } else {
            (0, None)
        }
    }
}

impl<S> fmt::Debug for SseBody<S>
where
    S: Stream,
    S::Item: Encode,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseBody")
            .field("events", &self.events)
            .field("bytes", &self.bytes)
            .field("keep_alives", &self.keep_alives)
            .field("closed", &self.is_end_stream())
            .finish_non_exhaustive()
    }
}

impl<E> Default for Rare<E> {
    fn default() -> Self {
        Self {
            retry: None,
            linger: None,
            max_age: None,
            reconnect_within: None,
            end_with: None,
            break_off_with: None,
            on_error: None,
            on_close: None,
            is_head: false,
            linger_until: None,
            ends_at: None,
            last_frame: None,
            panic: None,
        }
    }
}
