//! The newest event of each topic per interval, on the paused clock.

use std::time::Duration;

use futures_util::StreamExt as _;
use http_sse::Hub;
use tokio::time::{Instant, advance};

use super::{last, publish, read, reset, wire};
use crate::deadline::{finished, within};

const INTERVAL: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn skipped(hub: &Hub, topic: &str) -> u64 {
    hub.topic(topic).unwrap().skipped
}

#[tokio::test(start_paused = true)]
async fn the_newest_event_is_yielded_once_per_interval() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        assert_eq!(read(&mut latest), (String::new(), true));
        let mut all = 0;
        for n in 1..=5 {
            // 100 events per interval, of which the last one is yielded.
            (0..100).for_each(|_| _ = publish(&hub, "a", &n.to_string()));
            let at = hub.head();
            all += 99;
            assert_eq!(read(&mut latest), (wire(&n.to_string(), at), true));
            assert_eq!(skipped(&hub, "a"), all);
            assert_eq!(read(&mut latest), (String::new(), true));
            publish(&hub, "a", "skipped");
            all += 1;
            advance(INTERVAL - MILLISECOND).await;
            assert_eq!(read(&mut latest), (String::new(), true));
            advance(MILLISECOND).await;
        }
        let newest = hub.head();
        assert_eq!(read(&mut latest), (wire("skipped", newest), true));
        assert_eq!(skipped(&hub, "a"), all - 1);
        let topic = hub.topic("a").unwrap();
        assert_eq!((topic.lagged, topic.resets), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_events_are_yielded_at_once() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        publish(&hub, "a", "old");
        let newest = publish(&hub, "a", "newest");
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        assert_eq!(read(&mut latest), (wire("newest", newest), true));
        // Events from before the subscription are not skipped by it.
        assert_eq!(skipped(&hub, "a"), 0);
        let mut resumed = hub
            .subscribe(topics)
            .latest_every(INTERVAL)
            .after(last(newest));
        assert_eq!(read(&mut resumed), (String::new(), true));
        let mut unknown = hub
            .subscribe(topics)
            .latest_every(INTERVAL)
            .after(last("unknown"));
        assert_eq!(read(&mut unknown), (wire("newest", newest), true));
    }
}

#[tokio::test(start_paused = true)]
async fn every_topic_has_its_newest_event_in_an_interval() {
    let hub = Hub::new();
    let mut latest = hub.subscribe(["a", "b", "c"]).latest_every(INTERVAL);
    assert_eq!(read(&mut latest), (String::new(), true));
    publish(&hub, "b", "skipped");
    publish(&hub, "a", "skipped");
    let b = publish(&hub, "b", "b");
    publish(&hub, "a", "skipped");
    let a = publish(&hub, "a", "a");
    let both = wire("b", b) + &wire("a", a);
    assert_eq!(read(&mut latest), (both, true));
    let b = publish(&hub, "b", "b");
    let c = publish(&hub, "c", "c");
    assert_eq!(read(&mut latest), (String::new(), true));
    advance(INTERVAL).await;
    assert_eq!(read(&mut latest), (wire("b", b) + &wire("c", c), true));
    let counts = ["a", "b", "c"].map(|topic| skipped(&hub, topic));
    assert_eq!(counts, [2, 1, 0]);
}

/// After an idle interval, an event is yielded as soon as it is published.
#[tokio::test(start_paused = true)]
async fn an_event_after_an_idle_interval_is_yielded_at_once() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        let reader = tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..3 {
                let _event = within("an event", latest.next()).await.unwrap();
                times.push(Instant::now());
            }
            times
        });
        tokio::task::yield_now().await;
        let start = Instant::now();
        advance(10 * INTERVAL).await;
        publish(&hub, "a", "1");
        tokio::task::yield_now().await;
        advance(3 * INTERVAL).await;
        publish(&hub, "a", "2");
        tokio::task::yield_now().await;
        advance(INTERVAL / 4).await;
        publish(&hub, "a", "3");
        let times = finished("three events", reader).await;
        let times: Vec<_> = times.iter().map(|time| *time - start).collect();
        assert_eq!(times, [10 * INTERVAL, 13 * INTERVAL, 14 * INTERVAL]);
    }
}

