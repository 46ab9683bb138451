//! Runs a hub for a long time: 1,000 subscriptions to topics that come and go. Each subscription checks
//! that no event is missing, and the heap must not grow.
//!
//! `cargo bench --bench soak -- 30` runs for 30 minutes. Without a number it runs for 5 seconds.
#![allow(clippy::unwrap_used)]

use std::{
    collections::HashMap,
    env,
    hash::{BuildHasher as _, RandomState},
    time::{Duration, Instant},
};

use allocation_counter::measure;
use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Event, Hub, Subscription,
    hub::{Position, PublishError},
};

const SUBSCRIPTIONS: usize = 1_000;

/// The number of topics that exist at a time.
const TOPICS: u64 = 10_000;

/// The number of operations between two measurements of the heap.
const SLICE: usize = 100_000;

/// A generator of numbers that look random.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// A subscriber, which numbers the events of each topic.
struct Subscriber {
    subscription: Subscription,
    topics: Vec<String>,
    /// The number of the next event of each topic that was seen.
    next: HashMap<String, u64>,
    last: Option<Position>,
}

#[derive(Default)]
struct Counts {
    published: u64,
    seen: u64,
    resets: u64,
    resumed: u64,
    finished: u64,
}

struct Soak {
    hub: Hub,
    chance: Chance,
    subscribers: Vec<Subscriber>,
    /// The number of events of each topic so far. `None` if it was finished.
    published: HashMap<String, Option<u64>>,
    /// The oldest topic of those that exist.
    oldest: u64,
    counts: Counts,
}

impl Subscriber {
    fn new(hub: &Hub, topics: Vec<String>) -> Self {
        Self {
            subscription: hub.subscribe(&topics),
            topics,
            next: HashMap::new(),
            last: None,
        }
    }

    /// Reads everything. Returns `false` if the subscription has ended.
    fn read(&mut self, counts: &mut Counts) -> bool {
        while let Some(events) = self.subscription.next().now_or_never() {
            let Some(events) = events else {
                return false;
            };
            let wire = std::str::from_utf8(events.as_bytes()).unwrap();
            for event in wire.split_terminator("\n\n") {
                let (event, id) = event.rsplit_once("\nid: ").unwrap();
                let at: Position = id.parse().unwrap();
                if event.starts_with("event: reset") {
                    counts.resets += 1;
                    self.next.clear();
                } else {
                    counts.seen += 1;
                    assert!(self.last < Some(at), "{at} is out of order");
                    let (topic, number) = event[6..].split_once(' ').unwrap();
                    let number: u64 = number.parse().unwrap();
                    let expected = self.next.insert(topic.to_owned(), number + 1);
                    let is_next = expected.is_none_or(|expected| expected == number);
                    assert!(is_next, "{topic}: {number}, expected {expected:?}");
                }
                self.last = Some(at);
            }
        }
        true
    }
}

impl Soak {
    fn new() -> Self {
        let mut soak = Self {
            hub: Hub::builder()
                .history(16)
                .memory(4 << 20)
                .finished_for(Duration::from_secs(1))
                .build(),
            chance: Chance(RandomState::new().hash_one(0)),
            subscribers: Vec::new(),
            published: HashMap::new(),
            oldest: 0,
            counts: Counts::default(),
        };
        for _ in 0..SUBSCRIPTIONS {
            let topics = soak.some_topics();
            let subscriber = Subscriber::new(&soak.hub, topics);
            soak.subscribers.push(subscriber);
        }
        soak
    }

    fn topic(&mut self) -> String {
        format!("topic-{}", self.oldest + self.chance.below(TOPICS))
    }

    fn some_topics(&mut self) -> Vec<String> {
        (0..=self.chance.below(4)).map(|_| self.topic()).collect()
    }

    fn step(&mut self) {
        let index = self.chance.below(SUBSCRIPTIONS as u64) as usize;
        match self.chance.below(1_000) {
            0..10 => {
                // Another client takes the place.
                let topics = self.some_topics();
                self.subscribers[index] = Subscriber::new(&self.hub, topics);
            }
            10..20 => {
                // The client comes back after its last event.
                let subscriber = &mut self.subscribers[index];
                if let Some(last) = subscriber.last {
                    let id = last.to_string().parse().unwrap();
                    subscriber.subscription = self.hub.subscribe(&subscriber.topics).after(id);
                    self.counts.resumed += 1;
                }
            }
            20..25 => {
                let topic = self.topic();
                match self.hub.finish(&topic) {
                    Ok(_) => {
                        self.counts.finished += 1;
                        self.published.insert(topic, None);
                    }
                    Err(error) => assert!(matches!(error, PublishError::Finished), "{error}"),
                }
            }
            25..30 => {
                self.published.remove(&format!("topic-{}", self.oldest));
                self.oldest += 1;
            }
            30..400 => {
                if !self.subscribers[index].read(&mut self.counts) {
                    let topics = self.some_topics();
                    self.subscribers[index] = Subscriber::new(&self.hub, topics);
                }
            }
            _ => {
                // Half of the events are of topics that somebody reads.
                let topic = match self.chance.below(2) {
                    0 => self.topic(),
                    _ => self.subscribers[index].topics[0].clone(),
                };
                if topic["topic-".len()..].parse::<u64>().unwrap() < self.oldest {
                    return; // it is over
                }
                let Some(number) = self.published.get(&topic).copied().unwrap_or(Some(0)) else {
                    return; // its name is not used again
                };
                let event = Event::data(format!("{topic} {number}"));
                match self.hub.publish(&topic, event) {
                    Ok(_) => {
                        self.counts.published += 1;
                        self.published.insert(topic, Some(number + 1));
                    }
                    Err(error) => assert!(matches!(error, PublishError::Finished), "{error}"),
                }
            }
        }
    }
}

fn main() {
    let minutes = env::args().find_map(|argument| argument.parse::<f64>().ok());
    let time = minutes.map_or(Duration::from_secs(5), |minutes| {
        Duration::from_secs_f64(60.0 * minutes)
    });
    let start = Instant::now();
    let mut soak = Soak::new();
    let (mut live, mut printed, mut samples) = (0, Duration::ZERO, Vec::new());
    while start.elapsed() < time {
        let slice = measure(|| (0..SLICE).for_each(|_| soak.step()));
        live += slice.bytes_current;
        samples.push(live);
        if start.elapsed() >= printed {
            let Counts {
                published,
                seen,
                resets,
                resumed,
                finished,
            } = soak.counts;
            println!(
                "soak/{} s: {published} published, {seen} seen, {resets} resets, {resumed} resumed, \
                 {finished} finished; heap {live:+} bytes since the start, hub {} bytes, {} topics",
                start.elapsed().as_secs(),
                soak.hub.memory(),
                soak.hub.topics().len(),
            );
            printed += time / 20;
        }
    }
    // The heap of the last fifth beside that of the second one.
    let fifth = samples.len() / 5;
    let mean = |samples: &[i64]| samples.iter().sum::<i64>() / samples.len().max(1) as i64;
    let early = mean(&samples[fifth..2 * fifth]);
    let late = mean(&samples[samples.len() - fifth..]);
    println!("soak: the heap was {early} bytes at first and {late} at last");
    assert!(late < early + early / 20 + (1 << 20), "the heap grows");
}
