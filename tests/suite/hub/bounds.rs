//! Limits of the history and of the memory.

use std::time::Duration;

use http_sse::{Hub, Subscription, hub::Position};
use tokio::time::advance;

use super::{last, publish, read, reset, wire};

#[test]
fn a_history_is_limited_in_events_and_bytes_but_keeps_one_event() {
    let kept = |hub: &Hub| {
        let topic = &hub.topics()[0];
        (topic.events, topic.bytes)
    };
    for (events, expected) in [(0, 1), (1, 1), (2, 2)] {
        let hub = Hub::builder().history(events).build();
        (0..5).for_each(|_| _ = publish(&hub, "a", "x"));
        assert_eq!(kept(&hub).0, expected);
    }
    let one = wire("x", publish(&Hub::new(), "a", "x")).len();
    for (bytes, expected) in [(0, 1), (2 * one - 1, 1), (2 * one, 2), (2 * one + 1, 2)] {
        let hub = Hub::builder().history_bytes(bytes).build();
        (0..5).for_each(|_| _ = publish(&hub, "a", "x"));
        assert_eq!(kept(&hub), (expected, expected * one), "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_expire_after_the_history_age() {
    let second = Duration::from_secs(1);
    let hub = Hub::builder().history_age(10 * second).build();
    let old = publish(&hub, "old", "x");
    advance(10 * second).await;
    publish(&hub, "a", "x");
    assert_eq!(hub.topics().len(), 2, "at the limit");
    advance(Duration::from_millis(1)).await;
    publish(&hub, "a", "x");
    assert_eq!(hub.topics().len(), 1);
    let mut late = hub
        .subscribe(["old"])
        .after(last(Position::new(old.hi(), 0)));
    assert_eq!(read(&mut late), (reset("expired", hub.head()), true));
}

#[tokio::test(start_paused = true)]
async fn a_finished_topic_stays_finished_while_it_has_events() {
    let second = Duration::from_secs(1);
    let hub = Hub::builder().history_age(10 * second).build();
    let old = publish(&hub, "a", "1");
    advance(5 * second).await;
    let newer = publish(&hub, "a", "2");
    hub.finish("a").unwrap();
    advance(6 * second).await;
    publish(&hub, "other", "x");
    assert_eq!(hub.topic("a").unwrap().events, 1);
    let mut late = hub.subscribe(["a"]).after(last(old));
    assert_eq!(read(&mut late), (wire("2", newer), false));
}

/// A busy topic leaves rows of dropped events after the event of a quiet topic. The rows are
/// removed, and the event of the quiet topic still expires in time.
#[tokio::test(start_paused = true)]
async fn events_of_a_quiet_topic_expire_beside_a_busy_one() {
    let second = Duration::from_secs(1);
    let hub = Hub::builder().history(1).history_age(10 * second).build();
    publish(&hub, "quiet", "x");
    for busy in [0, 1, 70, 71, 1_000] {
        (0..busy).for_each(|_| _ = publish(&hub, "busy", "x"));
        assert_eq!(hub.topics().len(), 1 + usize::from(busy > 0), "{busy}");
    }
    advance(11 * second).await;
    let at = publish(&hub, "busy", "x");
    let kept: Vec<_> = (hub.topics().into_iter())
        .map(|topic| (topic.name.to_string(), topic.events))
        .collect();
    assert_eq!(kept, [("busy".to_owned(), 1)]);
    // The newest event has expired too, and the next publication drops it.
    advance(11 * second).await;
    publish(&hub, "other", "x");
    let mut late = hub.subscribe(["busy"]).after(last(at));
    assert_eq!(
        hub.topics().iter().map(|topic| topic.events).sum::<usize>(),
        1
    );
    assert_eq!(read(&mut late), (String::new(), true));
}

/// Pieces that several readers share count as memory until they are no longer needed.
#[test]
fn shared_pieces_count_as_memory() {
    // Three ends of a piece: the last reader leaves, an event is published, the topic is removed.
    type End = fn(&Hub, &mut Vec<Subscription>);
    let ends: [(&str, End); 3] = [
        ("leave", |_, readers| readers.clear()),
        ("publish", |hub, _| _ = publish(hub, "a", "x")),
        ("remove", |hub, _| assert!(hub.remove("a"))),
    ];
    for (name, end) in ends {
        let memory = |reads: bool| {
            let hub = Hub::new();
            let start = hub.head();
            let at: Vec<_> = (0..3).map(|_| publish(&hub, "a", "x")).collect();
            let all: String = at.iter().map(|at| wire("x", *at)).collect();
            let mut readers: Vec<_> = (0..3)
                .map(|_| hub.subscribe(["a"]).after(last(start)))
                .collect();
            let before = hub.memory();
            for (n, reader) in readers.iter_mut().enumerate().filter(|_| reads) {
                assert_eq!(read(reader).0, all);
                // The first reader makes the piece that the others get.
                let shared = hub.memory() - before;
                assert!(
                    (all.len()..2 * all.len() + 600).contains(&shared),
                    "{n}: {shared}"
                );
            }
            end(&hub, &mut readers);
            hub.memory()
        };
        let (with, without) = (memory(true), memory(false));
        // The seats' list of those that wait remains.
        assert!(with <= without + 64, "{name}: {with} {without}");
    }
}

/// Readers at many positions share no more than eight pieces.
#[test]
fn at_most_eight_pieces_are_shared() {
    let hub = Hub::new();
    let start = hub.head();
    let data = "x".repeat(1_000);
    let at: Vec<_> = (0..20).map(|_| publish(&hub, "a", &data)).collect();
    let mut places = vec![start];
    places.extend(&at);
    let mut readers = vec![hub.subscribe(["a"])];
    let before = hub.memory();
    for (n, place) in places[..15].iter().enumerate() {
        let mut reader = hub.subscribe(["a"]).after(last(place));
        let all: String = at[n..].iter().map(|at| wire(&data, *at)).collect();
        assert_eq!(read(&mut reader).0, all);
        readers.push(reader);
        let first = (n + 1).saturating_sub(8);
        let shared: usize = (first..=n)
            .map(|n| (20 - n) * wire(&data, at[0]).len())
            .sum();
        let caches = hub.memory() - before;
        assert!(
            (shared..shared + 3_000).contains(&caches),
            "{n}: {caches}, {shared}"
        );
    }
}

#[test]
fn a_million_topics_stay_within_the_memory() {
    const REMEMBERED: usize = 128 << 10;
    let hub = Hub::builder().memory(1 << 20).build();
    for n in 0..1_000_000 {
        publish(&hub, &format!("topic {n}"), "x");
        assert!(hub.memory() <= (1 << 20) + REMEMBERED);
    }
    let kept = hub.topics().len();
    assert!((1_000..5_000).contains(&kept), "{kept}");
    for topic in hub.topics() {
        assert!(hub.remove(&topic.name));
    }
    assert_eq!((hub.topics().len(), hub.memory()), (0, REMEMBERED));
}

#[test]
fn all_topics_together_stay_within_the_memory() {
    let publish_both = |hub: &Hub| {
        publish(hub, "a", "x");
        publish(hub, "b", "x");
        (hub.topics().len(), hub.memory())
    };
    let (_, both) = publish_both(&Hub::new());
    let kept = |memory| publish_both(&Hub::builder().memory(memory).build());
    assert_eq!(kept(both), (2, both), "at the limit");
    let remembered = 128 << 10; // that a topic was dropped
    assert_eq!(kept(both - 1), (1, both / 2 + remembered));
}

#[test]
fn the_newest_event_is_kept_beyond_the_memory() {
    let hub = Hub::builder().memory(0).build();
    let mut reader = hub.subscribe(["a"]);
    for _ in 0..3 {
        let at = publish(&hub, "a", &"x".repeat(1_000));
        assert_eq!(read(&mut reader).0, wire(&"x".repeat(1_000), at));
    }
    publish(&hub, "b", "x");
    assert_eq!(
        hub.topics().iter().map(|topic| topic.events).sum::<usize>(),
        1
    );
}
