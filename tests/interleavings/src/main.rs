//! The order of a hub, the step from history to live events, and the wake-up of subscribers, under
//! many schedules.
//!
//! [shuttle](https://docs.rs/shuttle) chooses the schedules, at random and by PCT. The hub uses
//! shuttle's locks and atomics for this (`src/hub/sync.rs`).
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo run --release
//! ```

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Event, Hub, Subscription, hub::Position};
use shuttle::{future::block_on, thread};

const ITERATIONS: usize = 10_000;

fn main() {
    for (name, case) in [
        ("no wake-up is lost", no_wake_up_is_lost as fn()),
        (
            "live events follow the history",
            live_events_follow_the_history,
        ),
        ("a new task is woken", a_new_task_is_woken),
        (
            "several topics are read in one order",
            several_topics_are_read_in_one_order,
        ),
        ("a finished topic ends", a_finished_topic_ends),
        ("a removal hides no event", a_removal_hides_no_event),
        (
            "a removed topic that is made again expires ids",
            a_removed_topic_that_is_made_again_expires_ids,
        ),
        ("an added topic is read", an_added_topic_is_read),
        (
            "closing wakes all subscribers",
            closing_wakes_all_subscribers,
        ),
    ] {
        shuttle::check_random(case, ITERATIONS);
        shuttle::check_pct(case, ITERATIONS, 3);
        println!("{name}: {} schedules", 2 * ITERATIONS);
    }
}

/// Returns the positions of the events in the next piece, or none at the end.
async fn next(subscription: &mut Subscription) -> Vec<u64> {
    let Some(events) = subscription.next().await else {
        return Vec::new();
    };
    let wire = std::str::from_utf8(events.as_bytes()).unwrap();
    let positions = wire.split_terminator("\n\n").map(|event| {
        let (_, at) = event.rsplit_once("\nid: ").unwrap();
        at.parse::<Position>().unwrap().lo()
    });
    positions.collect()
}

/// Reads the events from position `first` to `last`, and asserts that each comes once and in order.
/// Shuttle reports a lost wake-up as a deadlock.
async fn read(subscription: &mut Subscription, first: u64, last: u64) {
    let mut expected = first;
    while expected <= last {
        let positions = next(subscription).await;
        assert!(!positions.is_empty(), "the hub is open");
        for at in positions {
            assert_eq!(at, expected);
            expected += 1;
        }
    }
}

fn publish(hub: &Hub, topic: &str) -> u64 {
    hub.publish(topic, Event::data("x")).unwrap().lo()
}

fn no_wake_up_is_lost() {
    let hub = Hub::new();
    let readers: Vec<_> = [vec!["a"], vec!["a"], vec!["a", "b"]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            thread::spawn(move || block_on(read(&mut subscription, 1, 4)))
        })
        .collect();
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let hub = hub.clone();
            thread::spawn(move || (0..2).for_each(|_| _ = publish(&hub, "a")))
        })
        .collect();
    for thread in publishers.into_iter().chain(readers) {
        thread.join().unwrap();
    }
}

fn live_events_follow_the_history() {
    let hub = Hub::new();
    publish(&hub, "a");
    let publisher = thread::spawn({
        let hub = hub.clone();
        move || (0..3).for_each(|_| _ = publish(&hub, "a"))
    });
    let reader = thread::spawn({
        let hub = hub.clone();
        move || {
            let first = Position::new(hub.head().hi(), 1).to_string();
            let mut resumed = hub.subscribe(["a"]).after(first.parse().unwrap());
            block_on(read(&mut resumed, 2, 4));
        }
    });
    publisher.join().unwrap();
    reader.join().unwrap();
}

/// Moves the subscription to a new task for each read. Each task has its own waker.
fn a_new_task_is_woken() {
    let hub = Hub::new();
    let mut subscription = hub.subscribe(["a"]);
    let publisher = thread::spawn({
        let hub = hub.clone();
        move || (0..3).for_each(|_| _ = publish(&hub, "a"))
    });
    let mut at = 1;
    while at <= 3 {
        let moved = thread::spawn(move || {
            let events = block_on(subscription.next()).unwrap();
            (subscription, events.count())
        });
        let (back, count) = moved.join().unwrap();
        subscription = back;
        at += count;
    }
    publisher.join().unwrap();
}

/// Publishes to two topics at the same time. The events of both are read without a gap, by two
/// subscriptions that share joined events, and after a resume.
fn several_topics_are_read_in_one_order() {
    let hub = Hub::new();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut subscription = hub.subscribe(["a", "b"]);
            thread::spawn(move || block_on(read(&mut subscription, 1, 4)))
        })
        .collect();
    let publishers: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|topic| {
            let hub = hub.clone();
            thread::spawn(move || (0..2).for_each(|_| _ = publish(&hub, topic)))
        })
        .collect();
    let first = Position::new(hub.head().hi(), 0).to_string();
    let mut resumed = hub.subscribe(["a", "b"]).after(first.parse().unwrap());
    block_on(read(&mut resumed, 1, 4));
    for thread in publishers.into_iter().chain(readers) {
        thread.join().unwrap();
    }
}

