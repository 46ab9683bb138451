//! Events that are published once, and events that replace earlier ones.

use http_sse::{
    Event, Hub,
    hub::{Position, PublishError, PublishOptions},
};

use super::{last, publish, read, reset, wire};

fn publish_with(hub: &Hub, data: &str, options: &PublishOptions) -> Position {
    let event = Event::data(data.to_owned());
    hub.publish_with("a", event, options).unwrap()
}

fn once(hub: &Hub, data: &str, key: &str) -> Position {
    publish_with(hub, data, &PublishOptions::new().idempotency_key(key))
}

fn coalesce(hub: &Hub, data: &str, key: &str) -> Position {
    publish_with(hub, data, &PublishOptions::new().coalesce(key))
}

fn counts(hub: &Hub) -> (usize, u64) {
    let topic = hub.topic("a").unwrap();
    (topic.events, topic.published)
}

#[test]
fn an_idempotency_key_returns_the_first_position() {
    let hub = Hub::new();
    let mut reader = hub.subscribe(["a"]);
    let first = once(&hub, "1", "key");
    let other = once(&hub, "2", "other key");
    for _ in 0..3 {
        assert_eq!(once(&hub, "again", "key"), first);
        assert_eq!(once(&hub, "again", "other key"), other);
    }
    let both = wire("1", first) + &wire("2", other);
    assert_eq!(read(&mut reader), (both, true));
    assert_eq!((counts(&hub), hub.head()), ((2, 2), other));
    // Each topic has its own keys.
    let options = PublishOptions::new().idempotency_key("key");
    let of_b = hub.publish_with("b", Event::data("3"), &options).unwrap();
    assert!(of_b > other);
    hub.finish("a").unwrap();
    assert_eq!(once(&hub, "again", "key"), first);
    let refused = hub.publish_with(
        "a",
        Event::data("4"),
        &PublishOptions::new().idempotency_key("new key"),
    );
    assert!(matches!(refused, Err(PublishError::Finished)));
}

#[test]
fn an_idempotency_key_is_forgotten_with_its_event() {
    let hub = Hub::builder().history(2).build();
    let first = once(&hub, "1", "key");
    publish(&hub, "a", "2");
    assert_eq!(once(&hub, "1", "key"), first);
    publish(&hub, "a", "3");
    let again = once(&hub, "1", "key");
    assert!(again > first);
    assert_eq!(once(&hub, "1", "key"), again);
    assert!(hub.remove("a"));
    assert!(once(&hub, "1", "key") > again);
    assert!(hub.remove("a"));
    assert_eq!(hub.memory(), 0);
}

#[test]
fn a_coalesced_event_replaces_the_unread_one() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let start = hub.head();
        let mut slow = hub.subscribe(topics);
        let mut fast = hub.subscribe(topics);
        let x = coalesce(&hub, "x 1", "x");
        assert_eq!(read(&mut fast), (wire("x 1", x), true));
        let y = coalesce(&hub, "y 1", "y");
        let plain = publish(&hub, "a", "plain");
        let b = publish(&hub, "b", "b");
        let x = coalesce(&hub, "x 2", "x");
        let of_b = if topics.len() > 1 {
            wire("b", b)
        } else {
            String::new()
        };
        let rest = wire("y 1", y) + &wire("plain", plain) + &of_b + &wire("x 2", x);
        assert_eq!(read(&mut fast), (rest.clone(), true));
        assert_eq!(read(&mut slow), (rest.clone(), true));
        let mut resumed = hub.subscribe(topics).after(last(start));
        assert_eq!(read(&mut resumed), (rest, true));
        assert_eq!(counts(&hub), (3, 4));
        let resets: u64 = hub.topics().iter().map(|topic| topic.resets).sum();
        assert_eq!(resets, 0);
    }
}

