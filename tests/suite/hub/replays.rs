//! Subscriptions that start with the last events of their topics, or with the first one.

use http_sse::{Event, Hub, LastEventId, Sse, hub::Position};

use super::{last, publish, read, reset, sent, wire};

/// A hub with events of three topics in turn, and their positions.
fn hub_of_9() -> (Hub, Vec<Position>) {
    let hub = Hub::new();
    let at = (0..9).map(|n| publish(&hub, ["a", "b", "c"][n % 3], &n.to_string()));
    let at = at.collect();
    (hub, at)
}

/// Returns the wire of these events of [`hub_of_9`].
fn events(at: &[Position], numbers: &[usize]) -> String {
    let events = numbers.iter().map(|n| wire(&n.to_string(), at[*n]));
    events.collect()
}

#[test]
fn a_replay_is_of_the_last_events_of_all_topics_together() {
    let (hub, at) = hub_of_9();
    let all: [(&[&str], &[usize]); 4] = [
        (&["a"], &[0, 3, 6]),
        (&["a", "b"], &[0, 1, 3, 4, 6, 7]),
        (&["c", "a"], &[0, 2, 3, 5, 6, 8]),
        (&["a", "none"], &[0, 3, 6]),
    ];
    for (topics, all) in all {
        for n in 0..=all.len() + 2 {
            let mut newcomer = hub.subscribe(topics).replay(n);
            let from = all.len().saturating_sub(n);
            let expected = events(&at, &all[from..]);
            assert_eq!(read(&mut newcomer), (expected, true), "{n} of {topics:?}");
        }
        let mut newcomer = hub.subscribe(topics).replay(usize::MAX);
        assert_eq!(read(&mut newcomer), (events(&at, all), true));
    }
    assert_eq!(read(&mut hub.subscribe(["none"]).replay(3)).0, "");
    assert_eq!(read(&mut hub.subscribe([""; 0]).replay(3)).0, "");
}

#[test]
fn events_after_a_replay_are_delivered() {
    for topics in [&["a"][..], &["a", "b"]] {
        for n in [0, 1, 5] {
            let (hub, at) = hub_of_9();
            let before = hub.subscribe(topics).replay(n);
            // Published before the first poll, it comes after the last events.
            let next = publish(&hub, "a", "next");
            let all: &[usize] = if topics.len() == 1 {
                &[0, 3, 6]
            } else {
                &[0, 1, 3, 4, 6, 7]
            };
            let mut reader = before;
            let from = all.len().saturating_sub(n);
            let expected = events(&at, &all[from..]) + &wire("next", next);
            assert_eq!(read(&mut reader), (expected, true), "{n} of {topics:?}");
            let last = publish(&hub, "a", "last");
            assert_eq!(read(&mut reader), (wire("last", last), true));
        }
    }
}

/// The start is that at the call. What is removed before the first poll is lost.
#[test]
fn a_start_is_taken_before_the_first_poll() {
    for topics in [&["a"][..], &["a", "b"]] {
        for n in [None, Some(2)] {
            let subscribe = |hub: &Hub| match n {
                None => hub.subscribe(topics).from_start(),
                Some(n) => hub.subscribe(topics).replay(n),
            };
            let hub = Hub::new();
            let mut reader = subscribe(&hub);
            let at = ["1", "2", "3"].map(|data| publish(&hub, "a", data));
            let all = wire("1", at[0]) + &wire("2", at[1]) + &wire("3", at[2]);
            assert_eq!(read(&mut reader), (all, true));

            let hub = Hub::new();
            let mut reader = subscribe(&hub);
            let removed = publish(&hub, "a", "1");
            assert!(hub.remove("a"));
            let reason = if n.is_none() { "expired" } else { "lagged" };
            assert_eq!(read(&mut reader), (reset(reason, removed), true));
        }
    }
}

