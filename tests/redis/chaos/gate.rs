//! A gate that stops a task, as if its process was paused.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
};

use futures_util::task::AtomicWaker;

/// A gate before one future, which is not polled while the gate is closed.
#[derive(Default)]
pub(super) struct Gate {
    is_closed: AtomicBool,
    waker: AtomicWaker,
}

impl Gate {
    pub(super) fn close(&self) {
        self.is_closed.store(true, SeqCst);
    }

    pub(super) fn open(&self) {
        self.is_closed.store(false, SeqCst);
        self.waker.wake();
    }

    /// Polls a future whenever the gate is open.
    pub(super) async fn pass<F: Future>(self: Arc<Self>, future: F) -> F::Output {
        let mut future = pin!(future);
        let passed = poll_fn(|cx| {
            self.waker.register(cx.waker());
            match self.is_closed.load(SeqCst) {
                true => Poll::Pending,
                false => future.as_mut().poll(cx),
            }
        });
        // waits for good: in a task that is aborted
        passed.await
    }
}
