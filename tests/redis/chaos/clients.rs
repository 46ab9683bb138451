//! The clients of a run, which move from node to node with their last event IDs.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use http_sse::{
    LastEventId,
    hub::{EncodedEvents, Position},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::{Instant, sleep};

use super::{
    PUBLISHERS, TOPICS, World,
    truth::{Id, Reset, Skip},
};
use crate::deadline::within;

/// The state of a client.
struct Client {
    world: Arc<World>,
    number: usize,
    topics: Vec<usize>,
    /// The last number of each publisher and topic since the last reset.
    last: BTreeMap<(usize, usize), u64>,
    /// The last event ID.
    after: Option<Position>,
    /// The position of the last reset.
    reset_at: Option<Position>,
    /// The time of the last event or reset.
    last_read: Instant,
}

/// The next stay of a client: on which node, for how long, and the time until the next one.
pub(super) struct Stay {
    pub(super) time: Duration,
    pub(super) away: Duration,
}

impl Stay {
    pub(super) fn new(chance: &mut TestRng) -> Self {
        let away = match chance.random_range(0..10) {
            0 => 3_000,
            _ => 200,
        };
        Self {
            time: Duration::from_millis(chance.random_range(0..2_500)),
            away: Duration::from_millis(chance.random_range(0..away)),
        }
    }
}

/// Returns the topics of a client.
pub(super) fn some_topics(chance: &mut TestRng) -> Vec<usize> {
    let wanted = chance.random_range(1..=4);
    let mut topics: Vec<_> = (0..wanted)
        .map(|_| chance.random_range(0..TOPICS))
        .collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// Reads some topics from one node after the other, until it has caught up at the end.
pub(super) async fn read(world: Arc<World>, number: usize, mut chance: TestRng) {
    let mut client = Client {
        world: world.clone(),
        number,
        topics: some_topics(&mut chance),
        last: BTreeMap::new(),
        after: None,
        reset_at: None,
        last_read: Instant::now(),
    };
    let names: Vec<String> = client.topics.iter().map(|topic| name(*topic)).collect();
    while !client.has_caught_up() {
        let (node, hub) = world.hub(&mut chance);
        let stay = Stay::new(&mut chance);
        let losses_before = hub.status().losses;
        let mut subscription = hub.subscribe(&names);
        if let Some(at) = client.after {
            let last: LastEventId = at.to_string().parse().unwrap();
            subscription = subscription.after(last);
        }
        let mut subscription = subscription.take_until(Box::pin(sleep(stay.time)));
        while let Some(events) = within("an event or the end", subscription.next()).await {
            let is_late = hub.status().losses != losses_before;
            client.see(node, is_late, &events);
        }
        world.counts.hop();
        sleep(stay.away).await;
    }
}

/// Returns the name of a topic.
pub(super) fn name(topic: usize) -> String {
    format!("topic {topic}")
}

impl Client {
    fn see(&mut self, node: usize, is_late: bool, events: &EncodedEvents) {
        let wire = std::str::from_utf8(events.as_bytes()).unwrap();
        for event in wire.split_terminator("\n\n") {
            let (event, id) = event.rsplit_once("\nid: ").unwrap();
            let at: Position = id.parse().unwrap();
            match event.strip_prefix("data: ") {
                Some(data) => self.see_event(data.parse().unwrap(), at),
                None => self.see_reset(node, is_late, event, at),
            }
            self.after = Some(at);
            self.last_read = Instant::now();
        }
    }

    fn see_event(&mut self, id: Id, at: Position) {
        let Self { world, number, .. } = self;
        assert!(
            self.after < Some(at),
            "client {number}: {id} at {at} after {:?}",
            self.after
        );
        assert!(self.topics.contains(&id.topic), "client {number}: {id}");
        world.truth.sees(id, at);
        world.counts.event();
        let last = self.last.insert((id.publisher, id.topic), id.number);
        assert!(
            last < Some(id.number),
            "client {number}: {id} after {last:?}"
        );
        let missing = last.map_or(1, |last| last + 1)..id.number;
        // Before the first event, those before the start are not missing.
        let after = last.is_none().then_some(self.reset_at);
        if !missing.is_empty() && after != Some(None) {
            world.truth.skips(Skip {
                client: *number,
                id,
                at,
                missing,
                after: after.flatten(),
            });
        }
    }

    fn see_reset(&mut self, node: usize, is_late: bool, event: &str, at: Position) {
        self.world.truth.resets(Reset {
            client: self.number,
            node,
            is_late,
            reason: event.strip_prefix("event: reset\ndata: ").unwrap().into(),
            after: self.after,
            at,
            last_read: self.last_read,
            time: Instant::now(),
        });
        self.last.clear();
        self.reset_at = Some(at);
    }

    /// Returns whether the run is ending, and the client has everything up to the end of the last
    /// fault.
    fn has_caught_up(&self) -> bool {
        let Some(goal) = self.world.goal() else {
            return false;
        };
        self.topics.iter().all(|topic| {
            (0..PUBLISHERS).all(|publisher| {
                let number = goal.get(&(publisher, *topic)).copied().unwrap_or_default();
                let last = self.last.get(&(publisher, *topic)).copied();
                last.unwrap_or_default() >= number
            })
        })
    }
}
