//! Topics that end: what their subscribers get, and what happens to their names.

use std::time::Duration;

use futures_util::StreamExt as _;
use http::StatusCode;
use http_sse::{
    Event, Hub, Sse,
    hub::{OnLag, Position, PublishError},
};
use tokio::time::{Instant, advance};

use super::{last, publish, read, reset, sent, wire};
use crate::deadline::{finished, within};

const MINUTE: Duration = Duration::from_secs(60);

fn is_refused(hub: &Hub, topic: &str) -> bool {
    let published = hub.publish(topic, Event::data("no"));
    matches!(published, Err(PublishError::Finished))
}

#[test]
fn a_finished_topic_ends_after_its_last_event() {
    let hub = Hub::new();
    let mut reader = hub.subscribe(["a"]);
    let mut slow = hub.subscribe(["a"]);
    let first = publish(&hub, "a", "1");
    assert_eq!(read(&mut reader), (wire("1", first), true));
    let second = publish(&hub, "a", "2");
    let end = hub.finish("a").unwrap();
    assert_eq!((end, hub.head()), (Position::new(first.hi(), 3), end));
    assert_eq!(read(&mut reader), (wire("2", second), false));
    let both = wire("1", first) + &wire("2", second);
    assert_eq!(read(&mut slow), (both, false));
    assert_eq!(read(&mut slow), (String::new(), false));
}

#[test]
fn a_subscription_of_several_topics_ends_with_the_last_of_them() {
    let hub = Hub::new();
    let mut reader = hub.subscribe(["a", "b"]);
    let mut slow = hub.subscribe(["a", "b"]);
    let a = publish(&hub, "a", "1");
    hub.finish("a").unwrap();
    assert_eq!(read(&mut reader), (wire("1", a), true));
    let b = publish(&hub, "b", "2");
    assert_eq!(read(&mut reader), (wire("2", b), true));
    hub.finish("b").unwrap();
    assert_eq!(read(&mut reader), (String::new(), false));
    assert_eq!(read(&mut slow), (wire("1", a) + &wire("2", b), false));
    // One that comes after the first end waits for the second topic only.
    let hub = Hub::new();
    hub.finish("a").unwrap();
    let mut late = hub.subscribe(["a", "b"]);
    assert_eq!(read(&mut late), (String::new(), true));
    hub.finish("b").unwrap();
    assert_eq!(read(&mut late), (String::new(), false));
}

#[test]
fn a_finished_topic_accepts_nothing() {
    let hub = Hub::new();
    publish(&hub, "a", "1");
    let end = hub.finish("a").unwrap();
    assert!(is_refused(&hub, "a"));
    assert!(matches!(hub.finish("a"), Err(PublishError::Finished)));
    assert_eq!(hub.head(), end);
    let topic = hub.topic("a").unwrap();
    assert!(topic.is_finished);
    assert_eq!((topic.events, topic.published), (1, 1));
    publish(&hub, "b", "not finished");
    assert!(!hub.topic("b").unwrap().is_finished);
}

#[test]
fn a_topic_can_be_finished_with_nobody_subscribed_and_nothing_published() {
    let hub = Hub::new();
    hub.finish("a").unwrap();
    assert!(is_refused(&hub, "a"));
    assert_eq!(read(&mut hub.subscribe(["a"])), (String::new(), false));
    let mut from_start = hub.subscribe(["a"]).from_start();
    assert_eq!(read(&mut from_start), (String::new(), false));
    assert!(!hub.subscribe(["a"]).is_over());
}

