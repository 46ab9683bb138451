//! The last frame before an error or a panic. The failure must not overtake it.

use std::{
    convert::Infallible,
    future::Future as _,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;

/// The body's side of the last frame. It is ready when the connection has written the frame.
#[derive(Debug)]
pub(super) struct LastFrame {
    /// A channel without messages. It closes when the connection drops the frame, which it does
    /// once the frame is written.
    dropped: oneshot::Receiver<Infallible>,
    /// Set if the connection has had a turn since it took the frame. On HTTP/1.1, hyper may copy a
    /// frame and drop it before it writes the copy. It writes the copy in that turn.
    had_turn: bool,
}

/// The connection's side of the last frame: the owner of its bytes.
struct Tracked {
    frame: Bytes,
    _dropped: oneshot::Sender<Infallible>,
}

impl LastFrame {
    /// Returns the frame for the connection, and the body's side of it.
    pub(super) fn track(frame: Bytes) -> (Bytes, Self) {
        let (sender, dropped) = oneshot::channel();
        let tracked = Tracked {
            frame,
            _dropped: sender,
        };
        let last_frame = Self {
            dropped,
            had_turn: false,
        };
        (Bytes::from_owner(tracked), last_frame)
    }

    /// Waits for one turn of the connection, even if it has already dropped the frame.
    pub(super) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if mem::replace(&mut self.had_turn, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until the connection has dropped the frame. It must not be polled again after that.
    pub(super) fn poll_dropped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.dropped).poll(cx).map(drop)
    }
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_frame_counts_as_written_when_its_last_piece_is_dropped() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut cx = Context::from_waker(&waker);

        let (mut frame, mut last_frame) = LastFrame::track(Bytes::from_static(b"data: a\n\n"));
        assert_eq!(frame, "data: a\n\n");
        let head = frame.split_to(4);
        assert!(last_frame.poll_dropped(&mut cx).is_pending());
        drop(frame);
        assert!(last_frame.poll_dropped(&mut cx).is_pending());
        assert_eq!(wakes.0.load(SeqCst), 0);
        drop(head);
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert!(last_frame.poll_dropped(&mut cx).is_ready());
    }

    #[test]
    fn the_connection_gets_one_turn() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let cx = Context::from_waker(&waker);
        let (_frame, mut last_frame) = LastFrame::track(Bytes::from_static(b"data: a\n\n"));
        assert!(last_frame.poll_turn(&cx).is_pending());
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert!(last_frame.poll_turn(&cx).is_ready());
    }
}
