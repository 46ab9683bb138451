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

/// Returns a function that chooses topics in an irregular order.
fn choice<T>(topics: Vec<T>) -> impl Fn() -> T
where
    T: Clone,
{
    let state = Cell::new(1_u64);
    move || {
        let next = state
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.set(next);
        topics[(next >> 33) as usize % topics.len()].clone()
    }
}

fn names(topics: usize) -> Vec<String> {
    (0..topics).map(|topic| format!("topic {topic}")).collect()
}

/// Publishes to a random one of the topics of a subscription, and compares with one topic.
fn of_one_subscription() {
    let one = fanout::hub(&Hub::new(), "topic", 1);
    for (topics, ceiling) in CEILINGS {
        let (hub, names) = (Hub::new(), names(topics));
        let subscription = hub.subscribe(&names);
        let choose = choice(names);
        let many = fanout::tasks([subscription], 1, || {
            hub.publish(&choose(), Event::data(TOKEN)).unwrap();
        });
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

/// Publishes to a random one of 10,000 topics. Each subscription has 100 of its own, and is compared
/// with subscriptions that have one.
fn of_many_subscriptions() {
    const TOPICS: usize = 10_000;
    let with = |each: usize| {
        let (hub, names) = (Hub::new(), names(TOPICS));
        let own: Vec<Subscription> = names.chunks(each).map(|own| hub.subscribe(own)).collect();
        let choose = choice(names);
        fanout::tasks(own, 1, move || {
            hub.publish(&choose(), Event::data(TOKEN)).unwrap();
        })
    };
    let (one, many) = (with(1), with(100));
    println!(
        "topics/100 of each of 100 subscriptions: {:.0} ns per delivery, one topic each {:.0} ns",
        many.nanos(1, 10_001),
        one.nanos(1, 10_001),
    );
    ratio::at_most(
        "topics/100 of each of 100 subscriptions",
        "one topic each",
        1.5,
        || (0..IN_A_ROW).map(|_| many.run(1)).sum(),
        || (0..IN_A_ROW).map(|_| one.run(1)).sum(),
    );
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
    of_many_subscriptions();
    bursts_of_two();
}
