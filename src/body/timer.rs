//! The timer of a body, for the earliest of its deadlines.

use std::{
    future::Future,
    panic::catch_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until},
};

/// A timer that is reset only if necessary.
///
/// Every frame that is sent moves the deadline of the keep-alive, and resetting a timer costs more
/// than encoding an event. A timer that is set too early is therefore reset only after it has
/// fired.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits until `deadline`, and returns the time at which the wait ended.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled. The message explains how to avoid it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Instant> {
        assert!(
            self.start(deadline),
            "an event stream needs a tokio runtime with time enabled for its keep-alive; without \
             one, turn it off with `Sse::keep_alive(None)`, and set no `linger`, `max_age` or \
             `Connections::drain`"
        );
        self.poll_started(cx, deadline)
    }

    /// Does the same as [`poll`](Self::poll), but is ready at once without such a runtime.
    pub(crate) fn poll_or_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Instant,
    ) -> Poll<Instant> {
        if self.start(deadline) {
            self.poll_started(cx, deadline)
        } else {
            Poll::Ready(deadline)
        }
    }

    /// Returns whether this is called in a tokio runtime.
    pub(super) fn has_runtime() -> bool {
        Handle::try_current().is_ok()
    }

    /// Creates the timer if there is none, and returns whether there is one.
    fn start(&mut self, deadline: Instant) -> bool {
        if self.0.is_none() && Self::has_runtime() {
            // tokio panics if time is not enabled, and has no function to check that.
            self.0 = catch_unwind(|| Box::pin(sleep_until(deadline))).ok();
        }
        self.0.is_some()
    }

    fn poll_started(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Instant> {
        let Some(sleep) = &mut self.0 else {
            return Poll::Pending;
        };
        if deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            if deadline <= now {
                return Poll::Ready(now);
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
