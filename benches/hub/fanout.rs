//! The time to deliver an event to the subscribers of a topic, beside `tokio::sync::broadcast`. Each
//! subscriber is a task.

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
use http_sse::{EncodedEvent, Event, Hub, Subscription};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Notify, broadcast},
    task::yield_now,
};

use crate::ratio;

/// Subscribers, events per burst, and the floor: times as fast as `tokio::sync::broadcast`.
const FLOORS: [(u64, u64, f64); 5] = [
    (10_000, 1, 1.8),
    (10_000, 8, 6.0),
    (10_000, 64, 40.0),
    (1, 1, 1.0),
    (1, 64, 1.0),
];

/// The same for tasks on two threads.
const FLOORS_OF_TWO_THREADS: [(u64, u64, f64); 2] = [(10_000, 1, 2.5), (10_000, 8, 6.0)];

pub(crate) const TOKEN: &str = r#"{"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;

/// Subscribers in tasks of one thread, and the number of events that they have received.
pub(crate) struct Fanout<P> {
    runtime: Runtime,
    publish: P,
    delivered: Arc<AtomicU64>,
    /// The number of subscribers that get each event.
    subscribers: u64,
}

impl<P: Fn()> Fanout<P> {
    /// Publishes `burst` events and waits until every subscriber has them.
    pub(crate) fn run(&self, burst: u64) -> usize {
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
    pub(crate) fn nanos(&self, burst: u64, runs: usize) -> f64 {
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

/// Starts a task for each subscription. `publish` publishes an event to `each` of them.
pub(crate) fn tasks<P: Fn()>(
    subscriptions: impl IntoIterator<Item = Subscription>,
    each: u64,
    publish: P,
) -> Fanout<P> {
    let runtime = runtime();
    let delivered = Arc::new(AtomicU64::new(0));
    for mut subscription in subscriptions {
        let delivered = delivered.clone();
        runtime.spawn(async move {
            while let Some(events) = subscription.next().await {
                add(&delivered, black_box(events).count());
            }
        });
    }
    runtime.block_on(yield_now());
    Fanout {
        runtime,
        publish,
        delivered,
        subscribers: each,
    }
}

/// Subscribes tasks to `topic`, in a hub that may have other topics.
pub(crate) fn hub(hub: &Hub, topic: &'static str, subscribers: u64) -> Fanout<impl Fn() + use<>> {
    let subscriptions = (0..subscribers).map(|_| hub.subscribe([topic]));
    let of_publish = hub.clone();
    tasks(subscriptions, subscribers, move || {
        of_publish.publish(topic, Event::data(TOKEN)).unwrap();
    })
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

/// Subscribers in tasks of two threads. A task publishes.
struct TwoThreads<P> {
    runtime: Runtime,
    publish: Arc<P>,
    progress: Arc<Progress>,
    subscribers: u64,
}

/// The number of events that all subscribers have still to receive.
#[derive(Default)]
struct Progress {
    missing: AtomicU64,
    complete: Notify,
}

impl Progress {
    fn received(&self, events: u64) {
        if self.missing.fetch_sub(events, Relaxed) == events {
            self.complete.notify_one();
        }
    }
}

impl<P: Fn() + Send + Sync + 'static> TwoThreads<P> {
    /// Starts a task for each subscriber, which `start` returns.
    fn new<F>(subscribers: u64, publish: P, start: impl Fn(Arc<Progress>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let progress = Arc::<Progress>::default();
        (0..subscribers).for_each(|_| _ = runtime.spawn(start(progress.clone())));
        Self {
            runtime,
            publish: Arc::new(publish),
            progress,
            subscribers,
        }
    }

    /// Publishes `burst` events and waits until every subscriber has them.
    fn run(&self, burst: u64) -> usize {
        let (publish, progress) = (self.publish.clone(), self.progress.clone());
        let events = burst * self.subscribers;
        let task = self.runtime.spawn(async move {
            progress.missing.store(events, Relaxed);
            (0..burst).for_each(|_| publish());
            progress.complete.notified().await;
        });
        self.runtime.block_on(task).unwrap();
        events as usize
    }
}

/// Delivers bursts to the subscribers of one topic.
fn beside_broadcast() {
    for (subscribers, burst, floor) in FLOORS {
        let ours = hub(&Hub::new(), "topic", subscribers);
        let peer = broadcast(subscribers);
        let wake = wake_and_poll(subscribers);
        let runs = if subscribers == 1 { 2_001 } else { 21 };
        let name = match subscribers {
            1 => format!("hub/1 subscriber, burst {burst}"),
            _ => format!("hub/burst {burst}"),
        };
        println!(
            "{name}: {:.1} ns per delivery, broadcast {:.1} ns, wake and poll {:.1} ns",
            ours.nanos(burst, runs),
            peer.nanos(burst, runs),
            wake.nanos(1, runs) / burst as f64,
        );
        let in_a_row = |run: &dyn Fn() -> usize| (0..runs.div_ceil(21)).map(|_| run()).sum();
        ratio::compare(
            &name,
            "tokio::sync::broadcast",
            floor,
            || in_a_row(&|| ours.run(burst)),
            || in_a_row(&|| peer.run(burst)),
        );
    }
}

/// Delivers bursts to subscribers on two threads.
fn beside_broadcast_on_two_threads() {
    for (subscribers, burst, floor) in FLOORS_OF_TWO_THREADS {
        let hub = Hub::new();
        let of_publish = hub.clone();
        let publish = move || _ = of_publish.publish("topic", Event::data(TOKEN)).unwrap();
        let ours = TwoThreads::new(subscribers, publish, |progress| {
            let mut subscription = hub.subscribe(["topic"]);
            async move {
                while let Some(events) = subscription.next().await {
                    progress.received(black_box(events).count());
                }
            }
        });
        let (sender, _) = broadcast::channel::<Bytes>(1024);
        let receivers = sender.clone();
        let publish = move || {
            let event = EncodedEvent::from(Event::data(TOKEN)).into_bytes();
            sender.send(event).unwrap();
        };
        let peer = TwoThreads::new(subscribers, publish, |progress| {
            let mut receiver = receivers.subscribe();
            async move {
                while let Ok(event) = receiver.recv().await {
                    black_box(event);
                    progress.received(1);
                }
            }
        });
        ratio::compare(
            &format!("hub/two threads, burst {burst}"),
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

pub(crate) fn run() {
    beside_broadcast();
    beside_broadcast_on_two_threads();
    as_subscribers_grow();
    as_topics_grow();
}