/// Finishes two topics while they are read. A reader gets what was published, and then the end.
fn a_finished_topic_ends() {
    let hub = Hub::new();
    let readers: Vec<_> = [vec!["a"], vec!["a", "b"]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            thread::spawn(move || {
                block_on(async {
                    let mut all = Vec::new();
                    loop {
                        let positions = next(&mut subscription).await;
                        if positions.is_empty() {
                            return all;
                        }
                        all.extend(positions);
                    }
                })
            })
        })
        .collect();
    let other = thread::spawn({
        let hub = hub.clone();
        move || {
            let at = publish(&hub, "b");
            hub.finish("b").unwrap();
            at
        }
    });
    let at = publish(&hub, "a");
    hub.finish("a").unwrap();
    let mut both = [at, other.join().unwrap()];
    both.sort_unstable();
    let mut read = readers.into_iter().map(|reader| reader.join().unwrap());
    assert_eq!(read.next().unwrap(), [at]);
    assert_eq!(read.next().unwrap(), both);
}

/// Removes a topic while events are published to it and to another one. The reader gets both events,
/// or a reset that covers them.
fn a_removal_hides_no_event() {
    let hub = Hub::new();
    publish(&hub, "a");
    let mut reader = hub.subscribe(["a", "b"]);
    assert!(reader.next().now_or_never().is_none());
    let threads: [fn(&Hub); 3] = [
        |hub| _ = hub.remove("a"),
        |hub| _ = publish(hub, "a"),
        |hub| _ = publish(hub, "b"),
    ];
    let threads = threads.map(|change| {
        let hub = hub.clone();
        thread::spawn(move || change(&hub))
    });
    let reader = thread::spawn(move || {
        let mut missing = vec![2, 3];
        while !missing.is_empty() {
            let events = block_on(reader.next()).expect("the hub is open");
            let wire = std::str::from_utf8(events.as_bytes()).unwrap();
            for event in wire.split_terminator("\n\n") {
                let (event, at) = event.rsplit_once("\nid: ").unwrap();
                let at = at.parse::<Position>().unwrap().lo();
                let is_reset = event.starts_with("event: reset");
                missing.retain(|other| *other != at && (!is_reset || *other > at));
            }
        }
    });
    for thread in threads {
        thread.join().unwrap();
    }
    reader.join().unwrap();
}

/// Removes a topic while another thread makes it again. Ids from before the removal are reset.
fn a_removed_topic_that_is_made_again_expires_ids() {
    let hub = Hub::new();
    let start = hub.head().to_string();
    publish(&hub, "a");
    let removes = thread::spawn({
        let hub = hub.clone();
        move || assert!(hub.remove("a"))
    });
    let publishes = thread::spawn({
        let hub = hub.clone();
        move || _ = publish(&hub, "a")
    });
    removes.join().unwrap();
    publishes.join().unwrap();
    let mut resumed = hub.subscribe(["a"]).after(start.parse().unwrap());
    let events = resumed.next().now_or_never().unwrap().unwrap();
    assert!(
        events.as_bytes().starts_with(b"event: reset\n"),
        "{events:?}"
    );
}

/// Adds a topic while it is published to. Everything after the call is read.
fn an_added_topic_is_read() {
    let hub = Hub::new();
    let mut subscription = hub.subscribe(["a"]);
    let handle = subscription.handle();
    let reader = thread::spawn(move || {
        block_on(async {
            let mut all = Vec::new();
            loop {
                let positions = next(&mut subscription).await;
                if positions.is_empty() {
                    return all;
                }
                all.extend(positions);
            }
        })
    });
    let publisher = thread::spawn({
        let hub = hub.clone();
        move || [publish(&hub, "b"), publish(&hub, "a")]
    });
    assert!(handle.add("b"));
    let last = publish(&hub, "b");
    let [of_b, of_a] = publisher.join().unwrap();
    hub.close();
    let mut read = reader.join().unwrap();
    assert!(read.is_sorted(), "{read:?}");
    read.retain(|at| *at != of_b); // may be from before the call
    let mut expected = [of_a, last];
    expected.sort_unstable();
    assert_eq!(read, expected);
}

fn closing_wakes_all_subscribers() {
    let hub = Hub::new();
    let readers: Vec<_> = [vec!["a"], vec!["b", "c"], vec![]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            thread::spawn(move || while block_on(subscription.next()).is_some() {})
        })
        .collect();
    publish(&hub, "b");
    hub.close();
    for reader in readers {
        reader.join().unwrap();
    }
}
