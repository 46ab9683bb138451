//! The cost of a hub: the memory of idle and resuming subscriptions, and the allocations of
//! deliveries.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use futures_util::{FutureExt as _, Stream as _, StreamExt as _};
use http_sse::{Event, Hub, LastEventId, Sse, Subscription, hub::PublishOptions};

use crate::deadline::watch;

fn waiting(hub: &Hub, topic: &str) -> Subscription {
    let mut subscription = hub.subscribe([topic]);
    assert!(subscription.next().now_or_never().is_none());
    subscription
}

/// Measures waiting subscriptions. Each takes 134 bytes including its own size, or 555 bytes with a
/// topic of its own.
#[test]
fn an_idle_subscription_costs_at_most_168_bytes() {
    const SUBSCRIBERS: usize = 10_000;
    watch();
    for (topics, most) in [(1, 168), (SUBSCRIBERS, 560)] {
        let hub = Hub::new();
        let mut all = Vec::with_capacity(SUBSCRIBERS);
        let cost = measure(|| {
            all.extend((0..SUBSCRIBERS).map(|n| waiting(&hub, &format!("{}", n % topics))));
        });
        let each = cost.bytes_current as usize / SUBSCRIBERS + size_of::<Subscription>();
        println!("{each} bytes for each subscription, with {topics} topics");
        assert!(each <= most, "{each} bytes");
        let back = measure(|| all.clear());
        let left = cost.bytes_current + back.bytes_current;
        println!("{left} bytes left");
        assert!(left <= 1_024);
    }
}

/// Counts the same allocations for ten subscribers and for ten thousand.
#[test]
fn a_delivery_does_not_allocate() {
    let allocations = |subscribers: usize, burst: usize| {
        let hub = Hub::builder().history(64).build();
        let mut all: Vec<_> = (0..subscribers).map(|_| waiting(&hub, "a")).collect();
        let mut round = || {
            for _ in 0..burst {
                hub.publish("a", Event::data("0123456789abcdef")).unwrap();
            }
            for subscription in &mut all {
                assert!(subscription.next().now_or_never().unwrap().is_some());
                assert!(subscription.next().now_or_never().is_none());
            }
        };
        (0..256 / burst).for_each(|_| round()); // until the history is full
        measure(round).count_total
    };
    for burst in [1, 8, 64] {
        let (few, many) = (allocations(10, burst), allocations(10_000, burst));
        println!("in bursts of {burst}: {few} allocations for 10 subscribers, {many} for 10,000");
        // The subscribers to wake are in one list, whatever its length.
        assert_eq!(many, few);
    }
}

/// Resumes a thousand subscriptions at once, with 256 events of 10 kB each. Each subscription takes
/// 40,594 bytes, which is a frame of four events.
#[tokio::test]
async fn a_resume_costs_one_frame_beyond_the_history() {
    let hub = Hub::builder().history_bytes(4 << 20).build();
    let start = hub.head();
    let data = "x".repeat(10_000);
    for _ in 0..256 {
        hub.publish("a", Event::data(data.clone())).unwrap();
    }
    assert_eq!(hub.topics()[0].events, 256);
    let id: LastEventId = start.to_string().parse().unwrap();
    let cost = measure(|| {
        let mut bodies: Vec<_> = (0..1_000)
            .map(|_| Sse::new(hub.subscribe(["a"]).after(id.clone())).into_body())
            .collect();
        // All subscriptions are resuming, and each has a frame that its connection has not written.
        let mut bytes = 0;
        for _ in 0..100 {
            let mut unwritten = Vec::new();
            for body in &mut bodies {
                if let Some(frame) = body.next().now_or_never() {
                    unwritten.push(frame.unwrap().unwrap());
                }
            }
            bytes += unwritten.iter().map(|frame| frame.len()).sum::<usize>();
        }
        assert!(bytes > 1_000 * 256 * 10_000, "{bytes}");
    });
    println!("{} bytes at most", cost.bytes_max);
    assert!(cost.bytes_max < 1_000 * 41_000, "{}", cost.bytes_max);
}

/// Measures a thousand subscribers and 10,000 events of 200 bytes, which is more than the history
/// holds. If `stalls` is set, one subscriber does not read.
fn stalled_or_not(stalls: bool) -> AllocationInfo {
    const SUBSCRIBERS: usize = 1_000;
    let hub = Hub::builder()
        .history(usize::MAX)
        .history_bytes(HISTORY)
        .build();
    let mut all = Vec::with_capacity(SUBSCRIBERS);
    let cost = measure(|| {
        all.extend((0..SUBSCRIBERS).map(|_| waiting(&hub, "a")));
        for _ in 0..200 {
            for _ in 0..50 {
                hub.publish("a", Event::data("x".repeat(200))).unwrap();
            }
            for subscription in &mut all[usize::from(stalls)..] {
                let mut events = 0;
                while let Some(more) = subscription.next().now_or_never() {
                    events += more.unwrap().count();
                }
                assert_eq!(events, 50);
            }
        }
    });
    let read = all[0].next().now_or_never().map(Option::unwrap);
    let lagged = |events: &http_sse::hub::EncodedEvents| {
        let wire = format!("event: reset\ndata: lagged\nid: {}\n\n", hub.head());
        events.as_bytes() == wire.as_bytes()
    };
    assert_eq!(read.as_ref().is_some_and(lagged), stalls);
    cost
}

