//! Clients that resume after their last event ID.

use std::collections::HashSet;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Event, EventType, Hub, LastEventId,
    hub::{Position, ResetReason},
};

use super::{last, publish, read, reset, wire};

#[test]
fn a_client_gets_what_it_missed_and_nothing_twice() {
    let hub = Hub::new();
    let at: Vec<_> = (0..6)
        .map(|n| publish(&hub, ["a", "b", "c"][n % 3], "x"))
        .collect();
    for (n, id) in at.iter().enumerate() {
        let mut resumed = hub.subscribe(["a", "b"]).after(last(id));
        let missed: String = (n + 1..6)
            .filter(|n| n % 3 < 2)
            .map(|n| wire("x", at[n]))
            .collect();
        assert_eq!(read(&mut resumed), (missed, true), "after {id}");
    }
}

/// Hubs that are made within one microsecond have different epochs.
#[test]
fn an_id_of_a_hub_is_unknown_to_the_next_one() {
    let hubs: Vec<Hub> = (0..10_000).map(|_| Hub::new()).collect();
    let epochs: HashSet<u64> = hubs.iter().map(|hub| hub.head().hi()).collect();
    assert_eq!(epochs.len(), hubs.len());

    for pair in hubs.windows(2).take(100) {
        let [before, at] = [0, 1].map(|n| publish(&pair[n], "a", "x"));
        let mut resumed = pair[1].subscribe(["a"]).after(last(before));
        assert_eq!(read(&mut resumed), (reset("unknown", at), true));
    }
}

/// Garbage, another epoch, a future position or a megabyte of text causes one reset.
///
/// The ID of an event of another topic and the position before the first event are valid.
#[test]
fn an_id_of_another_hub_is_reset() {
    let hub = Hub::new();
    let a = publish(&hub, "a", "x");
    let b = publish(&hub, "b", "secret");
    let (hi, lo) = (b.hi(), b.lo());
    let unknown = [
        format!("{}-{lo}", hi - 1),
        format!("{}-{lo}", hi + 1),
        format!("{hi}-{}", lo + 1),
        format!("{hi}-0{lo}"),
        "garbage".into(),
        "-".into(),
        "1".into(),
        "9".repeat(1 << 20),
        "\u{1f980}".into(),
    ];
    for id in unknown {
        let mut subscription = hub.subscribe(["a"]).after(last(&id));
        assert_eq!(read(&mut subscription), (reset("unknown", b), true));
    }
    let mut of_another = hub.subscribe(["a"]).after(last(b));
    assert_eq!(read(&mut of_another), (String::new(), true));
    let mut from_start = hub.subscribe(["a"]).after(last(Position::new(hi, 0)));
    assert_eq!(read(&mut from_start), (wire("x", a), true));

    let raw = http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    let raw = http::Request::get("/")
        .header("last-event-id", raw)
        .body(())
        .unwrap();
    let mut subscription = hub.subscribe(["a"]).after(LastEventId::from_request(&raw));
    assert_eq!(read(&mut subscription), (reset("unknown", b), true));
}

#[test]
fn an_id_expires_only_if_its_topics_have_lost_an_event() {
    let hub = Hub::builder().history(2).build();
    let first = publish(&hub, "a", "1");
    let busy: Vec<_> = (0..5).map(|_| publish(&hub, "b", "x")).collect();
    let second = publish(&hub, "a", "2");
    // Since then, events of `b` were dropped, but none of `a`.
    let mut a = hub.subscribe(["a"]).after(last(first));
    assert_eq!(read(&mut a), (wire("2", second), true));
    let mut both = hub.subscribe(["a", "b"]).after(last(first));
    assert_eq!(read(&mut both), (reset("expired", second), true));
    // The ID before the last dropped event has expired. The ID of that event is still valid.
    let mut b = hub.subscribe(["b"]).after(last(busy[1]));
    assert_eq!(read(&mut b), (reset("expired", second), true));
    let mut b = hub.subscribe(["b"]).after(last(busy[2]));
    assert_eq!(
        read(&mut b),
        (wire("x", busy[3]) + &wire("x", busy[4]), true)
    );
}

#[test]
fn an_id_expires_if_its_topic_was_removed() {
    let hub = Hub::new();
    let first = publish(&hub, "a", "x");
    publish(&hub, "b", "x");
    assert!(hub.remove("b"));
    assert!(!hub.remove("b") && !hub.remove("never"));
    let waits = hub.subscribe(["no history"]);
    assert!(!hub.remove("no history"));
    drop(waits);
    assert_eq!(hub.topics().len(), 1);
    let mut b = hub.subscribe(["b"]).after(last(first));
    assert_eq!(read(&mut b), (reset("expired", hub.head()), true));
    let mut b = hub.subscribe(["b"]).after(last(hub.head()));
    assert_eq!(read(&mut b), (String::new(), true));
}

#[test]
fn periodic_empty_events_keep_an_id_recent() {
    const TICK: EventType = EventType::from_static("tick");
    let hub = Hub::new();
    let quiet = publish(&hub, "quiet", "x");
    let mut ticked = hub.subscribe(["quiet", "clock"]).after(last(quiet));
    publish(&hub, "other", "x");
    hub.remove("other"); // removes the topic too
    hub.remove("quiet");
    let tick = Event::data("").event_type(TICK);
    let tick = hub.publish("clock", tick).unwrap();
    let wire = format!("event: tick\ndata: \nid: {tick}\n\n");
    assert_eq!(read(&mut ticked), (wire, true));
    drop(ticked);

    let mut back = hub.subscribe(["quiet", "clock"]).after(last(tick));
    assert_eq!(read(&mut back), (String::new(), true));
    let mut without = hub.subscribe(["quiet", "clock"]).after(last(quiet));
    assert_eq!(read(&mut without), (reset("expired", tick), true));
}

#[test]
fn the_reset_event_can_be_replaced() {
    const SYNC: EventType = EventType::from_static("sync");
    let builder = Hub::builder().reset_event(|reason| match reason {
        ResetReason::Unknown => Event::data("who?").event_type(SYNC),
        _ => Event::data(reason.to_string()),
    });
    let hub = builder.build();
    let mut subscription = hub.subscribe(["a"]).after(last("x"));
    let start = hub.head();
    assert_eq!(
        read(&mut subscription).0,
        format!("event: sync\ndata: who?\nid: {start}\n\n")
    );

    let comment = Hub::builder().reset_event(|_| Event::new().comment("c"));
    let mut subscription = comment.build().subscribe(["a"]).after(last("x"));
    let reset = subscription.next().now_or_never().unwrap().unwrap();
    assert_eq!(reset.count(), 1);
}
