//! Subscriptions of the same several topics, which share the pieces that they read.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Hub, Subscription, hub::Position};
use tokio::time::advance;

use super::{last, publish, read, reset, wire};

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// Publishes to the topics in turn. Returns the positions.
fn publish_in_turn(hub: &Hub, events: usize) -> Vec<Position> {
    let at = (0..events).map(|n| publish(hub, TOPICS[n % 3], &n.to_string()));
    at.collect()
}

/// Returns the events from this one on, of topics for which `is_wanted` returns `true`.
fn events(at: &[Position], from: usize, is_wanted: impl Fn(&str) -> bool) -> String {
    let wanted = (from..at.len()).filter(|n| is_wanted(TOPICS[n % 3]));
    wanted.map(|n| wire(&n.to_string(), at[n])).collect()
}

/// Subscribes after each event.
fn at_every_place(hub: &Hub, topics: &[&str], at: &[Position]) -> Vec<Subscription> {
    let places = at.iter();
    places
        .map(|at| hub.subscribe(topics).after(last(at)))
        .collect()
}

#[test]
fn readers_at_the_same_place_share_their_pieces() {
    let hub = Hub::new();
    let mut readers: Vec<_> = (0..10).map(|_| hub.subscribe(TOPICS)).collect();
    publish_in_turn(&hub, 9);
    let pieces = readers.iter_mut().map(|reader| {
        let piece = reader.next().now_or_never().unwrap().unwrap();
        piece.into_bytes()
    });
    let pieces: Vec<_> = pieces.collect();
    assert_eq!(
        pieces[0].iter().filter(|byte| **byte == b'd').count(),
        2 * 9
    );
    for piece in &pieces {
        assert_eq!(piece.as_ptr(), pieces[0].as_ptr());
    }
}

#[test]
fn readers_at_all_places_get_what_they_missed() {
    let hub = Hub::new();
    let at = publish_in_turn(&hub, 30);
    for _ in 0..2 {
        // Forwards and backwards, so that each piece is made by an earlier and a later reader.
        for backwards in [false, true] {
            let mut readers: Vec<_> = at_every_place(&hub, &TOPICS, &at)
                .into_iter()
                .enumerate()
                .collect();
            if backwards {
                readers.reverse();
            }
            for (n, reader) in &mut readers {
                let missed = events(&at, *n + 1, |_| true);
                assert_eq!(read(reader), (missed, true), "after {n}");
            }
        }
    }
}

/// Subscriptions of subsets of the topics have other pieces.
#[test]
fn subsets_of_topics_share_nothing() {
    let hub = Hub::new();
    let at = publish_in_turn(&hub, 12);
    let start = Position::new(at[0].hi(), 0);
    let subsets: [&[&str]; 4] = [&["a", "b", "c"], &["a", "b"], &["b", "c"], &["a", "c"]];
    for _ in 0..2 {
        for topics in subsets {
            let mut reader = hub.subscribe(topics).after(last(start));
            let wanted = events(&at, 0, |topic| topics.contains(&topic));
            assert_eq!(read(&mut reader), (wanted, true), "{topics:?}");
        }
    }
}

#[test]
fn a_removed_topic_is_lost_for_those_who_share_a_piece() {
    let hub = Hub::new();
    let start = hub.head();
    let mut first = hub.subscribe(TOPICS).after(last(start));
    let mut second = hub.subscribe(TOPICS).after(last(start));
    let at = publish_in_turn(&hub, 6);
    assert_eq!(read(&mut first), (events(&at, 0, |_| true), true));
    assert!(hub.remove("a"));
    assert_eq!(read(&mut second), (reset("expired", at[5]), true));
    let mut third = hub.subscribe(TOPICS).after(last(at[2]));
    assert_eq!(read(&mut third), (reset("expired", at[5]), true));
    // After the last event of the removed topic, nothing is lost.
    let mut fourth = hub.subscribe(TOPICS).after(last(at[3]));
    assert_eq!(read(&mut fourth), (events(&at, 4, |_| true), true));
    let next = publish(&hub, "a", "next");
    for reader in [&mut first, &mut second, &mut third, &mut fourth] {
        assert_eq!(read(reader), (wire("next", next), true));
    }
}

