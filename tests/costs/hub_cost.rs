//! What the hub costs: memory at rest and at a storm of resumes, and nothing for a delivery.

use allocation_counter::measure;
use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Event, Hub, LastEventId, Sse, Subscription};

fn waiting(hub: &Hub, topic: &str) -> Subscription {
    let mut subscription = hub.subscribe([topic]);
    assert!(subscription.next().now_or_never().is_none());
    subscription
}

/// At most 400 bytes for a subscription that waits, itself included.
#[test]
fn an_idle_subscription_costs_at_most_400_bytes() {
    const SUBSCRIBERS: usize = 10_000;
    for (topics, most) in [(1, 400), (SUBSCRIBERS, 1_000)] {
        let hub = Hub::new();
        let mut all = Vec::with_capacity(SUBSCRIBERS);
        let cost = measure(|| {
            all.extend((0..SUBSCRIBERS).map(|n| waiting(&hub, &format!("{}", n % topics))));
        });
        let each = cost.bytes_current as usize / SUBSCRIBERS + size_of::<Subscription>();
        println!("{each} bytes for each subscription, with {topics} topics");
        assert!(each <= most, "{each} bytes");
        let back = measure(|| drop(all));
        let left = cost.bytes_current + back.bytes_current;
        assert!(left < 4_096, "{left} bytes are left");
    }
}

/// None for a delivery: publishing to ten thousand costs what publishing to ten does.
#[test]
fn a_delivery_costs_no_allocation() {
    let allocations = |subscribers: usize, burst: usize| {
        let hub = Hub::new();
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
        (0..2_000 / burst).for_each(|_| round()); // until the history is full
        measure(round).count_total
    };
    for burst in [1, 8, 64] {
        let (few, many) = (allocations(10, burst), allocations(10_000, burst));
        println!("in bursts of {burst}: {few} allocations for 10 subscribers, {many} for 10,000");
        // What grows is the list of those who are to be woken.
        assert!(many <= few + 16, "{few} and {many}");
    }
}

/// A thousand clients that come back at once for 256 events of 10 kB each.
#[tokio::test]
async fn a_thousand_resumes_cost_less_than_64_mb_beyond_the_history() {
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
        // All are in the middle of it, and each has a frame that its connection has not written.
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
    assert!(cost.bytes_max < 64 << 20, "{}", cost.bytes_max);
}