/// Two subscriptions read the same topics from the same place, and an event is replaced between.
#[test]
fn shared_pieces_do_not_bring_back_a_replaced_event() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut readers = [0, 1].map(|_| hub.subscribe(topics));
        let x = coalesce(&hub, "x 1", "x");
        let rest: String = ["1", "2"]
            .map(|data| wire(data, publish(&hub, topics.last().unwrap(), data)))
            .concat();
        assert_eq!(read(&mut readers[0]), (wire("x 1", x) + &rest, true));
        let x = coalesce(&hub, "x 2", "x");
        assert_eq!(read(&mut readers[1]), (rest + &wire("x 2", x), true));
        assert_eq!(read(&mut readers[0]), (wire("x 2", x), true));
    }
}

/// An id of a replaced event is still valid.
#[test]
fn a_client_resumes_after_a_replaced_event() {
    let hub = Hub::new();
    let at: Vec<_> = (1..=5)
        .map(|n| coalesce(&hub, &format!("x {n}"), "x"))
        .collect();
    for id in &at[..4] {
        let mut resumed = hub.subscribe(["a"]).after(last(id));
        assert_eq!(read(&mut resumed), (wire("x 5", at[4]), true));
    }
    let mut from_start = hub.subscribe(["a"]).from_start();
    assert_eq!(read(&mut from_start), (wire("x 5", at[4]), true));
    let mut last_three = hub.subscribe(["a"]).replay(3);
    assert_eq!(read(&mut last_three), (wire("x 5", at[4]), true));
}

#[test]
fn many_replaced_events_take_no_memory() {
    let hub = Hub::builder().history(100).build();
    let price = |n: usize| coalesce(&hub, &format!("{n:07}"), &format!("{:02}", n % 50));
    (0..50).for_each(|n| _ = price(n));
    let memory = hub.memory();
    let mut slow = hub.subscribe(["a"]);
    let with_reader = hub.memory();
    (50..20_000).for_each(|n| _ = price(n));
    assert_eq!(counts(&hub), (50, 20_000));
    let newest: String = (19_950..20_000)
        .map(|n| wire(&format!("{n:07}"), Position::new(hub.head().hi(), n + 1)))
        .collect();
    assert_eq!(read(&mut slow), (newest, true));
    drop(slow);
    let now = hub.memory();
    assert!(now < 2 * memory.max(with_reader), "{memory} {now}");
    assert!(hub.remove("a"));
    assert_eq!((hub.topics().len(), hub.memory()), (0, 0));
}

/// A replaced event makes room for others, and a trimmed one is a loss as always.
#[test]
fn replaced_events_do_not_count_as_history() {
    let hub = Hub::builder().history(2).build();
    let mut reader = hub.subscribe(["a"]);
    let plain = publish(&hub, "a", "plain");
    let mut x = plain;
    for n in 0..9 {
        x = coalesce(&hub, &n.to_string(), "x");
    }
    assert_eq!(counts(&hub), (2, 10));
    assert_eq!(
        read(&mut reader),
        (wire("plain", plain) + &wire("8", x), true)
    );
    let mut slow = hub.subscribe(["a"]).after(last(plain));
    publish(&hub, "a", "y");
    publish(&hub, "a", "z");
    let head = hub.head();
    assert_eq!(read(&mut slow), (reset("expired", head), true));
    // The key of the trimmed event is forgotten.
    let x = coalesce(&hub, "9", "x");
    assert_eq!(counts(&hub), (2, 13));
    let mut last_one = hub.subscribe(["a"]).replay(1);
    assert_eq!(read(&mut last_one), (wire("9", x), true));
}

#[test]
fn an_event_can_have_both_keys() {
    let hub = Hub::new();
    let options = |once: &str| {
        let options = PublishOptions::new().idempotency_key(once.to_owned());
        options.coalesce("x")
    };
    let first = publish_with(&hub, "1", &options("a"));
    let second = publish_with(&hub, "2", &options("b"));
    assert_eq!(publish_with(&hub, "2", &options("b")), second);
    assert_eq!(counts(&hub), (1, 2));
    // The first event was replaced, and its key is forgotten with it.
    assert!(publish_with(&hub, "1", &options("a")) > first);
    assert_eq!(counts(&hub), (1, 3));
}
