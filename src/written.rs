//! Notification that the connection has dropped a frame.

use std::{
    convert::Infallible,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;

/// Becomes ready when the connection drops a frame, which it does once it has written it.
///
/// Nothing is ever sent: the end of the channel is the news.
#[derive(Debug)]
pub(crate) struct Written(oneshot::Receiver<Infallible>);

/// The bytes of a frame, as their owner.
struct Tracked {
    frame: Bytes,
    _sender: oneshot::Sender<Infallible>,
}

impl Written {
    /// Returns the frame to hand over, and its notification.
    pub(crate) fn track(frame: Bytes) -> (Bytes, Self) {
        let (sender, receiver) = oneshot::channel();
        let tracked = Tracked {
            frame,
            _sender: sender,
        };
        (Bytes::from_owner(tracked), Self(receiver))
    }

    /// Waits until the frame is dropped. It must not be polled again after that.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx).map(drop)
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
    fn a_frame_is_written_when_its_last_piece_was_dropped() {
        let wakes = Arc::new(Wakes::default());
        let waker = wakes.clone().into();
        let mut cx = Context::from_waker(&waker);

        let (mut frame, mut written) = Written::track(Bytes::from_static(b"data: a\n\n"));
        assert_eq!(frame, "data: a\n\n");
        let head = frame.split_to(4);
        assert!(written.poll(&mut cx).is_pending());
        drop(frame);
        assert!(written.poll(&mut cx).is_pending());
        assert_eq!(wakes.0.load(SeqCst), 0);
        drop(head);
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert!(written.poll(&mut cx).is_ready());
    }
}
