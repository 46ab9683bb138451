//! Reports of the topics that have subscribers, on the paused clock.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Hub,
    hub::{Demand, DemandChange},
};
use tokio::time::{Instant, advance};

use super::publish;
use crate::deadline::{finished, within};

const DELAY: Duration = Duration::from_secs(5);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Returns the changes that are ready: `+` and the name of a wanted topic, or `-`.
fn changes(demand: &mut Demand) -> Vec<String> {
    let mut changes = Vec::new();
    while let Some(change) = demand.next().now_or_never() {
        changes.push(match change.expect("the stream does not end") {
            DemandChange::Wanted(topic) => format!("+{topic}"),
            DemandChange::Unwanted(topic) => format!("-{topic}"),
            other => panic!("{other:?}"),
        });
    }
    changes
}

#[tokio::test(start_paused = true)]
async fn the_first_reports_are_of_present_subscribers() {
    let hub = Hub::new();
    publish(&hub, "history only", "x");
    let _a = [hub.subscribe(["a"]), hub.subscribe(["a", "b"])];
    drop(hub.subscribe(["c"]));
    let mut demand = hub.demand(DELAY);
    let mut first = changes(&mut demand);
    first.sort_unstable();
    assert_eq!(first, ["+a", "+b"]);
    assert!(changes(&mut demand).is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_first_and_the_last_subscriber_are_reported() {
    let hub = Hub::new();
    let mut demand = hub.demand(DELAY);
    assert!(changes(&mut demand).is_empty());
    let first = hub.subscribe(["a"]);
    assert_eq!(changes(&mut demand), ["+a"]);
    let second = hub.subscribe(["a", "b"]);
    assert_eq!(changes(&mut demand), ["+b"]);
    publish(&hub, "a", "x");
    drop(first);
    assert!(changes(&mut demand).is_empty());
    advance(2 * DELAY).await;
    assert!(changes(&mut demand).is_empty());
    drop(second);
    assert!(changes(&mut demand).is_empty());
    advance(DELAY - MILLISECOND).await;
    assert!(changes(&mut demand).is_empty());
    advance(MILLISECOND).await;
    let mut last = changes(&mut demand);
    last.sort_unstable();
    assert_eq!(last, ["-a", "-b"]);
    let _again = hub.subscribe(["a"]);
    assert_eq!(changes(&mut demand), ["+a"]);
}

/// A waiting stream is woken, exactly after the delay.
#[tokio::test(start_paused = true)]
async fn a_waiting_stream_is_woken() {
    let hub = Hub::new();
    let mut demand = hub.demand(DELAY);
    let waits = tokio::spawn(async move {
        let mut times = Vec::new();
        for _ in 0..2 {
            times.push((within("a change", demand.next()).await, Instant::now()));
        }
        times
    });
    advance(MILLISECOND).await;
    let reader = hub.subscribe(["a"]);
    let wanted = Instant::now();
    tokio::task::yield_now().await;
    advance(10 * MILLISECOND).await;
    drop(reader);
    let left = Instant::now();
    tokio::task::yield_now().await;
    let times = finished("two changes", waits).await;
    let expected = [
        (Some(DemandChange::Wanted("a".into())), wanted),
        (Some(DemandChange::Unwanted("a".into())), left + DELAY),
    ];
    assert_eq!(times, expected);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_undone_within_the_delay_is_not_reported() {
    let hub = Hub::new();
    let mut demand = hub.demand(DELAY);
    let mut reader = hub.subscribe(["a"]);
    assert_eq!(changes(&mut demand), ["+a"]);
    for _ in 0..10 {
        drop(reader);
        assert!(changes(&mut demand).is_empty());
        advance(DELAY - MILLISECOND).await;
        assert!(changes(&mut demand).is_empty());
        reader = hub.subscribe(["a"]);
        assert!(changes(&mut demand).is_empty());
        advance(MILLISECOND).await;
        assert!(changes(&mut demand).is_empty());
    }
    // The delay counts from the last time that the topic was left.
    drop(reader);
    assert!(changes(&mut demand).is_empty());
    advance(DELAY - MILLISECOND).await;
    drop(hub.subscribe(["a"]));
    assert!(changes(&mut demand).is_empty());
    advance(DELAY - MILLISECOND).await;
    assert!(changes(&mut demand).is_empty());
    advance(MILLISECOND).await;
    assert_eq!(changes(&mut demand), ["-a"]);
    // A subscriber that has left before the first report is none.
    drop(hub.subscribe(["a"]));
    drop(hub.subscribe(["never reported"]));
    assert!(changes(&mut demand).is_empty());
    advance(2 * DELAY).await;
    assert!(changes(&mut demand).is_empty());
}

/// Each undone change is forgotten at once, not after the delay.
#[tokio::test(start_paused = true)]
async fn changes_that_are_undone_take_no_memory() {
    let hub = Hub::new();
    let mut demand = hub.demand(DELAY);
    let heap = allocation_counter::measure(|| {
        for _ in 0..1_000 {
            let reader = hub.subscribe(["a"]);
            changes(&mut demand);
            drop(reader);
            assert!(changes(&mut demand).is_empty());
        }
    });
    assert!(heap.bytes_current < 5_000, "{heap:?}");
    advance(DELAY).await;
    assert_eq!(changes(&mut demand), ["-a"]);
}

#[tokio::test(start_paused = true)]
async fn topics_are_reported_in_the_order_of_their_changes() {
    let hub = Hub::new();
    let mut demand = hub.demand(DELAY);
    let names = ["d", "b", "a", "c"];
    let mut readers: Vec<_> = names.map(|name| hub.subscribe([name])).into();
    assert_eq!(changes(&mut demand), ["+d", "+b", "+a", "+c"]);
    for _ in names {
        readers.pop();
        assert!(changes(&mut demand).is_empty());
        advance(MILLISECOND).await;
    }
    advance(DELAY - 4 * MILLISECOND).await;
    for name in ["c", "a", "b", "d"] {
        assert_eq!(changes(&mut demand), [format!("-{name}")]);
        advance(MILLISECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_demand_has_its_own_delay() {
    let hub = Hub::new();
    let mut first = hub.demand(DELAY);
    let mut second = hub.demand(2 * DELAY);
    let mut at_once = hub.demand(Duration::ZERO);
    let mut never = hub.demand(Duration::MAX);
    let reader = hub.subscribe(["a"]);
    for demand in [&mut first, &mut second, &mut at_once, &mut never] {
        assert_eq!(changes(demand), ["+a"]);
    }
    drop(reader);
    assert_eq!(changes(&mut at_once), ["-a"]);
    for demand in [&mut first, &mut second, &mut never] {
        assert!(changes(demand).is_empty());
    }
    advance(DELAY).await;
    assert_eq!(changes(&mut first), ["-a"]);
    assert!(changes(&mut second).is_empty());
    drop(first);
    advance(DELAY).await;
    assert_eq!(changes(&mut second), ["-a"]);
    drop(second);
    let _reader = hub.subscribe(["a"]);
    assert_eq!(changes(&mut at_once), ["+a"]);
    assert!(changes(&mut never).is_empty(), "it was never unwanted");
}

#[tokio::test(start_paused = true)]
async fn topics_of_a_handle_are_reported_too() {
    let hub = Hub::new();
    let mut demand = hub.demand(Duration::ZERO);
    let mut reader = hub.subscribe(["a"]);
    let handle = reader.handle();
    assert_eq!(changes(&mut demand), ["+a"]);
    handle.add("b");
    assert_eq!(changes(&mut demand), ["+b"]);
    handle.remove("a");
    // The subscription gives up the topic when it is polled.
    assert!(reader.next().now_or_never().is_none());
    assert_eq!(changes(&mut demand), ["-a"]);
    hub.close();
    drop(reader);
    assert_eq!(changes(&mut demand), ["-b"]);
}
