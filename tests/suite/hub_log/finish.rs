//! Topics that end or are removed on all servers.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Event,
    hub::{EventLog as _, MemoryLog, OnLag, Position, PublishError, Record},
};
use tokio::time::sleep;

use super::{Node, last, publish, read, reset, wire};
use crate::deadline::within;

/// The time for which a finished topic keeps its history, by default.
const KEPT: Duration = Duration::from_secs(5 * 60);

async fn append_end(log: &MemoryLog, topic: &str) -> Position {
    let append = log.append(topic, Record::Finish, None);
    within("an append", append).await.unwrap()
}

async fn finish(hub: &Node, topic: &str) -> Position {
    within("the end", hub.finish(topic)).await.unwrap()
}

async fn is_refused(hub: &Node, topic: &str) -> bool {
    let published = within("a refusal", hub.publish(topic, Event::data("no"))).await;
    matches!(published, Err(PublishError::Finished))
}

#[tokio::test(start_paused = true)]
async fn a_topic_ends_on_all_servers() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let (a, b) = (Node::start(&log, 9).await, Node::start(&log, 9).await);
    let mut readers = [
        a.subscribe(["x"]),
        b.subscribe(["x"]),
        b.subscribe(["x", "y"]),
    ];
    let first = publish(&a, "x", "1").await;
    let end = finish(&a, "x").await;
    assert_eq!(end, Position::new(7, 2));
    b.reaches(end).await;
    for (n, reader) in readers.iter_mut().enumerate() {
        assert_eq!(read(reader).await, wire("1", first));
        let next = reader.next().now_or_never();
        assert_eq!(next.is_none(), n == 2);
    }
    assert!(is_refused(&a, "x").await && is_refused(&b, "x").await);
    let again = within("a refusal", b.finish("x")).await;
    assert!(matches!(again, Err(PublishError::Finished)));

    // A server that starts later knows the end.
    let c = Node::start(&log, 9).await;
    assert!(is_refused(&c, "x").await);
    let mut resumed = c.subscribe(["x"]).after(last("7-0"));
    assert_eq!(read(&mut resumed).await, wire("1", first));
    assert!(within("the end", resumed.next()).await.is_none());
}

/// Two servers have finished it at different times.
#[tokio::test(start_paused = true)]
async fn a_topic_is_over_after_the_time_of_its_first_end() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 9).await;
    publish(&hub, "x", "1").await;
    append_end(&log, "x").await;
    sleep(KEPT / 2).await;
    let second = append_end(&log, "x").await;
    hub.reaches(second).await;
    assert!(!hub.subscribe(["x"]).is_over());
    sleep(KEPT / 2 + Duration::from_secs(3)).await;
    assert!(hub.subscribe(["x"]).is_over());
}

#[tokio::test(start_paused = true)]
async fn a_finished_topic_is_over_on_all_servers() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let (a, b) = (Node::start(&log, 9).await, Node::start(&log, 9).await);
    publish(&a, "x", "1").await;
    let end = finish(&a, "x").await;
    b.reaches(end).await;
    let c = Node::start(&log, 9).await;
    for hub in [&a, &b, &c] {
        assert!(!hub.subscribe(["x"]).is_over());
    }
    sleep(KEPT + Duration::from_secs(1)).await;
    for hub in [&a, &b, &c] {
        assert!(hub.subscribe(["x"]).is_over());
    }
    // The topic begins anew.
    let again = publish(&c, "x", "2").await;
    for hub in [&a, &b, &c] {
        hub.reaches(again).await;
        assert!(!hub.subscribe(["x"]).is_over());
        let mut old = hub.subscribe(["x"]).after(last("7-0"));
        assert_eq!(read(&mut old).await, reset("expired", again));
        let mut from_start = hub.subscribe(["x"]).from_start();
        assert_eq!(read(&mut from_start).await, wire("2", again));
    }
}

/// Two servers finish a topic at the same time.
#[tokio::test(start_paused = true)]
async fn a_topic_that_is_finished_twice_keeps_its_history() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 9).await;
    let mut slow = hub.subscribe(["x"]);
    let first = publish(&hub, "x", "1").await;
    append_end(&log, "x").await;
    let end = append_end(&log, "x").await;
    hub.reaches(end).await;
    let later = Node::start(&log, 9).await;
    assert_eq!(read(&mut slow).await, wire("1", first));
    for hub in [&hub, &later] {
        assert_eq!(hub.topic("x").unwrap().events, 1);
        for topics in [&["x"][..], &["x", "y"]] {
            let subscribe = || hub.subscribe(topics);
            for mut reader in [
                subscribe().from_start(),
                subscribe().replay(3),
                subscribe().on_lag(OnLag::Latest),
                subscribe().after(last("7-0")),
            ] {
                assert_eq!(read(&mut reader).await, wire("1", first));
            }
        }
    }
}

/// A server that does not know of the end publishes another event, which begins the topic anew.
#[tokio::test(start_paused = true)]
async fn events_before_the_end_of_a_topic_are_not_lost_without_a_reset() {
    for topics in [&["x"][..], &["x", "y"]] {
        let log = Arc::new(MemoryLog::new(7, 100));
        let hub = Node::start(&log, 9).await;
        let mut reader = hub.subscribe(topics);
        let mut latest = hub.subscribe(topics).on_lag(OnLag::Latest);
        for reader in [&mut reader, &mut latest] {
            assert_eq!(read(reader).await, "");
        }
        // The waiting reader runs only after all three calls.
        publish(&hub, "x", "1").await;
        append_end(&log, "x").await;
        let second = publish(&hub, "x", "2").await;
        assert_eq!(read(&mut reader).await, reset("lagged", second));
        assert_eq!(hub.topic("x").unwrap().events, 1);
        let later = Node::start(&log, 9).await;
        for hub in [&hub, &later] {
            let mut old = hub.subscribe(topics).after(last("7-0"));
            assert_eq!(read(&mut old).await, reset("expired", second));
            let mut new = hub.subscribe(topics).from_start();
            assert_eq!(read(&mut new).await, wire("2", second));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_removed_on_all_servers() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let (a, b) = (Node::start(&log, 9).await, Node::start(&log, 9).await);
    let first = publish(&a, "x", "1").await;
    let removed = within("the removal", a.remove("x")).await.unwrap();
    for hub in [&a, &b] {
        hub.reaches(removed).await;
        assert_eq!(hub.topics(), vec![]);
    }
    // A server that was started later has neither the topic nor the positions.
    let other = Node::start(&log, 9).await;
    let mut old = other.subscribe(["x"]).after(last("7-0"));
    assert_eq!(read(&mut old).await, reset("expired", removed));

    let second = publish(&b, "x", "2").await;
    let c = Node::start(&log, 9).await;
    for hub in [&a, &b, &c] {
        hub.reaches(second).await;
        let mut new = hub.subscribe(["x"]).from_start();
        assert_eq!(read(&mut new).await, wire("2", second));
        let mut old = hub.subscribe(["x"]).after(last("7-0"));
        assert_eq!(read(&mut old).await, reset("expired", second));
        let mut current = hub.subscribe(["x"]).after(last(removed));
        assert_eq!(read(&mut current).await, wire("2", second));
        let mut read_it = hub.subscribe(["x"]).after(last(first));
        assert_eq!(read(&mut read_it).await, wire("2", second));
    }
}
