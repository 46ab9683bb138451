//! A hub whose publishers and subscribers are threads. Each subscriber checks by itself that no event
//! is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use futures_util::StreamExt as _;
use http_sse::{Event, Hub, hub::Position};
use proptest::{prelude::RngExt as _, test_runner::TestRng};

use super::{PUBLISHERS, SUBSCRIBERS};
use crate::{
    chance::{chance, fork},
    deadline::{joined, until_blocking, within},
};

/// Runs eight publishers and thirty-two subscribers in threads of their own. Each publisher numbers
/// the events of its own topics. So a subscriber detects events that are missing, repeated or out
/// of order. Only a reset may be followed by any number.
#[test]
fn threads_see_each_event_once_and_in_order() {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let rounds = if required { 60 } else { 1 };
    let hub = Hub::builder().history(200).build();
    let over = Arc::new(AtomicBool::new(false));
    let mut chance = chance();
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (hub, over, mut chance) = (hub.clone(), over.clone(), fork(&mut chance));
        thread::spawn(move || {
            let mut counts = [0_u64; 4];
            while !over.load(SeqCst) {
                for _ in 0..chance.random_range(1..50) {
                    let topic = chance.random_range(0..counts.len());
                    let event = Event::data(format!("{publisher}.{topic} {}", counts[topic]));
                    hub.publish(&format!("{publisher}.{topic}"), event).unwrap();
                    counts[topic] += 1;
                }
                thread::yield_now();
            }
            counts.iter().sum::<u64>()
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let totals = Arc::new(Mutex::new([0_u64; 3]));
    let subscribers = (0..SUBSCRIBERS).map(|_| {
        let (hub, over, mut chance, totals) =
            (hub.clone(), over.clone(), fork(&mut chance), totals.clone());
        thread::spawn(move || {
            while !over.load(SeqCst) {
                let names: BTreeSet<String> = (0..chance.random_range(1..6))
                    .map(|_| {
                        let publisher = chance.random_range(0..PUBLISHERS);
                        format!("{publisher}.{}", chance.random_range(0..4))
                    })
                    .collect();
                let read = follow(&hub, &names, &over, &mut chance);
                let mut totals = totals.lock().unwrap();
                totals
                    .iter_mut()
                    .zip(read)
                    .for_each(|(total, read)| *total += read);
            }
        })
    });
    let subscribers: Vec<_> = subscribers.collect();
    for round in 1..=rounds {
        until_blocking("enough events and resumes", || {
            let [seen, _, resumes] = *totals.lock().unwrap();
            let failed = publishers.iter().any(thread::JoinHandle::is_finished)
                || subscribers.iter().any(thread::JoinHandle::is_finished);
            failed || (seen > round * 200_000 && resumes > round * 2_000)
        });
    }
    over.store(true, SeqCst);
    let published = publishers
        .into_iter()
        .map(|thread| joined("a publisher to end", thread));
    let published: u64 = published.sum();
    hub.close(); // wakes the subscribers that wait
    for thread in subscribers {
        joined("a subscriber to end", thread);
    }
    let [seen, resets, resumes] = *totals.lock().unwrap();
    println!("{published} published, {seen} seen, {resets} resets, {resumes} resumes");
}

/// Reads some topics, and resumes at times. Returns the numbers of events, resets and resumes.
fn follow(
    hub: &Hub,
    names: &BTreeSet<String>,
    over: &AtomicBool,
    chance: &mut TestRng,
) -> [u64; 3] {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = None;
    let mut counts = [0; 3];
    let mut subscription = hub.subscribe(names);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..chance.random_range(1..200) {
        // With a lost wake-up, this would wait until the deadline.
        let events = within("an event or the end of the hub", subscription.next());
        let Some(events) = runtime.block_on(events) else {
            return counts;
        };
        let wire = std::str::from_utf8(events.as_bytes()).unwrap();
        for event in wire.split_terminator("\n\n") {
            let (event, id) = event.rsplit_once("\nid: ").unwrap();
            let at: Position = id.parse().unwrap();
            counts[0] += 1;
            if event.starts_with("event: reset") {
                counts[1] += 1;
                next.clear();
            } else {
                let (topic, count) = event
                    .strip_prefix("data: ")
                    .unwrap()
                    .split_once(' ')
                    .unwrap();
                let count: u64 = count.parse().unwrap();
                assert!(after < Some(at), "{at} is out of order");
                assert!(names.contains(topic), "not subscribed to {topic}");
                let expected = next.insert(topic.to_owned(), count + 1);
                assert!(
                    expected.is_none_or(|expected| expected == count),
                    "{topic} {count}"
                );
            }
            after = Some(at);
        }
        if let Some(at) = after.filter(|_| chance.random_range(0..4) == 0) {
            counts[2] += 1;
            if chance.random_range(0..2) == 0 && !over.load(SeqCst) {
                thread::sleep(Duration::from_millis(1)); // stays away for a while
            }
            let last = at.to_string().parse().unwrap();
            subscription = hub.subscribe(names).after(last);
        }
    }
    counts
}
