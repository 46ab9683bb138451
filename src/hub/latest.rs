//! The timing of a subscription that yields only the newest events, once per interval.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::position::Position;

/// The timing of a subscription that yields only the newest events, once per interval.
pub(super) struct LatestEvery {
    interval: Duration,
    /// The rest of the interval. `None` if the next events are yielded at once.
    timer: Option<Pin<Box<Sleep>>>,
    /// The position up to which events are yielded in this interval.
    batch: Option<Position>,
    /// True if an event of the batch was yielded.
    has_yielded: bool,
}

impl LatestEvery {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            timer: None,
            batch: None,
            has_yielded: false,
        }
    }

    /// Returns the position up to which events are yielded now.
    pub(super) fn batch(&self) -> Option<Position> {
        self.batch
    }

    /// Waits until events can be yielded.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(timer) = &mut self.timer {
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
        Poll::Ready(())
    }

    pub(super) fn begin_batch(&mut self, upto: Position) {
        self.batch = Some(upto);
        self.has_yielded = false;
    }

    pub(super) fn yielded(&mut self) {
        self.has_yielded = true;
    }

    /// Ends the batch. Returns `true` if events were yielded, so that the next ones must wait.
    pub(super) fn end_batch(&mut self) -> bool {
        self.batch = None;
        if self.has_yielded {
            self.timer = Some(Box::pin(sleep(self.interval)));
        }
        std::mem::take(&mut self.has_yielded)
    }
}
