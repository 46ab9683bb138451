//! Wakers that panic.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures_util::{Stream as _, stream};
use http_sse::{Connections, Event, SseBody};

use super::{frame, silent};

type Body = SseBody<stream::Pending<Event>>;

/// Counts its wake-ups, and panics at each.
#[derive(Default)]
struct Panics(AtomicU32);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        resume_unwind(Box::new("the waker panics"));
    }
}

/// Polls a body that is pending.
fn wait(body: &mut Body, waker: &Waker) {
    let polled = Pin::new(body).poll_next(&mut Context::from_waker(waker));
    assert!(polled.is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_keeps_no_other_stream_asleep() {
    let notify: [fn(&Connections); 3] = [
        Connections::shutdown,
        |connections| connections.drain(Duration::from_secs(1)),
        |connections| _ = connections.close_where(|_| true),
    ];
    for notify in notify {
        let connections = Connections::new();
        let mut bodies = [(); 3].map(|()| silent(&connections, "a"));
        let wakes = Arc::new(Panics::default());
        let waker = wakes.clone().into();
        for body in &mut bodies {
            frame(body);
            wait(body, &waker);
        }
        let panic = catch_unwind(AssertUnwindSafe(|| notify(&connections))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the waker panics"));
        assert_eq!(wakes.0.load(SeqCst), 3);
    }
}
