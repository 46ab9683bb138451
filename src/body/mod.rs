//! The one poll loop: items in, frames out.

mod deadlines;
mod jitter;
mod keep_alive;
mod last_frame;
mod options;
mod timer;

use std::{
    any::Any,
    convert::Infallible,
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

pub use self::keep_alive::KeepAlive;
pub(crate) use self::options::Callback;
use self::{
    deadlines::{Deadlines, IdleTimer},
    last_frame::LastFrame,
    options::Options,
    timer::Timer,
};
use crate::{
    connections::{CloseReason, CloseReport, Counts, Order, Permit},
    wire::{Encode, Event, OPENING, Output, Retry, encode_to},
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
        progress: Progress<ErrorOf<S>>,
        extras: Option<Box<Extras<ErrorOf<S>>>>,
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
            let reason = match *this.progress {
                Progress::New => CloseReason::End,
                Progress::Failing(_) | Progress::Panicking => CloseReason::Error,
                Progress::Ending(reason) if this.output.is_empty() => reason,
                Progress::Open | Progress::Ending(_) | Progress::Closed => CloseReason::ClientGone,
            };
            let mut closing = Closing { body: this, reason };
            closing.body.source.set(None);
        }
    }
}

/// Why a body of `S` fails.
type ErrorOf<S> = <<S as Stream>::Item as Encode>::Error;

/// The parts of a body that most streams do not need. They have a box of their own because an idle
/// stream should be small.
struct Extras<E> {
    options: Options<E>,
    deadlines: Deadlines,
    /// The last frame before an error or a panic.
    last_frame: Option<LastFrame>,
    /// The panic of the source or of a callback.
    panic: Option<Mutex<Panic>>,
}

/// The payload of a panic.
type Panic = Box<dyn Any + Send>;

/// How far a body has come.
enum Progress<E> {
    /// Before the first poll.
    New,
    Open,
    /// Nothing more is read from the source; what is in the output leaves, then the body ends.
    Ending(CloseReason),
    /// The same, with an error at the end.
    Failing(E),
    /// The same, with the panic of [`Extras`] at the end.
    Panicking,
    Closed,
}

