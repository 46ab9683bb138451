//! Memory under pressure: caches go first, and live topics do not count as history.

use http_sse::{Hub, Subscription, hub::Position};

use super::{last, publish, read, wire};

fn events(hub: &Hub) -> usize {
    hub.topics().iter().map(|topic| topic.events).sum()
}

/// 550 topics of 100 kB almost fill the memory. Two readers of each topic resume at different
/// places, and share their pieces, which take more memory.
#[test]
fn a_publish_drops_caches_and_no_events() {
    const TOPICS: usize = 550;
    let hub = Hub::new();
    let data = "x".repeat(10_000);
    let names: Vec<_> = (0..TOPICS).map(|n| format!("topic {n}")).collect();
    let at = names.iter().map(|name| {
        let at: Vec<_> = (0..10).map(|_| publish(&hub, name, &data)).collect();
        at
    });
    let at: Vec<Vec<Position>> = at.collect();
    let mut readers: Vec<Subscription> = Vec::new();
    for (name, at) in names.iter().zip(&at) {
        for n in [2, 5] {
            let mut reader = hub.subscribe([name]).after(last(at[n]));
            let (text, _) = read(&mut reader);
            assert_eq!(text.matches("data: ").count(), 9 - n);
            readers.push(reader);
        }
    }
    let (before, memory) = (events(&hub), hub.memory());
    assert_eq!(before, 10 * TOPICS);
    assert!(memory > 64 << 20, "the caches are too small: {memory}");
    for n in 1..=3 {
        publish(&hub, "another", &data);
        assert_eq!(events(&hub), before + n);
        assert!(hub.memory() < memory);
    }
    drop(readers);
    assert_eq!(events(&hub), before + 3);
}

/// The same, with pieces of several topics: three pieces of each set of topics, or one.
#[test]
fn a_publish_drops_pieces_of_several_topics_and_no_events() {
    for (limit, per_set) in [(4 << 20, 8), (2 << 20, 3)] {
        let hub = Hub::builder().memory(limit).build();
        let data = "x".repeat(10_000);
        let start = hub.head();
        let sets: Vec<_> = (0..40)
            .map(|n| [format!("a {n}"), format!("b {n}")])
            .collect();
        for set in &sets {
            for n in 0..per_set {
                publish(&hub, &set[n % 2], &data);
            }
        }
        let readers = sets.iter().map(|set| {
            let mut reader = hub.subscribe(set).after(last(start));
            assert_eq!(read(&mut reader).0.matches("data: ").count(), per_set);
            reader
        });
        let readers: Vec<_> = readers.collect();
        let (before, memory) = (events(&hub), hub.memory());
        assert_eq!(before, per_set * sets.len());
        assert!(memory > limit, "the caches are too small: {memory}");
        publish(&hub, "another", &data);
        assert_eq!(events(&hub), before + 1);
        assert!(hub.memory() < limit + 100_000, "{}", hub.memory());
        drop(readers);
    }
}

/// The bound is on what nobody is subscribed to, and on events.
#[test]
fn topics_with_subscribers_do_not_count_as_history() {
    const TOPICS: usize = 10_000;
    for per_reader in [1, 10] {
        let hub = Hub::builder().memory(1 << 20).build();
        let names: Vec<_> = (0..TOPICS).map(|n| format!("topic {n}")).collect();
        let start = hub.head();
        let readers: Vec<_> = names
            .chunks(per_reader)
            .map(|names| hub.subscribe(names))
            .collect();
        assert!(hub.memory() > 1 << 20, "{}", hub.memory());
        let at: Vec<_> = (0..1_000).map(|n| publish(&hub, &names[n], "x")).collect();
        assert_eq!(events(&hub), 1_000);
        let mut resumed = hub.subscribe(&names[..3]).after(last(start));
        let first: String = at[..3].iter().map(|at| wire("x", *at)).collect();
        assert_eq!(read(&mut resumed), (first, true));
        drop(readers);
        drop(resumed);
        // Without subscribers, the topics with events count, and the next publish bounds them.
        publish(&hub, "another", "x");
        assert!(hub.memory() <= 1 << 20, "{}", hub.memory());
    }
}
