//! Whether the connection has written a frame.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;

/// The news of one frame: a connection drops the bytes of a frame once it has written them.
#[derive(Debug)]
pub(crate) struct Written(Arc<Mutex<News>>);

#[derive(Debug)]
enum News {
    Unwritten(Option<Waker>),
    Written,
}

/// The bytes of a frame, as their owner.
struct Tracked {
    frame: Bytes,
    news: Arc<Mutex<News>>,
}

impl Written {
    /// Returns the frame to hand over, and its news.
    pub(crate) fn track(frame: Bytes) -> (Bytes, Self) {
        let news = Arc::new(Mutex::new(News::Unwritten(None)));
        let written = Self(news.clone());
        (Bytes::from_owner(Tracked { frame, news }), written)
    }

    /// Waits until the frame was dropped.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut news = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *news {
            News::Written => Poll::Ready(()),
            News::Unwritten(stored) => {
                let before = stored.replace(waker);
                drop(news); // a waker's own code runs without the lock
                drop(before);
                Poll::Pending
            }
        }
    }
}

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let mut news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut *news, News::Written);
        drop(news);
        if let News::Unwritten(Some(waker)) = before {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering::SeqCst},
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
        let cx = Context::from_waker(&waker);

        let (mut frame, written) = Written::track(Bytes::from_static(b"data: a\n\n"));
        assert_eq!(frame, "data: a\n\n");
        let head = frame.split_to(4);
        assert!(written.poll(&cx).is_pending());
        drop(frame);
        assert!(written.poll(&cx).is_pending());
        assert_eq!(wakes.0.load(SeqCst), 0);
        drop(head);
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert!(written.poll(&cx).is_ready());
    }
}