/// Why reading from the source stopped.
enum Stopped<E> {
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
        body.progress = Progress::New;
        body.set_keep_alive(Some(KeepAlive::new()));
        body
    }

    /// Ends the stream before it has begun, for a response without a body.
    pub(crate) fn skip(&mut self) {
        self.source = None;
        self.progress = Progress::Ending(CloseReason::End);
    }

    /// Does the same for a response to `HEAD`.
    pub(crate) fn skip_for_head(&mut self) {
        self.skip();
        #[cfg(feature = "actix-web")]
        {
            self.options().is_head = true;
        }
    }

    /// Returns whether the stream is omitted because the method is `HEAD`.
    #[cfg(feature = "actix-web")]
    pub(crate) fn is_head(&self) -> bool {
        self.extras
            .as_ref()
            .is_some_and(|extras| extras.options.is_head)
    }

    pub(crate) fn options(&mut self) -> &mut Options<ErrorOf<S>> {
        &mut self.extras.get_or_insert_default().options
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
        if matches!(this.progress, Progress::New) {
            this.open();
        }
        if matches!(this.progress, Progress::Open) && !this.output.has_chunks() {
            ready!(this.poll_fill(cx));
        }
        if matches!(this.progress, Progress::Open) {
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
        *self.progress = Progress::Open;
        self.output.push(OPENING);
        let (retry, max_age) = match self.extras {
            Some(extras) => (extras.options.retry, extras.options.max_age),
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
        let told = self.ordered(cx).or_else(|| self.ended(Instant::now));
        if let Some(reason) = told {
            self.end(reason);
            return Poll::Ready(());
        }
        match self.poll_source(cx) {
            Stopped::Pending => {}
            Stopped::Full => return Poll::Ready(()),
            Stopped::Ended => {
                self.end(CloseReason::End);
                return Poll::Ready(());
            }
            Stopped::Failed(error) => {
                self.fail(error);
                return Poll::Ready(());
            }
            Stopped::Panicked(panic) => {
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
            if let Some(reason) = self.ended(|| now) {
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
            Order::Close => Some(CloseReason::ByServer),
        }
    }

    /// Ends the stream at this time, unless it ends earlier or the clock does not reach that far.
    fn end_at(&mut self, at: Option<Instant>, reason: CloseReason) {
        if let Some(at) = at {
            let extras = self.extras.get_or_insert_default();
            extras.deadlines.end_at(at, reason);
        }
    }

    /// Returns the reason for which the stream ends now, if its time is over. The clock is read only
    /// if the stream has an end.
    fn ended(&self, now: impl FnOnce() -> Instant) -> Option<CloseReason> {
        let deadlines = &self.extras.as_ref()?.deadlines;
        if deadlines.has_end() {
            deadlines.ended(now())
        } else {
            None
        }
    }

    /// Encodes what is ready.
    #[inline]
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Stopped<ErrorOf<S>> {
        /// How many items in a row may come to nothing before others have their turn.
        const MAX_EMPTY: u32 = 1024;

        let Some(mut source) = self.source.as_mut().as_pin_mut() else {
            return Stopped::Ended;
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
                        Err(error) => return Stopped::Failed(error),
                    },
                    Poll::Ready(None) => return Stopped::Ended,
                    Poll::Pending => return Stopped::Pending,
                }
                let waiting = output.waiting();
                if waiting == before {
                    empty += 1;
                    if empty == MAX_EMPTY {
                        cx.waker().wake_by_ref();
                        return Stopped::Pending;
                    }
                }
                before = waiting;
            }
            Stopped::Full
        }));
        polled.unwrap_or_else(|panic| {
            self.output.truncate(before);
            Stopped::Panicked(panic)
        })
    }

    /// Returns whether the output is held back so that more events join it.
    fn lingers(&mut self) -> bool {
        let Some(extras) = self.extras.as_mut() else {
            return false;
        };
        let Some(linger) = extras.options.linger else {
            return false;
        };
        // The opening must not wait, nor the rest of an event that has begun to leave.
        if *self.bytes == 0 || self.output.is_torn() {
            return false;
        }
        extras.deadlines.hold_batch(Instant::now(), linger);
        true
    }

    /// Returns the first time at which the body acts without its source.
    fn deadline(&self) -> Option<Instant> {
        let idle = self.idle.as_ref().and_then(IdleTimer::due);
        let Some(extras) = &self.extras else {
            return idle;
        };
        [idle, extras.deadlines.next()].into_iter().flatten().min()
    }

    fn is_failing(&self) -> bool {
        matches!(self.progress, Progress::Failing(_) | Progress::Panicking)
    }

    /// Waits until the connection has written the frame before an error or a panic. On failure hyper
    /// discards unwritten bytes, and on HTTP/2 the headers too.
    #[cold]
    fn poll_last_frame(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let extras = self.extras.get_or_insert_default();
        let Some(last_frame) = &mut extras.last_frame else {
            // The last frame left before the failure, untracked. A comment follows it and is tracked.
            self.output.push(OPENING);
            return Poll::Ready(());
        };
        ready!(last_frame.poll_turn(cx));
        if last_frame.poll_dropped(cx).is_ready() {
            return Poll::Ready(());
        }
        let drained_at = match self.permit.as_ref().map(|permit| permit.order(cx.waker())) {
            None | Some(Order::GoOn) => None,
            Some(Order::Drain) => self.permit.as_ref().and_then(Permit::drained_at),
            Some(Order::Shutdown | Order::Close) => return Poll::Ready(()),
        };
        if !Timer::has_runtime() {
            return Poll::Ready(()); // and without a clock, on some systems
        }
        let until = extras.deadlines.failure(Instant::now(), drained_at);
        self.timer.poll_or_ready(cx, until).map(drop)
    }

    fn end(&mut self, reason: CloseReason) {
        self.take_option(|options| options.break_off_with.take());
        match reason {
            CloseReason::End => {
                if let Some(event) = self.take_option(|options| options.end_with.take()) {
                    self.write_event(event);
                }
            }
            CloseReason::MaxAge | CloseReason::Shutdown | CloseReason::ByServer => {
                let permit = self.permit.as_ref();
                let window = permit.and_then(Permit::reconnect_within);
                let goodbye = permit.and_then(Permit::goodbye);
                let own_window = self.take_option(|options| options.reconnect_within);
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
        *self.progress = Progress::Ending(reason);
        self.drop_source();
    }

    fn fail(&mut self, error: ErrorOf<S>) {
        match self.take_option(|options| options.on_error.take()) {
            None => {
                self.write_break_off();
                *self.progress = Progress::Failing(error);
            }
            Some(on_error) => match catch_unwind(AssertUnwindSafe(|| on_error.call(error))) {
                Ok(event) => {
                    self.take_option(|options| options.break_off_with.take());
                    self.write_event(event);
                    *self.progress = Progress::Ending(CloseReason::Error);
                }
                Err(panic) => self.set_panicking(panic),
            },
        }
        self.drop_source();
    }

    #[cold]
    fn write_break_off(&mut self) {
        if let Some(event) = self.take_option(|options| options.break_off_with.take()) {
            self.write_event(event);
        }
    }

    #[cold]
    fn set_panicking(&mut self, panic: Panic) {
        self.write_break_off();
        self.extras.get_or_insert_default().panic = Some(Mutex::new(panic));
        *self.progress = Progress::Panicking;
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
            return Poll::Ready(Some(Ok(match *self.progress {
                Progress::Ending(reason) if is_last => {
                    // A panic of `on_close` must not cost the client the last frame.
                    match catch_unwind(AssertUnwindSafe(|| self.close(reason))) {
                        Ok(()) => frame,
                        Err(panic) => {
                            self.set_panicking(panic);
                            self.track(frame)
                        }
                    }
                }
                Progress::Failing(_) | Progress::Panicking if is_last => self.track(frame),
                _ => frame,
            })));
        }
        Poll::Ready(match mem::replace(self.progress, Progress::Closed) {
            Progress::Failing(error) => {
                self.close(CloseReason::Error);
                Some(Err(error))
            }
            Progress::Panicking => {
                let panic = self.extras.as_mut().and_then(|extras| extras.panic.take());
                self.close(CloseReason::Error);
                let panic = panic.map(|panic| panic.into_inner());
                resume_unwind(match panic {
                    Some(panic) => panic.unwrap_or_else(PoisonError::into_inner),
                    None => Box::new("the source panicked"),
                })
            }
            Progress::Ending(reason) => {
                self.close(reason);
                None
            }
            Progress::New | Progress::Open | Progress::Closed => None,
        })
    }

    /// Counts a frame of this many bytes as sent.
    fn count(&mut self, bytes: usize) {
        *self.bytes += bytes as u64;
        if let Some(extras) = self.extras.as_mut() {
            extras.deadlines.end_batch();
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
        let (frame, last_frame) = LastFrame::track(frame);
        self.extras.get_or_insert_default().last_frame = Some(last_frame);
        frame
    }

    /// Takes an option, if one was set.
    fn take_option<T>(
        &mut self,
        take: impl FnOnce(&mut Options<ErrorOf<S>>) -> Option<T>,
    ) -> Option<T> {
        let extras = self.extras.as_mut()?;
        take(&mut extras.options)
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
        *self.progress = Progress::Closed;
        if let Some(permit) = self.permit.take() {
            permit.close(reason, self.counts());
        }
        let on_close = self.take_option(|options| options.on_close.take());
        if let Some(on_close) = on_close {
            on_close.call(CloseReport {
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
            progress: Progress::Ending(CloseReason::End),
            extras: None,
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
        match self.progress {
            Progress::Ending(_) => self.output.is_empty(),
            Progress::New | Progress::Open | Progress::Failing(_) | Progress::Panicking => false,
            Progress::Closed => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        let waiting = self.output.len() as u64;
        match self.progress {
            Progress::Ending(_) | Progress::Closed => hint.set_exact(waiting),
            Progress::New | Progress::Open | Progress::Failing(_) | Progress::Panicking => {
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

impl<E> Default for Extras<E> {
    fn default() -> Self {
        Self {
            options: Options::default(),
            deadlines: Deadlines::default(),
            last_frame: None,
            panic: None,
        }
    }
}
