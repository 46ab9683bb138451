//! The longest times of single calls, while a hub or a `Connections` is large.
//!
//! A call whose thread is preempted takes milliseconds. On Linux, such calls are counted apart. The
//! machine may stop for other reasons too, so each measurement is the best of three. A call that takes
//! long by itself does so in all of them.

use std::{
    fs,
    hint::black_box,
    iter, mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use futures_util::Stream as _;
use http_sse::{Connections, Event, Hub, Subscription};

use crate::ratio;

const MILLION: usize = 1_000_000;

/// The ceiling of the longest call, in microseconds.
const CEILING: f64 = 1_000.0;

/// The ceiling of the 99th percentile of a publish beside one with many subscribers, in microseconds.
const CEILING_BESIDE: f64 = 100.0;

/// The times of single calls.
struct Times {
    calls: Vec<Duration>,
    /// The longest call during which the thread was preempted, and their number.
    preempted: (Duration, usize),
    /// The number of times that the thread was preempted.
    preemptions: u64,
}

impl Times {
    fn new() -> Self {
        Self {
            calls: Vec::with_capacity(MILLION),
            preempted: (Duration::ZERO, 0),
            preemptions: preemptions(),
        }
    }

    fn measure<T>(&mut self, call: impl FnOnce() -> T) -> T {
        // Long enough to look for preemptions, which takes 20 us.
        const LONG: Duration = Duration::from_micros(50);

        let start = Instant::now();
        let result = black_box(call());
        let time = start.elapsed();
        if time >= LONG {
            let preemptions = preemptions();
            if preemptions > mem::replace(&mut self.preemptions, preemptions) {
                self.preempted = (self.preempted.0.max(time), self.preempted.1 + 1);
                return result;
            }
        }
        self.calls.push(time);
        result
    }

    /// Returns the time that this share of the calls does not exceed, in microseconds.
    fn quantile(&self, share: f64) -> f64 {
        let mut times = self.calls.clone();
        times.sort_unstable();
        let index = (times.len() as f64 * share) as usize;
        let time = times.get(index.min(times.len().saturating_sub(1)));
        time.map_or(0.0, |time| time.as_nanos() as f64 / 1_000.0)
    }

    /// Prints the distribution. The ceiling is that of the quantile `share`.
    fn print(&self, name: &str, share: f64, ceiling: f64) {
        let [half, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(|share| self.quantile(share));
        let label = ratio::label(self.quantile(share), ceiling);
        let (time, calls) = self.preempted;
        println!(
            "longest/{name}: median {half:.2}, 99 % {p99:.1}, 99.9 % {p999:.1}, longest \
             {longest:.0} us{label}; {calls} preempted, {:.0} us",
            time.as_secs_f64() * 1e6
        );
    }
}

/// Measures three times, and prints the times with the shortest longest call.
fn print_best(name: &str, measure: impl FnMut() -> Times) {
    let runs = iter::repeat_with(measure).take(3);
    let best = runs.min_by(|a, b| a.quantile(1.0).total_cmp(&b.quantile(1.0)));
    best.unwrap().print(name, 1.0, CEILING);
}

/// Returns the number of times that this thread was preempted, or 0 if that is unknown.
fn preemptions() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = status
        .lines()
        .find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    count.map_or(0, |count| count.trim().parse().unwrap())
}

fn unbounded() -> Hub {
    let builder = Hub::builder().history(usize::MAX).history_bytes(usize::MAX);
    builder.memory(usize::MAX).build()
}

fn name(topic: usize) -> String {
    format!("topic {topic}")
}

/// Publishes to some topics, and returns the time of each publish.
fn publish_to(hub: &Hub, topics: impl Iterator<Item = usize>) -> Times {
    let mut times = Times::new();
    for topic in topics {
        let name = name(topic);
        times.measure(|| hub.publish(&name, Event::data("x")).unwrap());
    }
    times
}

/// Grows a hub to a million topics.
fn growing() -> Hub {
    print_best("publish to the same 1,000 topics", || {
        publish_to(&unbounded(), (0..MILLION).map(|n| n % 1_000))
    });
    let mut hub = unbounded();
    print_best("publish to a new topic, up to a million", || {
        hub = unbounded();
        publish_to(&hub, 0..MILLION)
    });
    print_best("subscribe to a new topic, up to a million", || {
        let subscribed = unbounded();
        let (mut times, mut all) = (Times::new(), Vec::with_capacity(MILLION));
        for topic in 0..MILLION {
            let name = name(topic);
            all.push(times.measure(|| subscribed.subscribe([name])));
        }
        times
    });
    hub
}

/// Publishes to random topics of 1,000 and of a million.
fn random(million: &Hub) {
    let thousand = unbounded();
    publish_to(&thousand, 0..1_000);
    for (topics, hub) in [(1_000, &thousand), (MILLION, million)] {
        print_best(&format!("publish to a random topic of {topics}"), || {
            // A prime step visits the topics in an irregular order.
            publish_to(hub, (0..200_000_usize).map(|n| n * 7_368_787 % topics))
        });
    }
}

/// Publishes to a busy topic, while a million old events stay or leave.
fn old_events() {
    let to_busy = |hub: &Hub| publish_to(hub, iter::repeat_n(usize::MAX, 200_000));
    let hub = Hub::builder().history(4).memory(usize::MAX).build();
    publish_to(&hub, 0..MILLION);
    print_best(
        "publish to a busy topic, beside a million old events",
        || to_busy(&hub),
    );

    let hub = unbounded();
    publish_to(&hub, iter::repeat_n(0, MILLION));
    print_best("publish, beside a topic of a million old events", || {
        to_busy(&hub)
    });

    // Less than the memory of a million topics with one event, so that the oldest leave one by one.
    let full = Hub::builder().memory(400 << 20).build();
    publish_to(&full, 0..MILLION);
    print_best("publish to a busy topic, while old events leave", || {
        to_busy(&full)
    });

    print_best(
        "publish to a busy topic, after a million events got too old",
        || {
            let age = Duration::from_secs(5);
            let aged = Hub::builder().memory(usize::MAX).history_age(age).build();
            let start = Instant::now();
            publish_to(&aged, 0..MILLION);
            thread::sleep((2 * age).saturating_sub(start.elapsed()));
            to_busy(&aged)
        },
    );
}

/// Returns the times of the calls during `load`, in another thread.
fn during(call: impl Fn(), load: impl FnOnce() + Send) -> Times {
    let (begun, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut times = Times::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            begun.store(true, SeqCst);
            load();
            over.store(true, SeqCst);
        });
        while !begun.load(SeqCst) {
            std::hint::spin_loop();
        }
        while !over.load(SeqCst) {
            times.measure(&call);
        }
    });
    times
}

