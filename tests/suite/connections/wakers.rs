//! Wakers that panic, and wakers that use the connections.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use futures_util::{Stream as _, stream};
use http_sse::{ConnectionId, Connections, Event, SseBody};

use super::{frame, silent};
use crate::deadline::joined;

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

/// Uses the connections when it is dropped.
struct Uses {
    connections: Connections,
    id: ConnectionId,
    drops: Arc<AtomicU32>,
}

impl Wake for Uses {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Uses {
    fn drop(&mut self) {
        assert_eq!(self.connections.totals().open, 1);
        assert_eq!(self.connections.snapshot().len(), 1);
        assert!(self.connections.close(self.id));
        self.drops.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_waker_that_is_replaced_is_dropped_without_a_lock() {
    let drops = Arc::new(AtomicU32::new(0));
    let dropped = drops.clone();
    let polls = thread::spawn(move || {
        let connections = Connections::new();
        let mut body = silent(&connections, "a");
        frame(&mut body);
        let uses = Uses {
            id: connections.snapshot()[0].id,
            connections: connections.clone(),
            drops,
        };
        wait(&mut body, &Arc::new(uses).into()); // the stream has the only waker now
        wait(&mut body, Waker::noop());
    });
    joined("the polls", polls);
    assert_eq!(dropped.load(SeqCst), 1);
}
