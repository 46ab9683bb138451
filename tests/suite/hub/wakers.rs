//! Foreign code that panics or calls the hub: wakers, and the names of topics.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use futures_util::Stream as _;
use http_sse::{Hub, Subscription, hub::EncodedEvents};
use tokio::time::advance;

use super::{publish, read, wire};
use crate::deadline::joined;

/// A waker that counts its wake-ups, and may panic.
#[derive(Default)]
struct Wakes {
    count: AtomicUsize,
    panics: bool,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, SeqCst);
        if self.panics {
            resume_unwind(Box::new("the waker panics"));
        }
    }
}

fn poll(subscription: &mut Subscription, waker: Waker) -> Poll<Option<EncodedEvents>> {
    Pin::new(subscription).poll_next(&mut Context::from_waker(&waker))
}

/// Asserts that a call panics with this message.
fn assert_panics(message: &'static str, call: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(call)).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&message));
}

/// 300 seats are more than one page.
#[test]
fn a_waker_that_panics_keeps_no_other_subscriber_asleep() {
    type Change = fn(&Hub);
    let changes: [(&str, Change); 3] = [
        ("publish", |hub| _ = publish(hub, "a", "x")),
        ("finish", |hub| _ = hub.finish("a").unwrap()),
        ("disconnect", |hub| assert_eq!(hub.disconnect("a"), 300)),
    ];
    for topics in [&["a"][..], &["a", "b"]] {
        for (name, change) in changes {
            let hub = Hub::new();
            let mut readers: Vec<_> = (0..300)
                .map(|n| {
                    let panics = [0, 150, 299].contains(&n);
                    let count = AtomicUsize::new(0);
                    (hub.subscribe(topics), Arc::new(Wakes { count, panics }))
                })
                .collect();
            for (reader, wakes) in &mut readers {
                assert!(poll(reader, wakes.clone().into()).is_pending());
            }
            assert_panics("the waker panics", || change(&hub));
            for (n, (_, wakes)) in readers.iter().enumerate() {
                assert_eq!(wakes.count.load(SeqCst), 1, "{name}, {n}");
            }
            // The event was published, and the hub goes on.
            let head = hub.head();
            for (reader, _) in &mut readers {
                let text = read(reader).0;
                let expected = if name == "publish" {
                    wire("x", head)
                } else {
                    String::new()
                };
                assert_eq!(text, expected, "{name}");
            }
            publish(&hub, "b", "y");
            drop(readers);
        }
    }
}

#[test]
fn a_waker_that_panics_keeps_no_subscriber_asleep_when_the_hub_is_closed() {
    let hub = Hub::new();
    let topics: [&[&str]; 4] = [&["a"], &["b"], &["a", "b"], &[]];
    let mut readers: Vec<_> = (0..300)
        .map(|n| {
            let panics = n == 150;
            let count = AtomicUsize::new(0);
            (
                hub.subscribe(topics[n % 4]),
                Arc::new(Wakes { count, panics }),
            )
        })
        .collect();
    for (reader, wakes) in &mut readers {
        assert!(poll(reader, wakes.clone().into()).is_pending());
    }
    let idle = (0..300).map(|_| (hub.subscribe([""; 0]), Arc::<Wakes>::default()));
    readers.extend(idle);
    for (reader, wakes) in &mut readers[300..] {
        assert!(poll(reader, wakes.clone().into()).is_pending());
    }
    assert_panics("the waker panics", || hub.close());
    for (n, (reader, wakes)) in readers.iter_mut().enumerate() {
        assert_eq!(wakes.count.load(SeqCst), 1, "{n}");
        assert_eq!(read(reader), (String::new(), false));
    }
}

/// The watcher of a demand panics whenever a topic gets its first subscriber or loses its last one.
#[tokio::test(start_paused = true)]
async fn a_demand_whose_waker_panics_keeps_no_seat() {
    let panicking = || {
        let count = AtomicUsize::new(0);
        Waker::from(Arc::new(Wakes {
            count,
            panics: true,
        }))
    };
    let hub = Hub::new();
    let mut demand = hub.demand(Duration::ZERO);
    let mut watch = || {
        let waker = panicking();
        let mut cx = Context::from_waker(&waker);
        while Pin::new(&mut demand).poll_next(&mut cx).is_ready() {}
    };
    watch();
    assert_panics("the waker panics", || drop(hub.subscribe(["a"])));
    assert_eq!(hub.topics(), []);
    watch();
    assert_panics("the waker panics", || drop(hub.subscribe(["a", "b", "c"])));
    assert_eq!(hub.topics(), []);
    watch();
    let mut lobby = hub.subscribe([""; 0]);
    let handle = lobby.handle();
    assert_panics("the waker panics", || _ = handle.add("a"));
    assert_eq!(hub.topic("a").unwrap().subscribers, 1);
    watch();
    assert_panics("the waker panics", || drop(lobby));
    assert_eq!(hub.topics(), []);
}