/// Lists a million topics while another thread publishes.
fn listing(hub: &Hub) {
    print_best("publish, while a million topics are listed", || {
        during(
            || _ = hub.publish("busy", Event::data("x")).unwrap(),
            || {
                let start = Instant::now();
                let topics = black_box(hub.topics()).len();
                println!(
                    "longest/list {topics} topics: {:?} in total",
                    start.elapsed()
                );
            },
        )
    });
}

/// Lists 100,000 streams while another thread admits more.
fn snapshot() {
    let connections = Connections::new();
    let permits: Vec<_> = (0..100_000)
        .map(|stream| connections.admit(name(stream)).unwrap())
        .collect();
    print_best("admit, while 100,000 streams are listed", || {
        during(
            || drop(connections.admit("other").unwrap()),
            || {
                for _ in 0..10 {
                    assert!(black_box(connections.snapshot()).len() >= permits.len());
                }
            },
        )
    });
}

/// A waker that counts, as cheap as a waker can be that is shared.
#[derive(Default)]
struct Counter(AtomicU64);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls until there is nothing more to read.
fn drain(subscription: &mut Subscription, cx: &mut Context<'_>) {
    while let Poll::Ready(events) = Pin::new(&mut *subscription).poll_next(cx) {
        black_box(events);
    }
}

/// Publishes to 100,000 waiting subscribers, while another thread publishes to another topic, which
/// has one subscriber.
fn beside_many_subscribers() {
    const SUBSCRIBERS: usize = 100_000;
    const ROUNDS: u64 = 30;
    let hub = Hub::new();
    let wakers: Vec<Waker> = (0..SUBSCRIBERS)
        .map(|_| Waker::from(Arc::<Counter>::default()))
        .collect();
    let mut all: Vec<_> = wakers.iter().map(|_| hub.subscribe(["all"])).collect();
    let (is_publishing, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let [mut during, mut between] = [(); 2].map(|()| Times::new());
    let fastest = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut fastest = Duration::MAX;
            for _ in 0..ROUNDS {
                for (subscription, waker) in all.iter_mut().zip(&wakers) {
                    drain(subscription, &mut Context::from_waker(waker));
                }
                is_publishing.store(true, SeqCst);
                let start = Instant::now();
                hub.publish("all", Event::data("x")).unwrap();
                fastest = fastest.min(start.elapsed());
                is_publishing.store(false, SeqCst);
            }
            over.store(true, SeqCst);
            fastest
        });
        let mut other = hub.subscribe(["other"]);
        let mut cx = Context::from_waker(Waker::noop());
        while !over.load(SeqCst) {
            drain(&mut other, &mut cx);
            let times = if is_publishing.load(SeqCst) {
                &mut during
            } else {
                &mut between
            };
            times.measure(|| hub.publish("other", Event::data("x")).unwrap());
        }
        publisher.join().unwrap()
    });
    println!("longest/publish to 100,000 subscribers: {fastest:?} at least");
    between.print("publish, while 100,000 others read", 0.99, CEILING_BESIDE);
    during.print(
        "publish, during one to 100,000 others",
        0.99,
        CEILING_BESIDE,
    );
}

pub(crate) fn run() {
    let million = growing();
    random(&million);
    listing(&million);
    drop(million);
    old_events();
    snapshot();
    beside_many_subscribers();
}
