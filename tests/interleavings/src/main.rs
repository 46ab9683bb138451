//! The hand-over from history to live and the wake-up of a subscriber, with threads in every order
//! that [shuttle](https://docs.rs/shuttle) picks, by chance and by PCT. The hub's lock and its one
//! atomic are shuttle's then (`src/hub/sync.rs`).
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
        ("a wait is never missed", a_wait_is_never_missed as fn()),
        ("history and live meet", history_and_live_meet),
        ("a task that moves is woken", a_task_that_moves_is_woken),
        ("a close wakes everybody", a_close_wakes_everybody),
    ] {
        shuttle::check_random(case, ITERATIONS);
        shuttle::check_pct(case, ITERATIONS, 3);
        println!("{name}: {} orders", 2 * ITERATIONS);
    }
}

/// Reads the numbers up to `last`, each once and in order, behind `first`. A lost wake-up is a
/// deadlock, which shuttle finds.
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

fn a_wait_is_never_missed() {
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

fn history_and_live_meet() {
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

/// Each event is read by another task, with a waker of its own.
fn a_task_that_moves_is_woken() {
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

fn a_close_wakes_everybody() {
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
