//! `OnLag::Latest`: the newest events, or a reset if one of them is lost.

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Hub, Subscription, hub::OnLag};

use super::{last, publish, read, reset, wire};

/// Sets of topics of one and of several topics.
const TOPICS: [&[&str]; 2] = [&["a"], &["a", "b"]];

fn latest(hub: &Hub, topics: &[&str]) -> Subscription {
    hub.subscribe(topics).on_lag(OnLag::Latest)
}

#[test]
fn a_removal_of_unread_events_is_a_reset() {
    for topics in TOPICS {
        let hub = Hub::new();
        let first = publish(&hub, "a", "1");
        let mut reader = latest(&hub, topics);
        assert_eq!(read(&mut reader), (wire("1", first), true));
        let mut new = latest(&hub, topics);
        let second = publish(&hub, "a", "2");
        assert!(hub.remove("a"));
        assert_eq!(read(&mut reader), (reset("lagged", second), true));
        // It begins at its first poll, and the event that it would begin with was removed.
        assert_eq!(read(&mut new), (reset("expired", second), true));
        // A reset is sent once, and events that are published later are read.
        let next = publish(&hub, "a", "3");
        for subscription in [&mut reader, &mut new] {
            assert_eq!(read(subscription), (wire("3", next), true));
        }
    }
}

#[test]
fn a_removal_of_events_that_were_read_is_no_loss() {
    for topics in TOPICS {
        let hub = Hub::builder().history(1).build();
        let first = publish(&hub, "a", "1");
        let mut reader = latest(&hub, topics);
        assert_eq!(read(&mut reader), (wire("1", first), true));
        assert!(hub.remove("a"));
        assert_eq!(read(&mut reader), (String::new(), true));
        if topics.contains(&"b") {
            publish(&hub, "b", "skipped");
            let newest = publish(&hub, "b", "newest");
            assert_eq!(read(&mut reader), (wire("newest", newest), true));
        }
        let next = publish(&hub, "a", "2");
        assert_eq!(read(&mut reader), (wire("2", next), true));
    }
}

/// The newest event is read after a removal too, and also if it is the only one that is left.
#[test]
fn a_loss_before_the_newest_event_is_no_reset() {
    for topics in TOPICS {
        let hub = Hub::new();
        let mut reader = latest(&hub, topics);
        publish(&hub, "a", "1");
        hub.remove("a");
        let newest = publish(&hub, "a", "2");
        assert_eq!(read(&mut reader), (wire("2", newest), true));

        let hub = Hub::builder().history(1).build();
        let mut reader = latest(&hub, topics);
        (0..9).for_each(|_| _ = publish(&hub, "a", "x"));
        let newest = publish(&hub, "a", "y");
        assert_eq!(read(&mut reader), (wire("y", newest), true));
    }
}

/// One topic has lost its newest event. The newest event of the other one is after the reset.
#[test]
fn a_reset_covers_the_newest_events_of_all_topics() {
    let hub = Hub::new();
    let mut reader = latest(&hub, &["a", "b"]);
    assert_eq!(read(&mut reader), (String::new(), true));
    publish(&hub, "a", "1");
    let b = publish(&hub, "b", "2");
    hub.remove("a");
    assert_eq!(read(&mut reader), (reset("lagged", b), true));
    let next = publish(&hub, "b", "3");
    assert_eq!(read(&mut reader), (wire("3", next), true));
}

#[test]
fn an_expired_id_yields_the_newest_events_or_a_reset() {
    for topics in TOPICS {
        let hub = Hub::builder().history(1).build();
        let old = publish(&hub, "a", "1");
        publish(&hub, "a", "2");
        let newest = publish(&hub, "a", "3");
        let mut resumed = latest(&hub, topics).after(last(old));
        assert_eq!(read(&mut resumed), (wire("3", newest), true));
        assert!(hub.remove("a"));
        let mut resumed = latest(&hub, topics).after(last(old));
        assert_eq!(read(&mut resumed), (reset("expired", newest), true));
        let mut current = latest(&hub, topics).after(last(newest));
        assert_eq!(read(&mut current), (String::new(), true));
    }
}

#[test]
fn the_newest_events_of_many_topics_come_in_pieces() {
    const TOPICS: usize = 200;
    let hub = Hub::new();
    let data = "x".repeat(100_000);
    let names: Vec<_> = (0..TOPICS).map(|n| format!("topic {n}")).collect();
    let mut waiting = latest(&hub, &Vec::from_iter(names.iter().map(String::as_str)));
    assert!(waiting.next().now_or_never().is_none());
    let newest = names.iter().map(|name| {
        publish(&hub, name, "old");
        publish(&hub, name, &data)
    });
    let newest: Vec<_> = newest.collect();
    let resumed = latest(&hub, &Vec::from_iter(names.iter().map(String::as_str)));
    let mut new = resumed.after(last("unknown"));
    let mut n = 0;
    while let Some(Some(piece)) = new.next().now_or_never() {
        assert_eq!(piece.count(), 1);
        assert!(piece == wire(&data, newest[n]).as_str(), "{n}");
        n += 1;
    }
    assert_eq!(n, TOPICS);
    // The other one has not lost anything.
    let mut events = 0;
    while let Some(Some(piece)) = waiting.next().now_or_never() {
        let bytes = piece.as_bytes().len();
        assert!(piece.count() == 1 || bytes < 2 * 32 * 1024, "{bytes}");
        events += piece.count();
    }
    assert_eq!(events, 2 * TOPICS as u64);
}

/// A newcomer cannot begin with an event that was removed. It can if it was never published.
#[test]
fn a_newcomer_to_a_removed_topic_is_reset() {
    for topics in TOPICS {
        let hub = Hub::new();
        let _keeps = hub.subscribe(["a"]);
        assert_eq!(read(&mut latest(&hub, topics)), (String::new(), true));
        let removed = publish(&hub, "a", "1");
        assert!(hub.remove("a"));
        let mut newcomer = latest(&hub, topics);
        assert_eq!(read(&mut newcomer), (reset("expired", removed), true));
        let topic = hub.topic("a").unwrap();
        assert_eq!((topic.resets, topic.lagged), (1, 0));
        assert!(hub.topic("b").is_none_or(|topic| topic.resets == 0));
        let next = publish(&hub, "a", "2");
        assert_eq!(read(&mut newcomer), (wire("2", next), true));
        assert_eq!(read(&mut latest(&hub, topics)), (wire("2", next), true));
    }
}