#[test]
fn a_client_that_resumes_gets_the_rest_and_the_end() {
    let hub = Hub::new();
    let at: Vec<_> = (0..3).map(|_| publish(&hub, "a", "x")).collect();
    let end = hub.finish("a").unwrap();
    for topics in [&["a"][..], &["a", "b"]] {
        let is_open = topics.len() > 1;
        for n in 0..3 {
            let rest: String = at[n + 1..].iter().map(|at| wire("x", *at)).collect();
            let mut resumed = hub.subscribe(topics).after(last(at[n]));
            assert_eq!(read(&mut resumed), (rest, is_open));
        }
        let mut resumed = hub.subscribe(topics).after(last(end));
        assert_eq!(read(&mut resumed), (String::new(), is_open));
        let mut unknown = hub.subscribe(topics).after(last("unknown"));
        assert_eq!(read(&mut unknown), (reset("unknown", end), is_open));
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_topic_wakes_its_subscribers() {
    let hub = Hub::new();
    let waits: Vec<_> = [&["a"][..], &["a", "b"]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            tokio::spawn(async move { within("the end", subscription.next()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    hub.finish("a").unwrap();
    hub.finish("b").unwrap();
    for waits in waits {
        let next = finished("a subscription to end", waits).await;
        assert!(next.is_none(), "{next:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_topic_is_a_clean_end_of_a_response() {
    let hub = Hub::new();
    let mut body = Sse::new(hub.subscribe(["a"]))
        .keep_alive(None)
        .end_with(Event::data("goodbye"))
        .into_body();
    let at = publish(&hub, "a", "x");
    hub.finish("a").unwrap();
    let expected = format!(":\n{}data: goodbye\n\n", wire("x", at));
    assert_eq!(sent(&mut body), (expected, false));
}

#[tokio::test(start_paused = true)]
async fn a_finished_topic_is_over_after_its_time() {
    let hub = Hub::builder().finished_for(MINUTE).build();
    let first = publish(&hub, "a", "1");
    let end = hub.finish("a").unwrap();
    let status = |hub: &Hub| {
        let subscription = hub.subscribe(["a"]).after(last(first));
        let is_over = subscription.is_over();
        let response = Sse::new(subscription).stop_if(is_over).into_response();
        response.status()
    };
    advance(MINUTE - Duration::from_millis(1)).await;
    assert_eq!(status(&hub), StatusCode::OK);
    assert!(is_refused(&hub, "a"));
    advance(Duration::from_millis(1)).await;
    assert_eq!(status(&hub), StatusCode::NO_CONTENT);
    assert!(!hub.subscribe(["a", "b"]).is_over());
    assert!(!hub.subscribe([""; 0]).is_over());
    assert_eq!(hub.topic("a").unwrap().events, 0);

    // The topic begins anew.
    let again = publish(&hub, "a", "2");
    assert_eq!(again, Position::new(end.hi(), end.lo() + 1));
    assert_eq!(status(&hub), StatusCode::OK);
    assert!(!hub.topic("a").unwrap().is_finished);
    let mut from_start = hub.subscribe(["a"]).from_start();
    assert_eq!(read(&mut from_start), (wire("2", again), true));
    for old in [first, end.min(Position::new(end.hi(), 0))] {
        let mut resumed = hub.subscribe(["a"]).after(last(old));
        assert_eq!(read(&mut resumed), (reset("expired", again), true));
    }
    let mut resumed = hub.subscribe(["a"]).after(last(again));
    assert_eq!(read(&mut resumed), (String::new(), true));
}

#[tokio::test(start_paused = true)]
async fn all_topics_of_a_subscription_must_be_over() {
    let hub = Hub::builder().finished_for(MINUTE).build();
    hub.finish("a").unwrap();
    advance(MINUTE / 2).await;
    hub.finish("b").unwrap();
    advance(MINUTE / 2).await;
    assert!(hub.subscribe(["a"]).is_over());
    assert!(!hub.subscribe(["b"]).is_over() && !hub.subscribe(["a", "b"]).is_over());
    advance(MINUTE / 2).await;
    assert!(hub.subscribe(["a", "b"]).is_over());
}

/// A topic that was removed and finished again keeps its history for the whole time.
#[tokio::test(start_paused = true)]
async fn a_removed_topic_can_be_finished_again() {
    let hub = Hub::builder().finished_for(MINUTE).build();
    let _keeps_the_topic = hub.subscribe(["a"]);
    publish(&hub, "a", "1");
    hub.finish("a").unwrap();
    advance(MINUTE / 2).await;
    assert!(hub.remove("a"));
    let second = publish(&hub, "a", "2");
    let start = Instant::now();
    hub.finish("a").unwrap();
    while start.elapsed() < MINUTE {
        let subscription = hub.subscribe(["a"]);
        assert!(!subscription.is_over(), "after {:?}", start.elapsed());
        let mut all = subscription.from_start();
        assert_eq!(read(&mut all), (wire("2", second), false));
        advance(MINUTE / 4).await;
    }
    assert!(hub.subscribe(["a"]).is_over());
}

/// A topic begins anew while a subscriber of the old one has unread events.
#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_of_a_topic_that_begins_anew_is_reset() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::builder().finished_for(MINUTE).build();
        let mut slow = hub.subscribe(topics);
        let mut fast = hub.subscribe(topics);
        let first = publish(&hub, "a", "1");
        hub.finish("a").unwrap();
        let is_open = topics.len() > 1;
        assert_eq!(read(&mut fast), (wire("1", first), is_open));
        advance(MINUTE).await;
        let again = publish(&hub, "a", "2");
        assert_eq!(read(&mut slow), (reset("lagged", again), is_open));
        assert_eq!(read(&mut fast), (String::new(), is_open));
    }
}

/// The history of a finished topic is dropped while a subscriber has unread events.
#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_of_a_topic_that_is_over_is_reset() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::builder().finished_for(MINUTE).build();
        let mut slow = hub.subscribe(topics);
        publish(&hub, "a", "1");
        let end = hub.finish("a").unwrap();
        advance(MINUTE).await;
        drop(hub.subscribe(["c"]));
        let is_open = topics.len() > 1;
        assert_eq!(read(&mut slow), (reset("lagged", end), is_open));
    }
}

#[test]
fn a_closed_hub_finishes_nothing() {
    let hub = Hub::new();
    let at = publish(&hub, "a", "1");
    let mut reader = hub.subscribe(["a"]).after(last(Position::new(at.hi(), 0)));
    hub.close();
    assert!(matches!(hub.finish("a"), Err(PublishError::Closed)));
    assert_eq!(read(&mut reader), (wire("1", at), false));
}

#[test]
fn a_finished_topic_is_forgotten_for_memory() {
    let hub = Hub::builder().memory(100_000).build();
    for n in 0..10_000 {
        let name = format!("topic {n}");
        publish(&hub, &name, "x");
        hub.finish(&name).unwrap();
        assert!(hub.memory() <= 100_000, "{}", hub.memory());
    }
    assert!(is_refused(&hub, "topic 9999"));
    let first = publish(&hub, "topic 0", "again");
    let mut reader = hub.subscribe(["topic 0"]).from_start();
    assert_eq!(read(&mut reader), (wire("again", first), true));
}

/// The subscriber has read everything, and is polled after the topic began anew.
#[test]
fn a_subscriber_that_has_read_everything_ends_without_a_loss() {
    for on_lag in [OnLag::Reset, OnLag::Disconnect, OnLag::Latest] {
        for topics in [&["a"][..], &["a", "b"]] {
            let hub = Hub::builder().finished_for(Duration::ZERO).build();
            let mut reader = hub.subscribe(topics).on_lag(on_lag);
            let at = publish(&hub, "a", "1");
            assert_eq!(read(&mut reader), (wire("1", at), true));
            hub.finish("a").unwrap();
            publish(&hub, "a", "new");
            let is_open = topics.len() > 1;
            assert_eq!(read(&mut reader), (String::new(), is_open), "{on_lag:?}");
            if is_open {
                let at = publish(&hub, "b", "2");
                assert_eq!(read(&mut reader), (wire("2", at), true));
            }
        }
    }
}
