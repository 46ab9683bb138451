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
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits until `deadline`, and returns the time at which the wait ended.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with time enabled. The message explains how to avoid it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Instant> {
        let Some(sleep) = self.start(deadline) else {
            panic!(
                "an event stream needs a tokio runtime with time enabled for its keep-alive; \
                 without one, turn it off with `Sse::keep_alive(None)`, and set no `linger`, \
                 `max_age` or `Connections::drain`"
            );
        };
        poll_until(sleep, cx, deadline)
    }

    /// Waits until `deadline`. Without a tokio runtime it is ready at once, and `deadline` is not
    /// called, because some systems without a runtime have no clock either.
    pub(super) fn poll_or_ready(
        &mut self,
        cx: &mut Context<'_>,
        deadline: impl FnOnce() -> Instant,
    ) -> Poll<()> {
        if !has_runtime() {
            return Poll::Ready(());
        }
        let deadline = deadline();
        match self.start(deadline) {
            Some(sleep) => poll_until(sleep, cx, deadline).map(drop),
            None => Poll::Ready(()),
        }
    }

    /// Returns the timer, and creates it if there is none. Returns `None` if that is impossible.
    fn start(&mut self, deadline: Instant) -> Option<&mut Pin<Box<Sleep>>> {
        if self.0.is_none() && has_runtime() {
            // tokio panics if time is not enabled, and has no function to check that.
            self.0 = catch_unwind(|| Box::pin(sleep_until(deadline))).ok();
        }
        self.0.as_mut()
    }
}

/// Returns whether this is called in a tokio runtime.
fn has_runtime() -> bool {
    Handle::try_current().is_ok()
}

/// Waits until `deadline`, and returns the time at which the wait ended.
fn poll_until(
    sleep: &mut Pin<Box<Sleep>>,
    cx: &mut Context<'_>,
    deadline: Instant,
) -> Poll<Instant> {
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
