//! The one poll loop: items in, frames out.
//!
//! It is a single state machine, and therefore longer than other files.

use std::{
    convert::Infallible,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::{
    account::Account,
    deadlines::{Deadlines, IdleTimer},
    jitter,
    last_frame::LastFrame,
    options::Options,
    read::{Panic, Stopped, read},
    timer::Timer,
};
use crate::{
    connections::{CloseReason, Order, Permit},
    wire::{Encode, EndEarly, Event, OPENING, Output, Retry, encode_to},
};

pin_project! {
    /// The body of an event stream: the encoded items of a source, made by [`Sse`](crate::Sse).
    ///
    /// It is an [`http_body::Body`], and a [`Stream`] of the same frames as [`Bytes`]. Each poll
    /// encodes items into one frame until the source is pending or the frame holds 32 KiB.
    /// [`Sse::linger`](crate::Sse::linger) can delay a frame so that it holds more events.
    ///
    /// The polls yield:
    ///
    /// - **The opening**: a frame that begins with an empty comment (`:` and LF), followed by the
    ///   items that are ready.
    /// - **Frames** of whole events. An event of 64 KiB or more can be spread over several frames.
    /// - **Keep-alives**, if nothing was sent for the interval of [`KeepAlive`].
    /// - **The end**: `None`, or first an error or a panic. Every later poll yields `None`.
    ///
    /// The body of [`Sse::stop`](crate::Sse::stop) has already ended, and yields only `None`.
    /// `is_end_stream` returns `true` after the end. It returns `true` after the last frame too, if
    /// the end was already known when that frame was yielded.
    ///
    /// # Failure
    ///
    /// The body yields an error once if the source fails or an item cannot be encoded. If
    /// [`Sse::on_error`](crate::Sse::on_error) is set, the body ends with the event of `on_error`
    /// instead.
    ///
    /// A panic of the source, of its drop, of an item or of `on_error` is handled as an error is.
    /// It is caught, and a later poll resumes it. `on_error` is not called for a panic. With
    /// `panic = "abort"`, nothing is caught.
    ///
    /// A failure is reported in these steps:
    ///
    /// 1. The events that are already encoded are sent.
    /// 2. The event of [`Sse::break_off_with`](crate::Sse::break_off_with) is sent, if one is set.
    ///    It is not sent if only the drop of the source panics, after another end of the stream.
    /// 3. If neither left anything to send, an empty comment is sent.
    /// 4. The body waits until the connection has dropped the last frame, because hyper discards
    ///    unwritten bytes when a body fails. It waits at most 10 s, or until the server ends the
    ///    stream. Without a tokio runtime, it waits for only one more poll.
    /// 5. The body yields the error, or resumes the panic.
    ///
    /// # Drop
    ///
    /// The source is dropped when the stream ends or fails, or when the body is dropped. No other
    /// cleanup is needed.
    ///
    /// If the body is dropped before it has reported a failure, neither the error nor the panic is
    /// reported. The close reason is still [`CloseReason::Error`](crate::CloseReason::Error). If the
    /// drop of the body drops the source, a panic of the source's drop is not caught.
    ///
    /// # Traits
    ///
    /// The body is `Sync` if its source, its [`Permit`](crate::Permit) and its error are. A
    /// `Permit` always is. With a source that is not `Sync`, use `BodyExt::boxed_unsync` instead of
    /// `BodyExt::boxed`.
    ///
    /// It is both a `Body` and a `Stream`. A call of `collect` is therefore ambiguous if `BodyExt`
    /// and `StreamExt` are both in scope. Name the trait: `BodyExt::collect(body)`.
    #[project = Projection]
    #[must_use = "a body does nothing until it is polled"]
    pub struct SseBody<S>
    where
        S: Stream,
        S::Item: Encode,
    {
        // `None` once the stream has ended.
        #[pin]
        pub(super) source: Option<S>,
        pub(super) progress: Progress<ErrorOf<S>>,
        pub(super) extras: Option<Box<Extras<ErrorOf<S>>>>,
        pub(super) output: Output,
        pub(super) idle: Option<IdleTimer>,
        pub(super) timer: Timer,
        pub(super) account: Account,
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

/// The error of a body of `S`.
pub(super) type ErrorOf<S> = <<S as Stream>::Item as Encode>::Error;

/// The parts of a body that most streams do not need. They are boxed, because an idle stream should
/// be small.
pub(super) struct Extras<E> {
    pub(super) options: Options<E>,
    deadlines: Deadlines,
    /// The last frame before an error or a panic.
    last_frame: Option<LastFrame>,
    /// The panic of the source, of an item or of `on_error`.
    panic: Option<Mutex<Panic>>,
}

/// The state of a body.
pub(super) enum Progress<E> {
    /// Before the first poll.
    New,
    Open,
    /// The source is no longer read. The body sends the output, then ends.
    Ending(CloseReason),
    /// The source is no longer read. The body sends the output, then yields this error.
    Failing(E),
    /// The source is no longer read. The body sends the output, then resumes the panic in
    /// [`Extras`].
    Panicking,
    Closed,
}

/// A body that is being dropped. It is closed after the drop of its source, even if that panics.
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
    /// Polls the next frame.
    pub(super) fn poll_bytes(
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
        let Some(extras) = self.extras else {
            return;
        };
        let Options { retry, max_age, .. } = extras.options;
        let begin_with = extras.options.begin_with.take();
        if let Some(retry) = retry {
            self.write_event(Event::new().retry(retry));
        }
        if let Some(event) = begin_with {
            self.write_event(event);
        }
        if let Some(max_age) = max_age {
            // Up to a tenth earlier, so that streams that began together do not end together.
            let max_age = max_age - jitter::up_to(max_age / 10);
            self.end_at(Instant::now().checked_add(max_age), CloseReason::MaxAge);
        }
    }

    /// Waits until there is a frame to yield, or the stream is no longer open.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Checked before the source, because a source that is always ready must also be ended.
        let reason = self.poll_order(cx).or_else(|| self.ended(Instant::now));
        if let Some(reason) = reason {
            self.end(reason);
            return Poll::Ready(());
        }
        match self.read(cx) {
            Stopped::Pending => {}
            Stopped::Full => return Poll::Ready(()),
            Stopped::Ended => {
                self.end(match self.output.ends_early() {
                    None => CloseReason::End,
                    Some(EndEarly::Lagged) => CloseReason::Lagged,
                    Some(EndEarly::Failed) => CloseReason::Error,
                    Some(EndEarly::Closed) => CloseReason::ByServer,
                });
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
                return Poll::Ready(()); // the time of `linger` is over
            }
            if let Some(keep_alive) = self.idle.as_ref().and_then(|idle| idle.keep_alive(now)) {
                self.output.release();
                self.output.push(keep_alive);
                self.account.keep_alives += 1;
            }
        }
    }

    /// Registers the waker, and returns the reason if the server ends the stream now.
    fn poll_order(&mut self, cx: &Context<'_>) -> Option<CloseReason> {
        let permit = self.account.permit.as_ref()?;
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

    /// Sets the end of the stream, unless an earlier one is already set. `None` sets no end.
    fn end_at(&mut self, at: Option<Instant>, reason: CloseReason) {
        if let Some(at) = at {
            let extras = self.extras.get_or_insert_default();
            extras.deadlines.end_at(at, reason);
        }
    }

    /// Returns the reason for the end of the stream, if that time has come. The clock is read only
    /// if an end is set.
    fn ended(&self, now: impl FnOnce() -> Instant) -> Option<CloseReason> {
        let deadlines = &self.extras.as_ref()?.deadlines;
        if deadlines.has_end() {
            deadlines.ended(now())
        } else {
            None
        }
    }

    /// Reads from the source, inside the span of the stream.
    #[inline]
    fn read(&mut self, cx: &mut Context<'_>) -> Stopped<ErrorOf<S>> {
        let Some(source) = self.source.as_mut().as_pin_mut() else {
            return Stopped::Ended;
        };
        let permit = self.account.permit.as_ref();
        let _entered = permit.map(|permit| permit.trace().enter());
        read(source, self.output, &mut self.account.events, cx)
    }

    /// Returns whether the output is held back so that more events can join it.
    fn lingers(&mut self) -> bool {
        let Some(extras) = self.extras.as_mut() else {
            return false;
        };
        let Some(linger) = extras.options.linger else {
            return false;
        };
        // The opening is not held back, nor is the rest of an event whose beginning has left.
        if self.account.bytes == 0 || self.output.is_torn() {
            return false;
        }
        extras.deadlines.hold_batch(Instant::now(), linger);
        true
    }

    /// Returns the earliest time at which the body acts without its source.
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

    /// Waits until the connection has written the frame before an error or a panic.
    ///
    /// If a body fails, hyper discards unwritten bytes, and on HTTP/2 the headers too.
    #[cold]
    fn poll_last_frame(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let extras = self.extras.get_or_insert_default();
        let Some(last_frame) = &mut extras.last_frame else {
            // The last frame left before the failure was known, so it is not tracked. A comment is
            // sent in addition, and is tracked.
            self.output.push(OPENING);
            return Poll::Ready(());
        };
        ready!(last_frame.poll_turn(cx));
        if last_frame.poll_dropped(cx).is_ready() {
            return Poll::Ready(());
        }
        let permit = self.account.permit.as_ref();
        let drained_at = match permit.map(|permit| permit.order(cx.waker())) {
            None | Some(Order::GoOn) => None,
            Some(Order::Drain) => permit.and_then(Permit::drained_at),
            Some(Order::Shutdown | Order::Close) => return Poll::Ready(()),
        };
        let until = || extras.deadlines.failure(Instant::now(), drained_at);
        self.timer.poll_or_ready(cx, until)
    }

    /// Ends the stream cleanly.
    fn end(&mut self, reason: CloseReason) {
        self.take_option(|options| options.break_off_with.take());
        match reason {
            CloseReason::End => {
                if let Some(event) = self.take_option(|options| options.end_with.take()) {
                    self.write_event(event);
                }
            }
            // These can end many streams in one instant. `Error` is a source that ends early here.
            CloseReason::Error
            | CloseReason::MaxAge
            | CloseReason::Shutdown
            | CloseReason::ByServer
            | CloseReason::Lagged => {
                let permit = self.account.permit.as_ref();
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
            CloseReason::ClientGone => {}
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
        self.account.events += events;
    }

    /// Yields the rest of the output, then the end, the error or the panic.
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
                Progress::Failing(_) | Progress::Panicking => self.track(frame),
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
        self.account.bytes += bytes as u64;
        if let Some(extras) = self.extras.as_mut() {
            extras.deadlines.end_batch();
        }
        if self.idle.is_some() || self.account.permit.is_some() {
            let now = Instant::now();
            if let Some(idle) = self.idle {
                idle.restart(now);
            }
            self.account.sent(now);
        }
    }

    /// Tracks the frame that an error or a panic waits for.
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

    /// Returns the permit and calls `on_close`. Later calls do nothing.
    fn close(&mut self, reason: CloseReason) {
        *self.progress = Progress::Closed;
        let on_close = self.take_option(|options| options.on_close.take());
        self.account.close(reason, on_close);
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

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body::Body as _;

    use super::*;
    use crate::{Connections, EncodedEvent, Encoder, Sse};

    /// An item with an event, or one after which its source ends early.
    enum Item {
        Event,
        Last(EndEarly),
    }

    impl Encode for Item {
        type Error = &'static str;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), &'static str> {
            match self {
                Self::Event => encoder.data("a"),
                Self::Last(why) => encoder.end_early(why),
            }
            Ok(())
        }
    }

    const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
    const DONE: EncodedEvent = EncodedEvent::from_static("data: [DONE]\n\n");
    const FAILED: EncodedEvent = EncodedEvent::from_static("data: failed\n\n");

    /// Returns the frames of a stream, the number of its events and its reason.
    fn run(items: Vec<Item>, reconnects: bool) -> (Vec<Bytes>, u64, CloseReason) {
        let connections = Connections::new().goodbye(Event::data("bye"));
        let (sender, reports) = std::sync::mpsc::channel();
        let mut sse = Sse::new(stream::iter(items))
            .keep_alive(None)
            .end_with(DONE)
            .break_off_with(FAILED)
            .permit(connections.admit("a").unwrap())
            .on_close(move |report| sender.send(report).unwrap());
        if reconnects {
            sse = sse.reconnect_within(SECOND / 1000);
        }
        let body = sse.into_body();
        let frames = body.map(Result::unwrap).collect().now_or_never().unwrap();
        let report = reports.try_recv().unwrap();
        assert_eq!(connections.totals().closed(report.reason), 1);
        (frames, report.events, report.reason)
    }

    #[test]
    fn a_source_that_ends_early_gets_its_reason_and_no_last_event() {
        for (why, reason) in [
            (EndEarly::Lagged, CloseReason::Lagged),
            (EndEarly::Failed, CloseReason::Error),
            (EndEarly::Closed, CloseReason::ByServer),
        ] {
            let ended = run(vec![Item::Event, Item::Last(why)], false);
            assert_eq!(ended, (vec![":\ndata: a\n\n".into()], 1, reason));
            let ended = run(vec![Item::Last(why)], false);
            assert_eq!(ended, (vec![":\n".into()], 0, reason));
            let ended = run(vec![Item::Last(why), Item::Event], true);
            let frame = ":\ndata: a\n\nretry: 1\n".into();
            assert_eq!(ended, (vec![frame], 1, reason), "a later item is sent");
        }
        let ended = run(vec![Item::Event], true);
        let frame = ":\ndata: a\n\ndata: [DONE]\n\n".into();
        assert_eq!(ended, (vec![frame], 2, CloseReason::End));
    }

    #[test]
    fn a_body_dropped_before_its_early_end_closes_with_client_gone() {
        let (sender, reports) = std::sync::mpsc::channel();
        let items = stream::iter([Item::Last(EndEarly::Lagged)]).chain(stream::pending());
        let sse = Sse::new(items).keep_alive(None);
        let mut body = sse
            .on_close(move |report| sender.send(report.reason).unwrap())
            .into_body();
        let frame = body.next().now_or_never().unwrap();
        assert_eq!(frame.unwrap().unwrap(), ":\n");
        assert!(body.next().now_or_never().is_none());
        assert!(!body.is_end_stream());
        drop(body);
        assert_eq!(reports.try_recv(), Ok(CloseReason::ClientGone));
    }
}