/// A topic is finished for one subscription, and begins anew for another one.
#[test]
fn a_topic_that_begins_anew_is_not_missing_from_a_piece() {
    let hub = Hub::new();
    let mut old = hub.subscribe(TOPICS);
    hub.finish("a").unwrap();
    assert_eq!(read(&mut old), (String::new(), true));
    assert!(hub.remove("a"));
    let mut new = hub.subscribe(TOPICS);
    assert_eq!(read(&mut new), (String::new(), true));
    let at = publish_in_turn(&hub, 6);
    assert_eq!(read(&mut old), (events(&at, 0, |topic| topic != "a"), true));
    assert_eq!(read(&mut new), (events(&at, 0, |_| true), true));
}

/// A topic ends while a piece with its events is made.
#[test]
fn events_of_a_finished_topic_are_not_shared_with_others() {
    let hub = Hub::new();
    let start = hub.head();
    let subscribe = |topics: &[&str]| hub.subscribe(topics).after(last(start));
    let mut all = [(); 2].map(|()| subscribe(&TOPICS));
    let mut others = [(); 2].map(|()| subscribe(&["b", "c"]));
    let at = publish_in_turn(&hub, 6);
    hub.finish("a").unwrap();
    for (all, others) in all.iter_mut().zip(&mut others) {
        assert_eq!(read(all), (events(&at, 0, |_| true), true));
        let of_others = events(&at, 0, |topic| topic != "a");
        assert_eq!(read(others), (of_others, true));
    }
}

#[test]
fn finished_topics_end_for_those_who_share_a_piece() {
    let hub = Hub::new();
    let mut readers = [(); 2].map(|()| hub.subscribe(TOPICS));
    let at = publish_in_turn(&hub, 6);
    let [first, second] = &mut readers;
    assert_eq!(read(first), (events(&at, 0, |_| true), true));
    for topic in TOPICS {
        hub.finish(topic).unwrap();
    }
    assert_eq!(read(second), (events(&at, 0, |_| true), false));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_skips_events_shares_no_piece_that_has_them() {
    let hub = Hub::new();
    let mut all = hub.subscribe(TOPICS);
    let interval = Duration::from_secs(1);
    let mut newest = hub.subscribe(TOPICS).latest_every(interval);
    let first = publish(&hub, "a", "first");
    for reader in [&mut all, &mut newest] {
        assert_eq!(read(reader), (wire("first", first), true));
    }
    let at = publish_in_turn(&hub, 6);
    advance(interval).await;
    assert_eq!(read(&mut all), (events(&at, 0, |_| true), true));
    assert_eq!(read(&mut newest), (events(&at, 3, |_| true), true));
}

/// A subscription whose topics a handle changes shares nothing.
#[test]
fn a_handle_leaves_the_pieces_of_others() {
    let hub = Hub::new();
    let mut plain = hub.subscribe(TOPICS);
    let mut changed = hub.subscribe(TOPICS);
    let at = publish_in_turn(&hub, 3);
    assert_eq!(read(&mut changed), (events(&at, 0, |_| true), true));
    let handle = changed.handle();
    assert!(handle.remove("a"));
    assert_eq!(read(&mut plain), (events(&at, 0, |_| true), true));
    let at = publish_in_turn(&hub, 6);
    assert_eq!(
        read(&mut changed),
        (events(&at, 0, |topic| topic != "a"), true)
    );
    assert_eq!(read(&mut plain), (events(&at, 0, |_| true), true));
}

#[test]
fn pieces_of_many_topics_are_freed() {
    let hub = Hub::new();
    for n in 0..100 {
        let start = hub.head();
        let topics = TOPICS.map(|topic| format!("{topic} {n}"));
        let data = "x".repeat(1_000);
        topics
            .iter()
            .for_each(|topic| _ = publish(&hub, topic, &data));
        let readers = (0..=n % 3).map(|_| hub.subscribe(&topics).after(last(start)));
        let mut readers: Vec<_> = readers.collect();
        for reader in &mut readers {
            assert_eq!(read(reader).0.matches("data: ").count(), 3);
        }
        drop(readers);
        for topic in &topics {
            assert!(hub.remove(topic));
        }
        assert_eq!((hub.topics().len(), hub.memory()), (0, 0));
    }
}
