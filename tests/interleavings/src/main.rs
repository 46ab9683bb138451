//! The step from history to live events and the wake-up of subscribers, under many schedules.
//!
//! [shuttle](https://docs.rs/shuttle) chooses the schedules, at random and by PCT. The hub uses
//! shuttle's lock and atomic for this (`src/hub/sync.rs`).
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo run --release
//! ```

use futures_util::StreamExt as _;
use http_sse::{Event, Hub, Subscription, hub::Position};
use shuttle::{future::block_on, thread};

const ITERATIONS: usize = 20_000;

fn main() {
    for (name, case) in [
        ("no wake-up is lost", no_wake_up_is_lost as fn()),
        (
            "live events follow the history",
            live_events_follow_the_history,
        ),
        ("a new task is woken", a_new_task_is_woken),
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

/// Reads the events from position `first` to `last`, and asserts that each comes once and in order.
/// Shuttle reports a lost wake-up as a deadlock.
async fn read(subscription: &mut Subscription, first: u64, last: u64) {
    let mut next = first;
    while next <= last {
        let events = subscription.next().await.expect("the hub is open");
        for event in std::str::from_utf8(events.as_bytes())
            .unwrap()
            .split_terminator("\n\n")
        {
            let (_, at) = event.rsplit_once("\nid: ").unwrap();
            let at: Position = at.parse().unwrap();
            assert_eq!(at.lo(), next);
            next += 1;
        }
    }
}

fn publish(hub: &Hub, topic: &str) {
    hub.publish(topic, Event::data("x")).unwrap();
}

fn no_wake_up_is_lost() {
    let hub = Hub::new();
    let readers: Vec<_> = [vec!["a"], vec!["a", "b"]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            thread::spawn(move || block_on(read(&mut subscription, 1, 4)))
        })
        .collect();
    let publishers: Vec<_> = (0..2)
        .map(|_| {
            let hub = hub.clone();
            thread::spawn(move || (0..2).for_each(|_| publish(&hub, "a")))
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
        move || (0..3).for_each(|_| publish(&hub, "a"))
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
        move || (0..3).for_each(|_| publish(&hub, "a"))
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