/// The limit of the history, in bytes.
const HISTORY: usize = 1 << 20;

/// Compares a subscriber that does not read with one that does. It takes no more memory, and causes
/// no more allocations. The heap is measured while all subscribers exist.
#[test]
fn a_stalled_subscriber_has_no_extra_cost() {
    watch();
    let (without, with) = (stalled_or_not(false), stalled_or_not(true));
    println!("without a stalled subscriber: {without:?}");
    println!("with a stalled subscriber: {with:?}");
    assert!(with.bytes_max <= without.bytes_max);
    assert!(with.bytes_current <= without.bytes_current);
    assert!(with.count_total <= without.count_total);
    let beyond = with.bytes_max as usize - HISTORY;
    println!("{beyond} bytes at most beyond the history");
    assert!(beyond < 1_250_000); // for 4,600 entries, and 132 bytes for each subscription
}

/// The work of a hub whose memory is compared with the heap.
#[derive(Clone, Copy, Debug)]
struct Load {
    topics: usize,
    /// Events per topic.
    events: usize,
    /// Bytes of data per event.
    len: usize,
    /// Waiting subscribers per topic.
    subscribers: usize,
    has_keys: bool,
    /// The bound on memory, in bytes.
    bound: usize,
}

impl Load {
    const fn new(topics: usize, events: usize, len: usize) -> Self {
        Self {
            topics,
            events,
            len,
            subscribers: 0,
            has_keys: false,
            bound: usize::MAX,
        }
    }

    /// Returns the ratio of the heap to the memory that the hub reports.
    fn ratio(self) -> f64 {
        let mut subscriptions = Vec::with_capacity(self.topics * self.subscribers);
        let mut hub = None;
        // The subscriptions have no heap of their own.
        let cost = measure(|| {
            let hub = hub.insert(self.hub());
            for topic in 0..self.topics {
                let topic = topic.to_string();
                subscriptions.extend((0..self.subscribers).map(|_| waiting(hub, &topic)));
            }
            self.publish(hub);
        });
        let (heap, memory) = (cost.bytes_current as usize, hub.unwrap().memory());
        let ratio = heap as f64 / memory as f64;
        println!("{self:?}: {heap} bytes, {ratio:.3} of the {memory} that are reported");
        ratio
    }

    fn hub(self) -> Hub {
        let limits = Hub::builder().history(usize::MAX).history_bytes(usize::MAX);
        limits.memory(self.bound).build()
    }

    fn publish(self, hub: &Hub) {
        for event in 0..self.events {
            for topic in 0..self.topics {
                let mut options = PublishOptions::new();
                if self.has_keys {
                    options = options
                        .idempotency_key(format!("request {topic} {event}"))
                        .coalesce(format!("row {event}"));
                }
                let data = Event::data("x".repeat(self.len));
                let topic = topic.to_string();
                hub.publish_with(&topic, data, &options).unwrap();
            }
        }
    }
}

/// Compares the memory that a hub reports with its heap, for events of 20 B to 20 kB.
#[test]
fn the_memory_of_a_hub_is_within_10_percent_of_its_heap() {
    watch();
    for len in [20, 200, 2_000, 20_000] {
        let events: usize = (8_000_000 / len).min(10_000);
        for subscribers in [0, 2] {
            for (topics, events) in [
                (1, events),
                (100, events / 100),
                (2_000, events.div_ceil(2_000)),
                (10_000, usize::from(len < 20_000 || subscribers == 0)),
            ] {
                let load = Load {
                    subscribers,
                    ..Load::new(topics, events, len)
                };
                assert!((0.9..1.1).contains(&load.ratio()))
            }
        }
    }
}

/// Compares the memory that a hub reports with its heap, for topics with many waiting subscribers.
#[test]
fn the_memory_of_large_topics_is_within_10_percent_of_their_heap() {
    watch();
    for (topics, subscribers) in [
        (1, 10_000),
        (10, 1_000),
        (100, 300),
        (300, 100),
        (1_000, 17),
    ] {
        for events in [0, 1] {
            let load = Load {
                subscribers,
                ..Load::new(topics, events, 20)
            };
            assert!((0.9..1.1).contains(&load.ratio()))
        }
    }
}

