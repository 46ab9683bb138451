//! The clients of the run, and what each of them must see.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures_util::StreamExt as _;
use http_sse::hub::{EncodedEvents, Position};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::sleep;

use super::{Numbers, TOPICS, World, publishers::CHUNKS};
use crate::{deadline::within, node::last};

/// The state of a client, which checks every event.
struct Client {
    world: Arc<World>,
    topics: Vec<String>,
    /// The last number of each topic and key since the last reset.
    last: Numbers,
    after: Option<Position>,
    /// The number of resets by each server.
    resets: BTreeMap<u64, u64>,
}

impl Client {
    fn new(world: Arc<World>, topics: Vec<String>) -> Self {
        Self {
            world,
            topics,
            last: Numbers::new(),
            after: None,
            resets: BTreeMap::new(),
        }
    }

    /// Checks the events of a piece. Returns whether one of them is a reset.
    fn see(&mut self, server: u64, events: &EncodedEvents) -> bool {
        let mut is_reset = false;
        let wire = std::str::from_utf8(events.as_bytes()).unwrap();
        for event in wire.split_terminator("\n\n") {
            let (event, id) = event.rsplit_once("\nid: ").unwrap();
            let at: Position = id.parse().unwrap();
            match event.strip_prefix("data: ") {
                Some(data) => self.see_event(at, data),
                None => {
                    self.see_reset(server, at, event);
                    is_reset = true;
                }
            }
            self.after = Some(at);
        }
        is_reset
    }

    fn see_event(&mut self, at: Position, data: &str) {
        self.world.events.fetch_add(1, SeqCst);
        assert!(
            self.after < Some(at),
            "{data} at {at} after {:?}",
            self.after
        );
        let (topic, rest) = data.split_once('/').unwrap();
        let (key, number) = rest.split_once('/').unwrap();
        let number: u64 = number.parse().unwrap();
        assert!(self.topics.iter().any(|wanted| wanted == topic), "{data}");
        let last = self.last.insert((topic.to_owned(), key.to_owned()), number);
        let Some(last) = last else { return };
        assert!(number > last, "{data} after {last}");
        if !topic.starts_with("prices") {
            assert!(
                self.has_lost(topic, last + 1..number),
                "{data} after {last}"
            );
        }
    }

    /// Returns whether the log has lost all these events.
    fn has_lost(&self, topic: &str, mut numbers: Range<u64>) -> bool {
        numbers.all(|number| self.world.log.has_lost(&format!("{topic}//{number}")))
    }

    fn see_reset(&mut self, server: u64, at: Position, event: &str) {
        self.world.resets.fetch_add(1, SeqCst);
        let losses = self.world.log.losses();
        let resets = self.resets.entry(server).or_default();
        *resets += 1;
        // A client that resumes may be reset before its server knows of the loss, and then again.
        assert!(
            *resets <= 2 * losses,
            "{event:?} at {at} after {:?}: the {resets}th reset by server {server} after {losses} losses",
            self.after
        );
        self.last.clear();
    }
}

/// Reads some topics from one server after the other, until it has caught up at the end.
pub(super) async fn read(world: Arc<World>, mut chance: TestRng) {
    let wanted = chance.random_range(1..=3);
    let topics = (0..wanted).map(|_| TOPICS[chance.random_range(0..TOPICS.len())].to_owned());
    let mut client = Client::new(world.clone(), topics.collect());
    let mut goal: Option<Numbers> = None;
    loop {
        let (number, server) = world.server(&mut chance);
        let mut subscription = server.subscribe(&client.topics);
        if let Some(at) = client.after {
            subscription = subscription.after(last(at));
        }
        for _ in 0..chance.random_range(1..100) {
            // It also ends if the server is closed or cannot read the log.
            let Some(events) = within("an event or the end", subscription.next()).await else {
                break;
            };
            client.see(number, &events);
            if world.is_ending() {
                let goal = goal.get_or_insert_with(|| {
                    let mut goal = world.published.lock().unwrap().clone();
                    goal.retain(|(topic, _), _| client.topics.contains(topic));
                    goal
                });
                let has_reached = |(id, number)| client.last.get(id) >= Some(number);
                if goal.iter().all(has_reached) {
                    return;
                }
            }
        }
        world.switches.fetch_add(1, SeqCst);
        if !world.is_ending() {
            sleep(Duration::from_millis(chance.random_range(0..2_000))).await;
        }
    }
}

/// Reads a generation from its start to its end, from one server after the other.
///
/// If it is reset, it gives up.
pub(super) async fn read_generation(world: Arc<World>, topic: String, mut chance: TestRng) {
    let mut client = Client::new(world.clone(), vec![topic.clone()]);
    sleep(Duration::from_millis(chance.random_range(0..3_000))).await;
    loop {
        let (number, server) = world.server(&mut chance);
        let mut subscription = server.subscribe([&topic]).from_start();
        if let Some(at) = client.after {
            subscription = subscription.after(last(at));
        }
        let mut has_ended = false;
        for _ in 0..chance.random_range(1..10) {
            let next = within("an event or the end", subscription.next()).await;
            let Some(events) = next else {
                has_ended = true;
                break;
            };
            let is_first = client.after.is_none();
            if client.see(number, &events) {
                return;
            }
            if is_first && world.log.losses() == 0 {
                let wire = std::str::from_utf8(events.as_bytes()).unwrap();
                assert!(wire.starts_with(&format!("data: {topic}//1\n")), "{wire}");
            }
        }
        let last = client.last.values().max().copied().unwrap_or_default();
        if has_ended && client.has_lost(&topic, last + 1..CHUNKS + 1) {
            return;
        }
        world.switches.fetch_add(1, SeqCst);
        sleep(Duration::from_millis(chance.random_range(0..500))).await;
    }
}