#[tokio::test(start_paused = true)]
async fn trimmed_events_are_skipped_and_not_lost() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::builder().history(1).build();
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        let first = publish(&hub, "a", "1");
        assert_eq!(read(&mut latest), (wire("1", first), true));
        (0..10).for_each(|_| _ = publish(&hub, "a", "skipped"));
        let newest = publish(&hub, "a", "2");
        advance(INTERVAL).await;
        assert_eq!(read(&mut latest), (wire("2", newest), true));
        let topic = hub.topic("a").unwrap();
        assert_eq!((topic.skipped, topic.lagged, topic.resets), (10, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_newest_event_is_a_reset() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        let first = publish(&hub, "a", "1");
        assert_eq!(read(&mut latest), (wire("1", first), true));
        let second = publish(&hub, "a", "2");
        assert!(hub.remove("a"));
        advance(INTERVAL).await;
        assert_eq!(read(&mut latest), (reset("lagged", second), true));
        let third = publish(&hub, "a", "3");
        advance(INTERVAL).await;
        assert_eq!(read(&mut latest), (wire("3", third), true));
    }
}

/// A removal while the events of one interval are read, in two pieces.
#[tokio::test(start_paused = true)]
async fn an_interval_can_have_several_pieces() {
    let hub = Hub::builder().history(1).build();
    let names = ["a", "b", "c", "d"];
    let mut latest = hub.subscribe(names).latest_every(INTERVAL);
    let data = "x".repeat(40_000);
    let at = names.map(|name| publish(&hub, name, &data));
    let piece = within("the first piece", latest.next()).await.unwrap();
    assert!(piece == wire(&data, at[0]).as_str());
    // The newest event of `d` is replaced before it is read.
    let newer = publish(&hub, "d", "newer");
    let (text, _) = read(&mut latest);
    assert!(
        text == wire(&data, at[1]) + &wire(&data, at[2]),
        "{}",
        text.len()
    );
    advance(INTERVAL).await;
    assert_eq!(read(&mut latest), (wire("newer", newer), true));
}

#[tokio::test(start_paused = true)]
async fn the_newest_event_before_an_end_is_yielded() {
    type End = fn(&Hub, &[&str]);
    let finish: End = |hub, topics| {
        for topic in topics {
            hub.finish(topic).unwrap();
        }
    };
    let close: End = |hub, _| hub.close();
    for (topics, end) in [
        (&["a"][..], finish),
        (&["a"], close),
        (&["a", "b"], finish),
        (&["a", "b"], close),
    ] {
        let hub = Hub::new();
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        let first = publish(&hub, "a", "1");
        assert_eq!(read(&mut latest), (wire("1", first), true));
        publish(&hub, "a", "skipped");
        let newest = publish(&hub, "a", "2");
        end(&hub, topics);
        assert_eq!(read(&mut latest), (String::new(), true));
        advance(INTERVAL).await;
        assert_eq!(read(&mut latest).0, wire("2", newest));
        advance(INTERVAL).await;
        assert_eq!(read(&mut latest), (String::new(), false));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_subscription_leaves_nothing() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut latest = hub.subscribe(topics).latest_every(INTERVAL);
        let at = publish(&hub, "a", "1");
        assert_eq!(read(&mut latest), (wire("1", at), true));
        publish(&hub, "a", "2");
        drop(latest);
        hub.remove("a");
        assert_eq!((hub.topics(), hub.memory()), (vec![], 0));
    }
}

/// Each subscription counts what it skips.
#[tokio::test(start_paused = true)]
async fn all_subscriptions_count_what_they_skip() {
    let hub = Hub::new();
    let mut fast = hub.subscribe(["a"]).latest_every(INTERVAL);
    let mut slow = hub.subscribe(["a"]).latest_every(10 * INTERVAL);
    let mut all = hub.subscribe(["a"]);
    let mut texts = [String::new(), String::new(), String::new()];
    for n in 0..=40 {
        publish(&hub, "a", &n.to_string());
        for (text, reader) in texts.iter_mut().zip([&mut fast, &mut slow, &mut all]) {
            *text += &read(reader).0;
        }
        advance(INTERVAL / 2).await;
    }
    let counts = texts.map(|text| text.matches("data: ").count());
    assert_eq!(counts, [21, 3, 41]);
    assert_eq!(skipped(&hub, "a"), 20 + 38);
}

/// A topic that is added with old events yields the newest of them.
#[tokio::test(start_paused = true)]
async fn an_added_topic_yields_its_newest_event() {
    let hub = Hub::new();
    let start = hub.head();
    let mut latest = hub.subscribe(["a"]).latest_every(INTERVAL);
    let handle = latest.handle();
    (1..=5).for_each(|n| _ = publish(&hub, "b", &n.to_string()));
    let newest = hub.head();
    let at = publish(&hub, "a", "a");
    assert_eq!(read(&mut latest), (wire("a", at), true));
    assert!(handle.add_after("b", start));
    advance(INTERVAL).await;
    assert_eq!(read(&mut latest), (wire("5", newest), true));
    assert_eq!(skipped(&hub, "b"), 4);
    let next = publish(&hub, "b", "6");
    advance(INTERVAL).await;
    assert_eq!(read(&mut latest), (wire("6", next), true));
}