/// The events of a topic are dropped for memory while nobody is subscribed, and more follow.
#[test]
fn a_topic_that_goes_on_after_it_was_forgotten_has_no_start() {
    for topics in [&["generation"][..], &["generation", "b"]] {
        let hub = Hub::builder().memory(20_000).build();
        (1..=3).for_each(|n| _ = publish(&hub, "generation", &n.to_string()));
        for n in 0..100 {
            publish(&hub, &format!("topic {n}"), &"x".repeat(300));
        }
        assert_eq!(hub.topic("generation"), None);
        let at = publish(&hub, "generation", "4");
        let mut reader = hub.subscribe(topics).from_start();
        assert_eq!(read(&mut reader), (reset("expired", at), true));
        // A topic that is removed begins anew, also when it is forgotten already.
        for is_present in [true, false] {
            if !is_present {
                drop(reader);
                for n in 0..100 {
                    publish(&hub, &format!("topic {n}"), &"x".repeat(300));
                }
            }
            assert_eq!(hub.remove("generation"), is_present);
            let first = publish(&hub, "generation", "first");
            reader = hub.subscribe(topics).from_start();
            assert_eq!(read(&mut reader), (wire("first", first), true));
        }
        // A new topic has a start, although others were forgotten.
        let first = publish(&hub, "new", "1");
        let mut reader = hub.subscribe(["new"]).from_start();
        assert_eq!(read(&mut reader), (wire("1", first), true));
    }
}

#[test]
fn events_of_a_closed_topic_are_not_replayed() {
    let (hub, at) = hub_of_9();
    let newcomer = hub.subscribe(["a", "b", "c"]);
    assert_eq!(hub.disconnect("c"), 1);
    let mut newcomer = newcomer.replay(2);
    assert_eq!(read(&mut newcomer), (events(&at, &[6, 7]), true));
    // Those that were chosen before are not replaced by others.
    let mut newcomer = hub.subscribe(["a", "b", "c"]).replay(2);
    assert_eq!(hub.disconnect("c"), 2);
    assert_eq!(read(&mut newcomer), (events(&at, &[7]), true));
}

#[test]
fn a_replay_of_a_trimmed_history_starts_with_its_oldest_event() {
    let hub = Hub::builder().history(2).build();
    let at: Vec<_> = (0..6)
        .map(|n| publish(&hub, ["a", "b"][n % 2], "x"))
        .collect();
    let kept =
        |numbers: &[usize]| -> String { numbers.iter().map(|n| wire("x", at[*n])).collect() };
    for n in [2, 3, 9] {
        let mut a = hub.subscribe(["a"]).replay(n);
        assert_eq!(read(&mut a), (kept(&[2, 4]), true));
    }
    for n in [4, 5, 9] {
        let mut both = hub.subscribe(["a", "b"]).replay(n);
        assert_eq!(read(&mut both), (kept(&[2, 3, 4, 5]), true), "{n}");
    }
}

#[test]
fn a_last_event_id_takes_precedence() {
    let (hub, at) = hub_of_9();
    for topics in [&["a"][..], &["a", "b"]] {
        let missed = if topics.len() == 1 {
            ""
        } else {
            &wire("7", at[7])
        };
        let subscribe = || hub.subscribe(topics);
        let id = || last(at[6]);
        for mut resumed in [
            subscribe().replay(2).after(id()),
            subscribe().after(id()).replay(2),
            subscribe().from_start().after(id()),
            subscribe().after(id()).from_start(),
        ] {
            assert_eq!(read(&mut resumed), (missed.to_owned(), true));
        }
        for mut unknown in [
            subscribe().replay(2).after(last("unknown")),
            subscribe().after(last("unknown")).from_start(),
        ] {
            assert_eq!(read(&mut unknown), (reset("unknown", at[8]), true));
        }
    }
    // An empty id is none.
    let none = LastEventId::default;
    for mut first in [
        hub.subscribe(["a"]).replay(1).after(none()),
        hub.subscribe(["a"]).after(none()).replay(1),
    ] {
        assert_eq!(read(&mut first), (wire("6", at[6]), true));
    }
}

