//! The wake-up of several tasks.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    task::Waker,
};

/// Wakes every task. If a waker panics, the others are still woken, and the first panic is then
/// resumed.
///
/// A waker runs foreign code, so the caller holds no lock.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    let mut first = None;
    for waker in wakers {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            first.get_or_insert(panic);
        }
    }
    if let Some(panic) = first {
        resume_unwind(panic);
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

    struct Panics(&'static str);

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new(self.0));
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_task_asleep() {
        let wakes = Arc::new(Wakes::default());
        let woken = || Waker::from(wakes.clone());
        let panics = |message| Waker::from(Arc::new(Panics(message)));

        let wakers = [woken(), panics("first"), woken(), panics("second"), woken()];
        let panic = catch_unwind(|| wake_all(wakers)).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"first"));
        assert_eq!(wakes.0.load(SeqCst), 3);
        assert_eq!(Arc::strong_count(&wakes), 1, "a waker is left");
    }

    #[test]
    fn no_waker_is_no_wake_up() {
        wake_all(None);
    }
}
