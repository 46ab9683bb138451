//! The one timer of a body, for whichever of its deadlines comes first.

use std::{
    future::Future,
    panic::catch_unwind,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is moved only when it must be.
///
/// Deadlines mostly move away, with every frame that is sent. To touch a timer costs more than to
/// encode an event (36 to 44 ns against 10), so one that is set too early is left there, and set
/// anew when it has fired.
#[derive(Debug, Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Waits for `deadline`, and tells the time then.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled, with what can be done about it.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<Instant> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(start(deadline)));
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

fn start(deadline: Instant) -> Sleep {
    catch_unwind(|| sleep_until(deadline)).unwrap_or_else(|_| {
        panic!(
            "an event stream needs a tokio runtime with time enabled for its keep-alive; \
             without one, turn it off with `Sse::keep_alive(None)`, and set no `linger`, `max_age` \
             or `Connections::drain`"
        )
    })
}
