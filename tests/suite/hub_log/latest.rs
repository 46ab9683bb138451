//! `OnLag::Latest` with a log: the newest events, or a reset if one of them is lost.

use std::sync::Arc;

use http_sse::{
    Hub, Subscription,
    hub::{MemoryLog, OnLag, Position},
};

use super::{Node, engine::Engine, publish, read, reset, wire};
use crate::deadline::within;

fn latest(hub: &Node, topics: &[&str]) -> Subscription {
    hub.subscribe(topics).on_lag(OnLag::Latest)
}

#[tokio::test(start_paused = true)]
async fn a_gap_of_the_log_yields_the_newest_event_that_is_left_of_each_topic() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let mut at = vec![Position::default()];
    for (topic, data) in [("x", "1"), ("y", "2"), ("x", "3"), ("lost", "4")] {
        at.push(publish(&hub, topic, data).await);
    }
    hub.reaches(at[4]).await;
    let topics: [&[&str]; 6] = [
        &["x"],
        &["y"],
        &["x", "y"],
        &["lost"],
        &["lost", "x"],
        &["quiet"],
    ];
    let mut subscriptions = topics.map(|topics| latest(&hub, topics));
    for subscription in &mut subscriptions {
        read(subscription).await;
    }
    log.state().entries.truncate(2);
    hub.reaches(at[2]).await;
    let (x, y) = (wire("1", at[1]), wire("2", at[2]));
    let lost = reset("lagged", at[2]);
    let both = x.clone() + &y;
    let expected = [x, y, both, lost.clone(), lost.clone(), lost];
    for ((topics, subscription), expected) in topics.iter().zip(&mut subscriptions).zip(expected) {
        assert_eq!(read(subscription).await, expected, "{topics:?}");
    }
    let next = publish(&hub, "x", "next").await;
    for (topics, subscription) in topics.iter().zip(&mut subscriptions) {
        let expected = topics.contains(&"x").then(|| wire("next", next));
        assert_eq!(read(subscription).await, expected.unwrap_or_default());
    }
}

#[tokio::test(start_paused = true)]
async fn a_gap_counts_for_a_topic_that_the_log_has_trimmed() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 10).await;
    let first = publish(&hub, "x", "1").await;
    hub.reaches(first).await;
    let mut subscriptions = [&["x"][..], &["x", "y"]].map(|topics| latest(&hub, topics));
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, wire("1", first));
    }
    // The waiting reader runs only after all three calls.
    publish(&hub, "x", "2").await;
    log.trim(0);
    let third = publish(&hub, "y", "3").await;
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, reset("lagged", third));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_of_one_entry_is_the_newest_event() {
    for trimmed in [false, true] {
        let log = Arc::new(MemoryLog::new(7, 100));
        let other = Node::start(&log, 10).await;
        if trimmed {
            publish(&other, "x", "old").await;
            publish(&other, "y", "old").await;
        }
        let at = publish(&other, "x", "1").await;
        log.trim(1);
        let hub = Hub::builder().distributed(log.clone());
        let hub = Node::of(within("the log to be loaded", hub).await.unwrap());
        assert_eq!(read(&mut latest(&hub, &["x"])).await, wire("1", at));
        assert_eq!(read(&mut latest(&hub, &["x", "y"])).await, wire("1", at));
        assert_eq!(read(&mut latest(&hub, &["y"])).await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removal_in_the_log_loses_the_newest_event() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 10).await;
    let mut subscriptions = [&["x"][..], &["x", "y"]].map(|topics| latest(&hub, topics));
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, "");
    }
    publish(&hub, "x", "1").await;
    let removed = within("the removal", hub.remove("x")).await.unwrap();
    hub.reaches(removed).await;
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, reset("lagged", removed));
    }
    // Nothing is lost for those who have read it.
    let second = publish(&hub, "x", "2").await;
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, wire("2", second));
    }
    let removed = within("the removal", hub.remove("x")).await.unwrap();
    hub.reaches(removed).await;
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, "");
    }
}
