//! The body: what a response sends, and when.

mod account;
mod deadlines;
mod jitter;
mod keep_alive;
mod last_frame;
mod options;
mod poll;
mod read;
mod timer;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};

pub(crate) use self::options::Callback;
use self::{
    account::Account,
    deadlines::IdleTimer,
    options::Options,
    poll::{ErrorOf, Progress},
    timer::Timer,
};
pub use self::{keep_alive::KeepAlive, poll::SseBody};
use crate::{
    connections::{CloseReason, Permit},
    wire::{Encode, Output},
};

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

    /// Ends the stream before its first poll, for a response without a body.
    pub(crate) fn skip(&mut self) {
        self.source = None;
        self.progress = Progress::Ending(CloseReason::End);
    }

    /// Ends the stream before its first poll, because the method is `HEAD`.
    pub(crate) fn skip_for_head(&mut self) {
        self.skip();
        #[cfg(feature = "actix-web")]
        {
            self.options().is_head = true;
        }
    }

    /// Returns whether the response has no stream because the method is `HEAD`.
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
        self.account.permit = Some(permit);
    }

    pub(crate) fn set_keep_alive(&mut self, keep_alive: Option<KeepAlive>) {
        self.idle = keep_alive.map(IdleTimer::new);
    }
}

/// An ended body without a source or any bytes, such as that of a `204`.
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
            account: Account::default(),
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
            .field("events", &self.account.events)
            .field("bytes", &self.account.bytes)
            .field("keep_alives", &self.account.keep_alives)
            .field("closed", &self.is_end_stream())
            .finish_non_exhaustive()
    }
}
