//! The delivery of events of a log, and publication to it.

use std::{convert::Infallible, sync::Arc};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Encode, Encoder, Event, Hub,
    hub::{MemoryLog, Position, PublishError, PublishOptions},
};

use super::{Node, last, publish, read, reset, wire};
use crate::deadline::within;

#[tokio::test(start_paused = true)]
async fn all_servers_deliver_events_in_one_order() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let (a, b) = (Node::start(&log, 100).await, Node::start(&log, 100).await);
    let mut of_a = a.subscribe(["x", "y"]);
    let mut of_b = b.subscribe(["x", "y"]);
    let first = publish(&a, "x", "1").await;
    let second = publish(&b, "y", "2").await;
    let other = publish(&b, "z", "3").await;
    assert_eq!((first, other), (Position::new(7, 1), Position::new(7, 3)));
    let both = wire("1", first) + &wire("2", second);
    assert_eq!(read(&mut of_a).await, both);
    assert_eq!(read(&mut of_b).await, both);
    assert_eq!((a.head(), b.head()), (other, other));

    assert_eq!(a.topics_where(|topic| topic.subscribers == 1).len(), 2);
    assert_eq!((a.disconnect("x"), a.disconnect("z")), (1, 0));
    publish(&a, "x", "4").await;
    let last = publish(&a, "y", "5").await;
    assert_eq!(read(&mut of_a).await, wire("5", last));
}

#[tokio::test(start_paused = true)]
async fn events_missing_from_the_history_come_from_the_log() {
    const EVENTS: u64 = 2_345;
    let log = Arc::new(MemoryLog::new(7, 10_000));
    let hub = Node::start(&log, 3).await;
    for n in 1..=EVENTS {
        publish(&hub, ["x", "y"][n as usize % 2], &n.to_string()).await;
    }
    hub.reaches(Position::new(7, EVENTS)).await;
    for after in [0, 1, 499, 500, 501, 999, 2_300, EVENTS - 1, EVENTS] {
        let id = last(Position::new(7, after));
        let mut resumed = hub.subscribe(["x"]).after(id);
        let missed = (after + 1..=EVENTS).filter(|n| n % 2 == 0);
        let missed: String = missed
            .map(|n| wire(&n.to_string(), Position::new(7, n)))
            .collect();
        assert_eq!(read(&mut resumed).await, missed, "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_missed_too_much_is_reset() {
    let log = Arc::new(MemoryLog::new(7, 20_000));
    let hub = Node::start(&log, 1).await;
    const EVENTS: u64 = 10_501;
    for n in 1..=EVENTS {
        publish(&hub, "x", &n.to_string()).await;
    }
    let head = Position::new(7, EVENTS);
    hub.reaches(head).await;
    // A client gets at most twenty pages of 500 events from the log, and then the event of the
    // history. If it has missed one more event, a reset replaces the rest after the pages.
    let events = |range: std::ops::RangeInclusive<u64>| -> Vec<String> {
        range
            .map(|n| wire(&n.to_string(), Position::new(7, n)))
            .collect()
    };
    let too_many = vec![reset("expired", head)];
    for (after, expected) in [(500, events(501..=EVENTS)), (499, too_many)] {
        let mut resumed = hub.subscribe(["x"]).after(last(Position::new(7, after)));
        let got = read(&mut resumed).await;
        let got: Vec<_> = got.split_inclusive("\n\n").collect();
        assert_eq!(got.len(), expected.len(), "after {after}");
        let differs = got
            .iter()
            .zip(&expected)
            .find(|(got, expected)| got != expected);
        assert_eq!(differs, None, "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_log_does_not_have_is_reset() {
    let log = Arc::new(MemoryLog::new(7, 10));
    let hub = Node::start(&log, 2).await;
    for _ in 0..20 {
        publish(&hub, "x", "").await;
    }
    let head = Position::new(7, 20);
    hub.reaches(head).await;
    for id in ["6-15", "8-1", "7-21", "7-9", "7-18446744073709551615"] {
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        assert_eq!(read(&mut resumed).await, reset("expired", head), "{id}");
    }
    for id in ["garbage", "7-020"] {
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        assert_eq!(read(&mut resumed).await, reset("unknown", head), "{id}");
    }
    let mut at_the_bound = hub.subscribe(["x"]).after(last("7-10"));
    assert_eq!(
        read(&mut at_the_bound).await.matches("data: \n").count(),
        10
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_ahead_of_its_server_resumes_after_its_id() {
    let log = Arc::new(MemoryLog::new(7, 100));
    // This hub does not follow the log yet.
    let behind = Hub::builder().distributed(log.clone());
    let behind = within("the log to be loaded", behind).await.unwrap();
    let ahead = Node::start(&log, 100).await;
    publish(&ahead, "x", "1").await;
    let second = publish(&ahead, "x", "2").await;
    let mut client = behind.subscribe(["x"]).after(last(second));
    assert!(client.next().now_or_never().is_none());
    let third = publish(&ahead, "x", "3").await;
    let _follows = Node::of(behind.clone());
    assert_eq!(read(&mut client).await, wire("3", third));
}

#[tokio::test(start_paused = true)]
async fn a_new_server_loads_its_history_from_the_log() {
    let log = Arc::new(MemoryLog::new(7, 2_000));
    let old = Node::start(&log, 10).await;
    for n in 1..=1_500 {
        publish(&old, "x", &n.to_string()).await;
    }
    let new = Node::start(&log, 10_000).await;
    assert_eq!(new.head(), Position::new(7, 1_500));
    assert_eq!(new.topics()[0].events, 1_500);
}

#[tokio::test(start_paused = true)]
async fn an_item_is_published_only_if_it_writes_one_event() {
    /// An item that writes this many events.
    struct Events(usize);

    impl Encode for Events {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            for n in 0..self.0 {
                encoder.data(&n.to_string());
                encoder.end_event();
            }
            Ok(())
        }
    }

    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 100).await;
    let mut client = hub.subscribe(["x"]);
    let options = PublishOptions::new().idempotency_key("key");
    for events in [0, 2, 3] {
        let refused = within("the refusal", hub.publish("x", Events(events))).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, PublishError::NotOneEvent), "{refused:?}");
        let refused = within(
            "the refusal",
            hub.publish_with("x", Events(events), &options),
        )
        .await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, PublishError::NotOneEvent), "{refused:?}");
    }
    let published = within("the publication", hub.publish("x", Events(1))).await;
    assert_eq!(
        published.unwrap(),
        Position::new(7, 1),
        "a rejected item was written"
    );
    assert_eq!(read(&mut client).await, wire("0", Position::new(7, 1)));
}

