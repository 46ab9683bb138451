//! The metrics of several hubs, of skipped items, and of a log that has lost entries.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Event, Hub, Subscription,
    hub::{DistributedHub, MemoryLog, OnLag, Position},
};
use tokio::time::{advance, sleep};

use super::{Background, Telemetry, recorded, recorded_async, within};

/// Returns the values of a metric: the rest of each line after its name and its opening brace.
fn values(telemetry: &Telemetry, name: &str) -> Vec<String> {
    let lines = telemetry.metrics().into_iter();
    lines
        .filter_map(|line| line.strip_prefix(&format!("{name}{{")).map(str::to_owned))
        .collect()
}

fn named(name: &'static str) -> Hub {
    Hub::builder().name(name).build()
}

fn read(subscription: &mut Subscription) {
    while let Some(Some(_)) = subscription.next().now_or_never() {}
}

fn follow(hub: DistributedHub) -> Background {
    Background::spawn(async move { within("the end of the hub", hub.follow()).await })
}

#[test]
fn hubs_with_different_names_have_their_own_labels() {
    recorded(|telemetry| {
        let (a, b) = (named("a"), named("b"));
        let _reader = a.subscribe(["x"]);
        a.publish("y", Event::data("x")).unwrap();
        (0..2).for_each(|_| _ = b.publish("x", Event::data("x")).unwrap());
        let expected = [
            ("sse_hub_published_total", ["hub=\"a\"} 1", "hub=\"b\"} 2"]),
            ("sse_hub_subscriptions", ["hub=\"a\"} 1", "hub=\"b\"} 0"]),
            ("sse_hub_topics", ["hub=\"a\"} 2", "hub=\"b\"} 1"]),
        ];
        for (name, expected) in expected {
            assert_eq!(values(&telemetry, name), expected, "{name}");
        }
        let memory = [a.memory(), b.memory()];
        let expected = [("a", memory[0]), ("b", memory[1])];
        let expected = expected.map(|(hub, memory)| format!("hub=\"{hub}\"}} {memory}"));
        assert_eq!(values(&telemetry, "sse_hub_memory_bytes"), expected);
    });
}

#[test]
fn hubs_with_the_same_name_report_their_sum() {
    recorded(|telemetry| {
        let hubs = [Hub::new(), Hub::new(), named("default")];
        let readers = hubs.each_ref().map(|hub| hub.subscribe(["x", "y"]));
        for hub in &hubs {
            hub.publish("x", Event::data("x")).unwrap();
        }
        let sum = |telemetry: &Telemetry| {
            let names = [
                "sse_hub_topics",
                "sse_hub_subscriptions",
                "sse_hub_memory_bytes",
            ];
            names.map(|name| values(telemetry, name).concat())
        };
        let line = |value: usize| format!("hub=\"default\"}} {value}");
        let memory: usize = hubs.iter().map(Hub::memory).sum();
        assert_eq!(sum(&telemetry), [line(6), line(3), line(memory)]);
        drop(readers);
        let memory: usize = hubs.iter().map(Hub::memory).sum();
        assert_eq!(sum(&telemetry), [line(3), line(0), line(memory)]);
        // A hub that is dropped takes back its part of the gauges.
        let [first, second, third] = hubs;
        drop((first, second));
        assert_eq!(sum(&telemetry), [line(1), line(0), line(third.memory())]);
        drop(third);
        assert_eq!(sum(&telemetry), [line(0), line(0), line(0)]);
        let published = values(&telemetry, "sse_hub_published_total");
        assert_eq!(published, ["hub=\"default\"} 3"]);
    });
}

#[test]
fn a_subscription_keeps_the_gauges_of_a_dropped_hub() {
    recorded(|telemetry| {
        let hub = Hub::new();
        let mut reader = hub.subscribe(["x"]);
        hub.publish("x", Event::data("x")).unwrap();
        drop(hub);
        assert_eq!(values(&telemetry, "sse_hub_topics"), ["hub=\"default\"} 1"]);
        read(&mut reader);
        drop(reader);
        for name in [
            "sse_hub_topics",
            "sse_hub_subscriptions",
            "sse_hub_memory_bytes",
        ] {
            assert_eq!(values(&telemetry, name), ["hub=\"default\"} 0"], "{name}");
        }
    });
}

#[test]
fn every_policy_for_a_lag_is_counted() {
    recorded(|telemetry| {
        let hub = Hub::builder().history(1).build();
        let policies = [OnLag::Reset, OnLag::Disconnect, OnLag::Latest];
        let mut readers = policies.map(|policy| hub.subscribe(["x"]).on_lag(policy));
        readers.iter_mut().for_each(read);
        hub.publish("x", Event::data("x")).unwrap();
        readers.iter_mut().for_each(read);
        (0..3).for_each(|_| _ = hub.publish("x", Event::data("x")).unwrap());
        readers.iter_mut().for_each(read);
        assert_eq!(
            values(&telemetry, "sse_hub_lagged_total"),
            ["hub=\"default\"} 3"]
        );
        let lagged = "hub=\"default\",reason=\"lagged\"} 1".to_owned();
        assert!(values(&telemetry, "sse_hub_resets_total").contains(&lagged));
        let topic = hub.topic("x").unwrap();
        assert_eq!((topic.lagged, topic.resets), (3, 1));
    });
}

