//! Compares the hub with `tokio::sync::broadcast`: the time to deliver an event to a subscriber.
//!
//! There are no sockets. Each subscriber is a task, and all tasks run on one thread.
//!
//! `cargo bench --bench hub`
#![allow(clippy::unwrap_used)]

#[path = "support/ratio.rs"]
mod ratio;

use std::{
    future::poll_fn,
    hint::black_box,
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_sse::{EncodedEvent, Event, Hub};
use tokio::{
    runtime::{Builder, Runtime},
    sync::broadcast,
    task::yield_now,
};

/// Events per burst, and the floor: times as fast as `tokio::sync::broadcast`.
const FLOORS: [(u64, f64); 3] = [(1, 1.8), (8, 6.0), (64, 40.0)];

const TOKEN: &str = r#"{"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;

/// Subscribers in tasks, and the number of events that they have received.
struct Fanout<P> {
    runtime: Runtime,
    publish: P,
    delivered: Arc<AtomicU64>,
    subscribers: u64,
}

impl<P: Fn()> Fanout<P> {
    /// Publishes `burst` events and waits until every subscriber has them.
    fn run(&self, burst: u64) -> usize {
        let before = self.delivered.load(Relaxed);
        self.runtime.block_on(async {
            (0..burst).for_each(|_| (self.publish)());
            while self.delivered.load(Relaxed) < before + burst * self.subscribers {
                yield_now().await;
            }
        });
        (burst * self.subscribers) as usize
    }

    /// Returns the median time per delivery, in nanoseconds.
    fn nanos(&self, burst: u64, runs: usize) -> f64 {
        let mut times: Vec<Duration> = (0..runs)
            .map(|_| {
                let start = Instant::now();
                self.run(burst);
                start.elapsed()
            })
            .collect();
        times.sort();
        times[runs / 2].as_nanos() as f64 / (burst * self.subscribers) as f64
    }
}

/// Adds to the counter. This need not be atomic, because all tasks run on one thread.
fn add(delivered: &AtomicU64, events: u64) {
    delivered.store(delivered.load(Relaxed) + events, Relaxed);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

/// Subscribes tasks to `topic`, in a hub that may have other topics.
fn hub(hub: &Hub, topic: &'static str, subscribers: u64) -> Fanout<impl Fn() + use<>> {
    let runtime = runtime();
    let delivered = Arc::new(AtomicU64::new(0));
    for _ in 0..subscribers {
        let (mut subscription, delivered) = (hub.subscribe([topic]), delivered.clone());
        runtime.spawn(async move {
            while let Some(events) = subscription.next().await {
                add(&delivered, black_box(events).count());
            }
        });
    }
    runtime.block_on(yield_now());
    let hub = hub.clone();
    let publish = move || _ = hub.publish(topic, Event::data(TOKEN)).unwrap();
    Fanout {
        runtime,
        publish,
        delivered,
        subscribers,
    }
}

fn broadcast(subscribers: u64) -> Fanout<impl Fn()> {
    let runtime = runtime();
    let delivered = Arc::new(AtomicU64::new(0));
    let (sender, _) = broadcast::channel::<Bytes>(1024);
    for _ in 0..subscribers {
        let (mut receiver, delivered) = (sender.subscribe(), delivered.clone());
        runtime.spawn(async move {
            while let Ok(event) = receiver.recv().await {
                black_box(event);
                add(&delivered, 1);
            }
        });
    }
    runtime.block_on(yield_now());
    let publish = move || {
        let event = EncodedEvent::from(Event::data(TOKEN)).into_bytes();
        sender.send(event).unwrap();
    };
    Fanout {
        runtime,
        publish,
        delivered,
        subscribers,
    }
}

/// Starts tasks that only wait to be woken. Their wakers are in a list.
fn wake_and_poll(subscribers: u64) -> Fanout<impl Fn()> {
    let runtime = runtime();
    let delivered = Arc::new(AtomicU64::new(0));
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    for _ in 0..subscribers {
        let (wakers, delivered) = (wakers.clone(), delivered.clone());
        let mut woken = false;
        runtime.spawn(poll_fn(move |cx| {
            if mem::replace(&mut woken, true) {
                add(&delivered, 1);
            }
            wakers.lock().unwrap().push(cx.waker().clone());
            Poll::<()>::Pending
        }));
    }
    runtime.block_on(async {
        while wakers.lock().unwrap().len() < subscribers as usize {
            yield_now().await;
        }
    });
    let publish = move || {
        let woken = mem::take(&mut *wakers.lock().unwrap());
        woken.into_iter().for_each(Waker::wake);
    };
    Fanout {
        runtime,
        publish,
        delivered,
        subscribers,
    }
}

/// Delivers bursts to ten thousand subscribers of one topic.
fn beside_broadcast() {
    const SUBSCRIBERS: u64 = 10_000;
    let ours = hub(&Hub::new(), "topic", SUBSCRIBERS);
    let peer = broadcast(SUBSCRIBERS);
    let wake = wake_and_poll(SUBSCRIBERS);
    for (burst, floor) in FLOORS {
        println!(
            "hub/burst {burst}: {:.1} ns per delivery, broadcast {:.1} ns, wake and poll {:.1} ns",
            ours.nanos(burst, 21),
            peer.nanos(burst, 21),
            wake.nanos(1, 21) / burst as f64,
        );
        ratio::compare(
            &format!("hub/burst {burst}"),
            "tokio::sync::broadcast",
            floor,
            || ours.run(burst),
            || peer.run(burst),
        );
    }
}

/// Prints the time per delivery for few subscribers and for many.
fn as_subscribers_grow() {
    for subscribers in [100, 1_000, 10_000, 100_000] {
        let fanout = hub(&Hub::new(), "topic", subscribers);
        println!(
            "hub/{subscribers} subscribers: {:.1} ns per delivery, {:.1} ns in bursts of 8",
            fanout.nanos(1, 41),
            fanout.nanos(8, 41),
        );
    }
}

/// Prints the time to publish to one of many topics, each with a subscriber.
fn as_topics_grow() {
    for topics in [10, 100_000] {
        let whole = Hub::new();
        let others: Vec<_> = (1..topics)
            .map(|n| {
                let mut other = whole.subscribe([format!("topic {n}")]);
                assert!(futures_util::FutureExt::now_or_never(other.next()).is_none());
                other
            })
            .collect();
        let fanout = hub(&whole, "topic", 1);
        println!(
            "hub/{topics} topics: {:.0} ns to publish an event to one topic and read it",
            fanout.nanos(1, 10_001),
        );
        drop(others);
    }
}

fn main() {
    beside_broadcast();
    as_subscribers_grow();
    as_topics_grow();
}
