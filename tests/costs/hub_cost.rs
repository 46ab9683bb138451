//! The cost of a hub: the memory of idle and resuming subscriptions, and the allocations of
//! deliveries.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Wake, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use futures_util::{FutureExt as _, Stream as _, StreamExt as _};
use http_sse::{Event, Hub, LastEventId, Sse, Subscription};

use crate::deadline::watch;

fn waiting(hub: &Hub, topic: &str) -> Subscription {
    let mut subscription = hub.subscribe([topic]);
    assert!(subscription.next().now_or_never().is_none());
    subscription
}

/// Measures waiting subscriptions. Each takes 164 bytes including its own size, or 542 bytes with a
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

/// Compares the hub's estimate of its memory with the heap. The estimate does not count the unused
/// part of a block. The heap is 1.1 to 2.43 times the estimate.
#[test]
fn the_memory_of_a_hub_is_at_least_two_fifths_of_its_heap() {
    watch();
    for (topics, events, len) in [
        (1, 10_000, 10),
        (1, 10_000, 200),
        (1, 1_000, 10_000),
        (100, 100, 200),
        (10_000, 1, 10),
        (10_000, 1, 1_000),
    ] {
        let hub = Hub::builder()
            .history(usize::MAX)
            .history_bytes(usize::MAX)
            .build();
        let cost = measure(|| {
            for _ in 0..events {
                for topic in 0..topics {
                    hub.publish(&topic.to_string(), Event::data("x".repeat(len)))
                        .unwrap();
                }
            }
        });
        let (heap, estimated) = (cost.bytes_current as usize, hub.memory());
        println!(
            "{topics} topics with {events} events of {len} bytes: {heap}, estimated {estimated}"
        );
        assert!((estimated..estimated * 5 / 2).contains(&heap));
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