#[tokio::test(start_paused = true)]
async fn a_topic_whose_end_panics_in_a_waker_is_over_after_its_time() {
    const MINUTE: Duration = Duration::from_secs(60);
    let hub = Hub::builder().finished_for(MINUTE).build();
    let mut reader = hub.subscribe(["a"]);
    let count = AtomicUsize::new(0);
    let panics = Arc::new(Wakes {
        count,
        panics: true,
    });
    assert!(poll(&mut reader, panics.into()).is_pending());
    assert_panics("the waker panics", || _ = hub.finish("a"));
    advance(MINUTE).await;
    assert!(hub.subscribe(["a"]).is_over());
}

#[test]
fn the_waker_of_the_last_poll_is_woken() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut reader = hub.subscribe(topics);
        let wakes = [(); 2].map(|()| Arc::<Wakes>::default());
        for wakes in &wakes {
            assert!(poll(&mut reader, wakes.clone().into()).is_pending());
        }
        publish(&hub, "a", "x");
        let counts = wakes.map(|wakes| wakes.count.load(SeqCst));
        assert_eq!(counts, [0, 1], "{topics:?}");
    }
}

/// A waker that calls the hub when it is woken and when it is dropped.
struct Calls {
    hub: Hub,
    is_armed: AtomicBool,
    calls: Arc<AtomicUsize>,
}

impl Calls {
    fn call(&self) {
        if self.is_armed.swap(false, SeqCst) {
            let hub = &self.hub;
            publish(hub, "a", "from a waker");
            drop(hub.subscribe(["a"]));
            drop(hub.subscribe(["a", "b", "c"]));
            assert!(!hub.topics().is_empty());
            hub.remove("c");
            hub.disconnect("d");
            assert!(hub.memory() > 0);
            self.calls.fetch_add(1, SeqCst);
        }
    }
}

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.call();
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.call();
    }
}

/// The waker of a subscription is replaced, woken, or dropped with the subscription.
#[test]
fn a_waker_that_calls_the_hub_does_not_deadlock() {
    type Change = fn(&Hub, &mut Option<Subscription>);
    let changes: [(&str, Change); 8] = [
        ("another waker", |_, reader| {
            let reader = reader.as_mut().unwrap();
            _ = poll(reader, Arc::new(Wakes::default()).into());
        }),
        ("drop", |_, reader| *reader = None),
        ("publish", |hub, _| _ = publish(hub, "a", "x")),
        ("finish", |hub, _| _ = hub.finish("b")),
        ("remove", |hub, _| _ = hub.remove("a")),
        ("disconnect", |hub, _| _ = hub.disconnect("a")),
        ("close", |hub, _| hub.close()),
        ("handle", |_, reader| {
            let handle = reader.as_mut().unwrap().handle();
            handle.add("e");
            *reader = None;
        }),
    ];
    for (name, change) in changes {
        for topics in [&["a"][..], &["a", "b"]] {
            let test = thread::spawn(move || {
                let hub = Hub::new();
                publish(&hub, "other", "x");
                let calls = Arc::<AtomicUsize>::default();
                let waker = Arc::new(Calls {
                    hub: hub.clone(),
                    is_armed: AtomicBool::new(true),
                    calls: calls.clone(),
                });
                let mut reader = Some(hub.subscribe(topics));
                assert!(poll(reader.as_mut().unwrap(), waker.into()).is_pending());
                // A closed hub rejects what the waker publishes.
                let changed = catch_unwind(AssertUnwindSafe(|| change(&hub, &mut reader)));
                assert!(changed.is_ok() || name == "close", "{name}");
                drop(reader);
                assert!(calls.load(SeqCst) == 1 || name == "close", "{name}");
            });
            joined(format_args!("{name} of {topics:?}"), test);
        }
    }
}

/// A name of a topic that panics at a call.
struct Name<'a> {
    name: &'static str,
    calls_left: &'a Cell<usize>,
}

impl AsRef<str> for Name<'_> {
    fn as_ref(&self) -> &str {
        let left = self.calls_left.get().checked_sub(1);
        let Some(left) = left else {
            resume_unwind(Box::new("the name panics"));
        };
        self.calls_left.set(left);
        self.name
    }
}

#[test]
fn a_name_that_panics_leaves_no_subscription() {
    for names in [&["a"][..], &["a", "b"], &["c", "a", "b", "a"]] {
        let hub = Hub::new();
        for calls in 0..100 {
            let calls_left = Cell::new(calls);
            let subscribed = catch_unwind(AssertUnwindSafe(|| {
                let names = names.iter().map(|name| Name {
                    name,
                    calls_left: &calls_left,
                });
                hub.subscribe(names)
            }));
            let is_done = subscribed.is_ok();
            drop(subscribed);
            assert_eq!(
                (hub.topics(), hub.memory()),
                (vec![], 0),
                "{names:?}, {calls}"
            );
            let mut reader = hub.subscribe(["a"]);
            let at = publish(&hub, "a", "x");
            assert_eq!(read(&mut reader), (wire("x", at), true));
            hub.remove("a");
            if is_done {
                break;
            }
            assert!(calls < 99, "the name is read for ever");
        }
    }
}