#[test]
fn skipped_items_are_counted() {
    recorded_async(async |telemetry| {
        let hub = Hub::new();
        let interval = Duration::from_secs(1);
        let mut readers =
            [&["x"][..], &["x", "y"]].map(|topics| hub.subscribe(topics).latest_every(interval));
        for _ in 0..3 {
            (0..10).for_each(|_| _ = hub.publish("x", Event::data("x")).unwrap());
            readers.iter_mut().for_each(read);
            advance(interval).await;
        }
        assert_eq!(
            values(&telemetry, "sse_hub_skipped_total"),
            ["hub=\"default\"} 54"]
        );
        assert_eq!(hub.topic("x").unwrap().skipped, 54);
        // Two topics that are added with five old events each.
        let start = Position::new(hub.head().hi(), 0);
        for topic in ["v", "w"] {
            (0..5).for_each(|_| _ = hub.publish(topic, Event::data("x")).unwrap());
            assert!(readers[1].handle().add_after(topic, start));
        }
        read(&mut readers[1]);
        advance(interval).await;
        read(&mut readers[1]);
        assert_eq!(
            values(&telemetry, "sse_hub_skipped_total"),
            ["hub=\"default\"} 62"]
        );
    });
}

#[test]
fn a_gap_of_the_log_is_recorded() {
    recorded_async(async |telemetry| {
        let log = Arc::new(MemoryLog::new(7, 1_000));
        let hub = Hub::builder().name("node").distributed(log.clone());
        let hub: DistributedHub = within("the log to be loaded", hub).await.unwrap();
        let _follows = follow(hub.clone());
        let mut readers = [&["x"][..], &["quiet"]].map(|topics| hub.subscribe(topics));
        for _ in 0..100 {
            let published = hub.publish("x", Event::data("x"));
            within("an append", published).await.unwrap();
        }
        sleep(Duration::from_secs(2)).await;
        readers.iter_mut().for_each(read);
        let published = values(&telemetry, "sse_hub_published_total");
        assert_eq!(published, ["hub=\"node\"} 100"]);
        let bytes: usize = (1..=100)
            .map(|n| format!("data: x\nid: 7-{n}\n\n").len())
            .sum();
        let published = values(&telemetry, "sse_hub_published_bytes_total");
        assert_eq!(published, [format!("hub=\"node\"}} {bytes}")]);
        let before = hub.memory();
        log.lose(90);
        sleep(Duration::from_secs(2)).await;
        assert!(hub.memory() < before / 2, "{} {before}", hub.memory());
        readers.iter_mut().for_each(read);
        let memory = values(&telemetry, "sse_hub_memory_bytes");
        assert_eq!(memory, [format!("hub=\"node\"}} {}", hub.memory())]);
        assert_eq!(
            values(&telemetry, "sse_hub_lagged_total"),
            ["hub=\"node\"} 2"]
        );
        let resets = values(&telemetry, "sse_hub_resets_total");
        assert!(
            resets.contains(&"hub=\"node\",reason=\"lagged\"} 2".to_owned()),
            "{resets:?}"
        );
        // The topic is not in the log any more.
        let before = hub.memory();
        log.lose(10);
        sleep(Duration::from_secs(2)).await;
        assert!(hub.memory() < before, "{} {before}", hub.memory());
        hub.close();
    });
}

/// Returns the values of `sse_hub_log_connected`, `sse_hub_log_behind` and `sse_hub_log_losses_total`.
fn log_metrics(telemetry: &Telemetry) -> [String; 3] {
    let names = [
        "sse_hub_log_connected",
        "sse_hub_log_behind",
        "sse_hub_log_losses_total",
    ];
    names.map(|name| values(telemetry, name).concat())
}

/// Hubs with the same name report their sum. A hub that is dropped takes back its part.
#[test]
fn the_contact_with_a_log_is_recorded() {
    recorded_async(async |telemetry| {
        let line = |value: u64| format!("hub=\"node\"}} {value}");
        let log = Arc::new(MemoryLog::new(7, 2_000));
        let mut hubs = Vec::new();
        for _ in 0..2 {
            let hub = Hub::builder().name("node").distributed(log.clone());
            let hub: DistributedHub = within("the log to be loaded", hub).await.unwrap();
            hubs.push(hub);
        }
        assert_eq!(log_metrics(&telemetry), [line(0), line(0), line(0)]);
        for _ in 0..600 {
            let published = hubs[0].publish("x", Event::data("x"));
            within("an append", published).await.unwrap();
        }
        {
            let mut following = hubs.iter().map(|hub| Box::pin(hub.follow()));
            let mut following = [following.next().unwrap(), following.next().unwrap()];
            for (n, connected, behind) in [(0, 1, 100), (1, 2, 200), (1, 2, 100)] {
                assert!((&mut following[n]).now_or_never().is_none());
                let expected = [line(connected), line(behind), line(0)];
                assert_eq!(log_metrics(&telemetry), expected);
            }
            let [first, second] = following;
            drop(first);
            assert_eq!(log_metrics(&telemetry), [line(1), line(0), line(0)]);
            drop(second);
            assert_eq!(log_metrics(&telemetry), [line(0), line(0), line(0)]);
        }
        // Only the second hub has read what is lost.
        log.lose(90);
        let tasks: Vec<_> = hubs.iter().cloned().map(follow).collect();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(log_metrics(&telemetry), [line(2), line(0), line(1)]);
        drop((hubs, tasks));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(log_metrics(&telemetry), [line(0), line(0), line(1)]);
    });
}
