//! The cost of many topics: in the hub, and in a subscription.

use std::{cell::Cell, iter};

use http_sse::{Event, Hub, Subscription};

use crate::{
    fanout::{self, TOKEN},
    ratio,
};

/// The topics of a subscription, and the ceiling: the time per delivery, in times of one topic.
const CEILINGS: [(usize, f64); 3] = [(2, 1.5), (100, 1.5), (1_000, 2.0)];

/// The same for bursts of two topics.
const CEILING_OF_TWO: f64 = 2.0;

/// Deliveries that are timed together.
const IN_A_ROW: usize = 200;

/// Events per burst of two topics.
const BURST: u64 = 64;

/// Returns a function that publishes to the topics in an irregular order.
fn publish_to_any(hub: Hub, topics: Vec<String>) -> impl Fn() {
    let state = Cell::new(1_u64);
    move || {
        let next = state.get().wrapping_mul(6_364_136_223_846_793_005);
        state.set(next.wrapping_add(1_442_695_040_888_963_407));
        let topic = &topics[(next >> 33) as usize % topics.len()];
        hub.publish(topic, Event::data(TOKEN)).unwrap();
    }
}

fn names(topics: usize) -> Vec<String> {
    (0..topics).map(|topic| format!("topic {topic}")).collect()
}

/// Publishes to a random one of the topics of a subscription, and compares with one topic.
fn of_one_subscription() {
    // The histories of all topics fit into a cache.
    let hub = || Hub::builder().history(16).build();
    let one = fanout::hub(&hub(), "topic", 1);
    for (topics, ceiling) in CEILINGS {
        let (hub, names) = (hub(), names(topics));
        let subscription = hub.subscribe(&names);
        let many = fanout::tasks([subscription], 1, publish_to_any(hub, names));
        println!(
            "topics/{topics} of a subscription: {:.0} ns per delivery, one topic {:.0} ns",
            many.nanos(1, 10_001),
            one.nanos(1, 10_001),
        );
        ratio::at_most(
            &format!("topics/{topics} of a subscription"),
            "one topic",
            ceiling,
            || (0..IN_A_ROW).map(|_| many.run(1)).sum(),
            || (0..IN_A_ROW).map(|_| one.run(1)).sum(),
        );
    }
}

/// Publishes to a random one of many topics, and compares subscriptions of several of them with
/// subscriptions of one. The topics take the same memory in both.
fn beside_one_topic_each() {
    for (topics, each) in [(1_000, 1_000), (10_000, 100)] {
        let with = |each: usize| {
            let (hub, names) = (Hub::new(), names(topics));
            let own: Vec<Subscription> = names.chunks(each).map(|own| hub.subscribe(own)).collect();
            fanout::tasks(own, 1, publish_to_any(hub, names))
        };
        let (one, many) = (with(1), with(each));
        ratio::at_most(
            &format!("topics/{each} of {topics} per subscription"),
            "one topic per subscription",
            1.5,
            || (0..IN_A_ROW).map(|_| many.run(1)).sum(),
            || (0..IN_A_ROW).map(|_| one.run(1)).sum(),
        );
    }
}

/// Publishes bursts that alternate between two topics, to subscribers of both.
fn bursts_of_two() {
    const SUBSCRIBERS: u64 = 10_000;
    let one = fanout::hub(&Hub::new(), "topic", SUBSCRIBERS);
    let hub = Hub::new();
    let both = iter::repeat_with(|| hub.subscribe(["a", "b"])).take(SUBSCRIBERS as usize);
    let turn = Cell::new(false);
    let two = fanout::tasks(both, SUBSCRIBERS, || {
        let topic = if turn.replace(!turn.get()) { "a" } else { "b" };
        hub.publish(topic, Event::data(TOKEN)).unwrap();
    });
    println!(
        "topics/two in bursts of {BURST}: {:.2} ns per delivery, one topic {:.2} ns",
        two.nanos(BURST, 41),
        one.nanos(BURST, 41),
    );
    ratio::at_most(
        &format!("topics/two in bursts of {BURST}"),
        "one topic",
        CEILING_OF_TWO,
        || two.run(BURST),
        || one.run(BURST),
    );
}

pub(crate) fn run() {
    of_one_subscription();
    beside_one_topic_each();
    bursts_of_two();
}