#[tokio::test(start_paused = true)]
async fn an_event_with_a_key_is_published_once() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 100).await;
    let mut reader = hub.subscribe(["x"]);
    let options = PublishOptions::new().idempotency_key("key");
    let published = hub.publish_with("x", Event::data("1"), &options);
    let first = within("the publication", published).await.unwrap();
    let published = hub.publish_with("x", Event::data("1"), &options);
    let again = within("the second publication", published).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(read(&mut reader).await, wire("1", first));
    hub.close();
    let refused = within("a refusal", hub.publish("x", Event::data("2"))).await;
    assert!(matches!(refused, Err(PublishError::Closed)));
    assert!(within("the end", reader.next()).await.is_none());
}

/// A hub notices that the log dropped entries before they were read, even if one entry is left.
#[tokio::test(start_paused = true)]
async fn entries_dropped_before_they_are_read_cause_a_reset() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let hub = Node::start(&log, 100).await;
    let mut subscription = hub.subscribe(["x"]);
    let first = publish(&hub, "x", "1").await;
    assert_eq!(read(&mut subscription).await, wire("1", first));

    // The waiting reader runs only after all three calls.
    publish(&hub, "x", "2").await;
    log.trim(0);
    let third = publish(&hub, "x", "3").await;
    assert_eq!(read(&mut subscription).await, reset("lagged", third));

    // An entry that was read before the log dropped it is not lost.
    log.trim(0);
    let fourth = publish(&hub, "x", "4").await;
    assert_eq!(read(&mut subscription).await, wire("4", fourth));
}
