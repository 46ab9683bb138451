//! The wake-up of subscribers whose wakers clone to different data, as those of some executors do.
//!
//! It is here because such a waker needs `unsafe`, which the other tests forbid.
//!
//! ```text
//! cargo test --test wakers
//! ```

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use futures_util::Stream as _;
use http_sse::{Event, Hub, Subscription};

/// Set when the task is woken.
type Woken = Arc<AtomicBool>;

/// The wakers that exist. A new waker takes the slot that was freed last, so that addresses are
/// reused at once.
static SLOTS: Mutex<Slots> = Mutex::new(Slots {
    wakers: Vec::new(),
    free: Vec::new(),
});

struct Slots {
    wakers: Vec<Option<Woken>>,
    free: Vec<usize>,
}

/// Runs one test at a time, because they share the slots.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The data of a waker is the number of its slot.
const VTABLE: RawWakerVTable = RawWakerVTable::new(
    |slot| raw_waker(get(slot)),
    |slot| take(slot).store(true, SeqCst),
    |slot| get(slot).store(true, SeqCst),
    |slot| drop(take(slot)),
);

fn get(slot: *const ()) -> Woken {
    let slots = SLOTS.lock().unwrap();
    slots.wakers[slot as usize]
        .clone()
        .expect("the waker exists")
}

fn take(slot: *const ()) -> Woken {
    let mut slots = SLOTS.lock().unwrap();
    slots.free.push(slot as usize);
    slots.wakers[slot as usize]
        .take()
        .expect("the waker exists")
}

fn raw_waker(woken: Woken) -> RawWaker {
    let mut slots = SLOTS.lock().unwrap();
    let slot = slots.free.pop().unwrap_or(slots.wakers.len());
    if slot == slots.wakers.len() {
        slots.wakers.push(None);
    }
    slots.wakers[slot] = Some(woken);
    RawWaker::new(slot as *const (), &VTABLE)
}

/// Returns a new waker of a task. Its clones have other data.
fn waker(woken: &Woken) -> Waker {
    // SAFETY: each function of the table is thread-safe, and only uses the slot that it was given.
    unsafe { Waker::from_raw(raw_waker(woken.clone())) }
}

fn poll(subscription: &mut Subscription, waker: &Waker) -> Poll<()> {
    let mut cx = Context::from_waker(waker);
    match Pin::new(subscription).poll_next(&mut cx) {
        Poll::Ready(events) => {
            let _events = events.expect("the hub is open");
            Poll::Ready(())
        }
        Poll::Pending => Poll::Pending,
    }
}

/// Tasks poll a subscription in turn, each with a new waker or with an old one. The last task that
/// polled is always woken, whatever the addresses of its wakers.
#[test]
fn the_last_task_that_polled_is_always_woken() {
    let _alone = alone();
    for topics in [&["a"][..], &["a", "b"]] {
        for has_handle in [false, true] {
            let hub = Hub::builder().history(4).build();
            let mut subscription = hub.subscribe(topics);
            let handle = has_handle.then(|| subscription.handle());
            let tasks = [0, 1, 2].map(|_| Woken::default());
            let mut wakers = [0, 1, 2].map(|n: usize| waker(&tasks[n]));
            let mut last = None;
            let mut chance = 1_u64;
            for step in 0..200_000 {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let task = (chance >> 33) as usize % tasks.len();
                match (chance >> 40) % 8 {
                    // The new waker often has the address of the old one.
                    0 | 1 => {
                        wakers[task] = Waker::noop().clone();
                        wakers[task] = waker(&tasks[task]);
                    }
                    2 => {
                        hub.publish(topics[task % topics.len()], Event::data("x"))
                            .unwrap();
                        if let Some(last) = last.take() {
                            let woken: &Woken = &tasks[last];
                            assert!(woken.load(SeqCst), "{topics:?}, {step}");
                        }
                    }
                    _ => {
                        tasks[task].store(false, SeqCst);
                        let is_pending = poll(&mut subscription, &wakers[task]).is_pending();
                        last = is_pending.then_some(task);
                    }
                }
            }
            drop(handle);
        }
    }
}

/// The smallest case: a task ends, and the waker of the next one has its address.
#[test]
fn a_task_whose_waker_has_a_used_address_is_woken() {
    let _alone = alone();
    for topics in [&["a"][..], &["a", "b"]] {
        for reads_first in [false, true] {
            let hub = Hub::new();
            let mut subscription = hub.subscribe(topics);
            let [first, second] = [0, 1].map(|_| Woken::default());
            let of_first = waker(&first);
            if reads_first {
                hub.publish("a", Event::data("x")).unwrap();
                assert!(poll(&mut subscription, &of_first).is_ready());
            }
            assert!(poll(&mut subscription, &of_first).is_pending());
            let address = of_first.data();
            drop(of_first);
            let of_second = waker(&second);
            assert_eq!(of_second.data(), address);
            assert!(poll(&mut subscription, &of_second).is_pending());
            hub.publish("a", Event::data("x")).unwrap();
            assert!(second.load(SeqCst) && !first.load(SeqCst), "{topics:?}");
        }
    }
}