/// Finishes topics that are forgotten for memory, and one that is removed again and again.
#[test]
fn finished_topics_take_no_memory_that_is_not_reported() {
    watch();
    let mut hub = None;
    let cost = measure(|| {
        let hub = hub.insert(Hub::builder().memory(1 << 20).build());
        for n in 0..20_000 {
            let topic = format!("generation {n}");
            hub.publish(&topic, Event::data("token")).unwrap();
            hub.finish(&topic).unwrap();
        }
    });
    let (heap, memory) = (cost.bytes_current as f64, hub.unwrap().memory() as f64);
    println!("{heap} bytes, {memory} are reported");
    assert!((0.9..1.1).contains(&(heap / memory)));

    let hub = Hub::new();
    let cost = measure(|| {
        for _ in 0..10_000 {
            hub.publish("a", Event::data("token")).unwrap();
            hub.finish("a").unwrap();
            assert!(hub.remove("a"));
        }
    });
    assert_eq!(hub.memory(), 0);
    assert!(cost.bytes_current < 2_000, "{}", cost.bytes_current);
}

/// Changes the topics of a subscription that is not polled.
#[test]
fn many_changes_by_a_handle_take_the_memory_of_one() {
    watch();
    let hub = Hub::new();
    let mut subscription = hub.subscribe(["lobby"]);
    let handle = subscription.handle();
    let cost = measure(|| {
        for _ in 0..10_000 {
            assert!(handle.add("game") && handle.remove("game"));
        }
    });
    println!("{} bytes", cost.bytes_current);
    assert!(cost.bytes_current < 2_000, "{}", cost.bytes_current);
    assert_eq!(hub.topic("game"), None);
}

/// Compares the memory that a hub reports with its heap, after the oldest events were dropped.
#[test]
fn the_memory_of_a_full_hub_is_within_10_percent_of_its_heap() {
    const BOUND: usize = 1 << 20;
    watch();
    for (topics, len) in [(1, 20), (100, 20), (6_000, 20), (100, 2_000), (100, 20_000)] {
        for subscribers in [0, 1] {
            let load = Load {
                subscribers,
                bound: BOUND,
                ..Load::new(topics, 4_000_000 / (len + 200) / topics, len)
            };
            assert!((0.9..1.1).contains(&load.ratio()))
        }
    }
}

/// Compares the memory that a hub reports with its heap, if each event has two keys.
#[test]
fn the_memory_of_a_hub_with_keys_is_within_10_percent_of_its_heap() {
    watch();
    for (topics, events) in [(1, 10_000), (100, 100), (1_000, 12), (3_000, 1)] {
        for len in [20, 2_000] {
            let load = Load {
                has_keys: true,
                ..Load::new(topics, events, len)
            };
            assert!((0.9..1.1).contains(&load.ratio()))
        }
    }
}

/// A waker that differs from every earlier one.
struct Another;

impl Wake for Another {
    fn wake(self: Arc<Self>) {}
}

/// Measures the memory that is left after some work, while other parts of the hub are in use.
#[test]
fn a_hub_frees_memory_that_it_no_longer_needs() {
    watch();
    type Work = fn(&Hub, &mut Subscription);
    let publish = |hub: &Hub, topic: &str| _ = hub.publish(topic, Event::data("x")).unwrap();
    let works: [(&str, isize, Work); 5] = [
        ("old events of a busy topic", 1_100, |hub, _| {
            (0..100_000).for_each(|_| _ = hub.publish("busy", Event::data("x")).unwrap());
            hub.remove("busy");
        }),
        ("a long history", 18_000, |hub, _| {
            for topic in 0..1_000 {
                for _ in 0..4 {
                    hub.publish(&topic.to_string(), Event::data("x")).unwrap();
                }
            }
            (0..1_000).for_each(|topic| assert!(hub.remove(&topic.to_string())));
            hub.publish("quiet", Event::data("x")).unwrap();
        }),
        ("topics that come and go", 512, |hub, _| {
            for topic in 0..10_000 {
                let topic = topic.to_string();
                hub.publish(&topic, Event::data("x")).unwrap();
                assert!(hub.remove(&topic));
            }
        }),
        ("subscriptions", 0, |hub, _| {
            let all: Vec<_> = (0..10_000).map(|_| waiting(hub, "quiet")).collect();
            drop(all);
            let all: Vec<_> = (0..10_000).map(|_| waiting(hub, "busy")).collect();
            drop(all);
        }),
        ("wakers", 24, |_, subscription| {
            for _ in 0..10_000 {
                let waker = Waker::from(Arc::new(Another));
                let mut cx = Context::from_waker(&waker);
                assert!(Pin::new(&mut *subscription).poll_next(&mut cx).is_pending());
            }
        }),
    ];
    for (what, most, work) in works {
        let hub = Hub::builder().history(4).build();
        let mut subscription = waiting(&hub, "waits");
        publish(&hub, "quiet");
        publish(&hub, "busy");
        let cost = measure(|| work(&hub, &mut subscription));
        println!("{what}: {} bytes left", cost.bytes_current);
        assert!(cost.bytes_current as isize <= most, "{what}");
    }
}