#[test]
fn a_start_yields_all_events() {
    let (hub, at) = hub_of_9();
    let mut a = hub.subscribe(["a"]).from_start();
    assert_eq!(read(&mut a), (events(&at, &[0, 3, 6]), true));
    let mut both = hub.subscribe(["b", "a"]).from_start();
    assert_eq!(read(&mut both), (events(&at, &[0, 1, 3, 4, 6, 7]), true));
    for topics in [&["none"][..], &["none", "other"]] {
        let mut empty = hub.subscribe(topics).from_start();
        assert_eq!(read(&mut empty), (String::new(), true));
        let next = publish(&hub, "none", "x");
        assert_eq!(read(&mut empty), (wire("x", next), true));
        hub.remove("none");
    }
}

#[test]
fn a_start_that_was_trimmed_has_expired() {
    for topics in [&["a"][..], &["a", "b"], &["none", "a"]] {
        let hub = Hub::builder().history(2).build();
        let kept = [publish(&hub, "a", "x"), publish(&hub, "a", "x")];
        let all: String = kept.iter().map(|at| wire("x", *at)).collect();
        let mut at_the_limit = hub.subscribe(topics).from_start();
        assert_eq!(read(&mut at_the_limit), (all, true));
        let third = publish(&hub, "a", "x");
        let mut late = hub.subscribe(topics).from_start();
        assert_eq!(read(&mut late), (reset("expired", third), true));
        let next = publish(&hub, "a", "next");
        assert_eq!(read(&mut late), (wire("next", next), true));
    }
}

/// A removed topic is a new one, whether somebody is subscribed to it or not.
#[test]
fn a_start_after_a_removal_is_the_next_event() {
    for subscribers in [0, 1] {
        let hub = Hub::new();
        let _keep: Vec<_> = (0..subscribers).map(|_| hub.subscribe(["a"])).collect();
        publish(&hub, "a", "old");
        assert!(hub.remove("a"));
        let first = publish(&hub, "a", "new");
        for topics in [&["a"][..], &["a", "b"]] {
            let mut from_start = hub.subscribe(topics).from_start();
            let expected = (wire("new", first), true);
            assert_eq!(read(&mut from_start), expected, "{subscribers}, {topics:?}");
        }
    }
}

/// Another topic that was removed does not change the start of a topic.
#[test]
fn a_start_does_not_depend_on_other_topics() {
    let hub = Hub::builder().history(1).build();
    publish(&hub, "other", "x");
    publish(&hub, "other", "x");
    hub.remove("other");
    let first = publish(&hub, "a", "first");
    for topics in [&["a"][..], &["a", "b"]] {
        let mut from_start = hub.subscribe(topics).from_start();
        assert_eq!(read(&mut from_start), (wire("first", first), true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_begins_with_its_own_event_before_a_replay() {
    let (hub, at) = hub_of_9();
    let hello = || Event::data("hello");
    let mut body = Sse::new(hub.subscribe(["a", "b"]).replay(2))
        .keep_alive(None)
        .begin_with(hello())
        .into_body();
    let expected = format!("data: hello\n\n{}", events(&at, &[6, 7]));
    let (text, is_open) = sent(&mut body);
    assert_eq!(
        (text.trim_start_matches(":\n"), is_open),
        (&*expected, true)
    );
    let mut body = Sse::new(hub.subscribe(["a"]).from_start())
        .keep_alive(None)
        .begin_with(hello())
        .into_body();
    let expected = format!("data: hello\n\n{}", events(&at, &[0, 3, 6]));
    let (text, is_open) = sent(&mut body);
    assert_eq!(
        (text.trim_start_matches(":\n"), is_open),
        (&*expected, true)
    );
}
