//! Pub/sub of Redis with a broadcast channel on each node, which is common without a log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::StreamExt as _;
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use redis::{AsyncCommands as _, Client, RedisResult};
use tokio::{
    sync::broadcast::{Receiver, Sender, error::RecvError},
    time::{sleep, timeout},
};

use super::{
    CLIENTS, NODES, PUBLISHERS, TOPICS, World,
    clients::{Stay, name, some_topics},
    truth::Id,
};
use crate::{
    chance::fork,
    deadline::{Background, finished, within},
};

/// The events of a node.
pub(super) struct PubSub(Sender<Id>);

impl Default for PubSub {
    fn default() -> Self {
        Self(Sender::new(1_024))
    }
}

/// The tasks of a run.
pub(super) struct Running {
    _nodes: Vec<Background>,
    publishers: Vec<tokio::task::JoinHandle<BTreeSet<Id>>>,
    clients: Vec<tokio::task::JoinHandle<BTreeSet<Id>>>,
}

/// The result of a run.
pub(super) struct Lost {
    accepted: usize,
    seen: usize,
    lost: usize,
}

/// Starts to publish through pub/sub, to as many clients.
pub(super) fn start(world: &Arc<World>, chance: &mut TestRng) -> Running {
    let nodes = (0..NODES).map(|node| {
        let gate = world.nodes[node].gates[1].clone();
        Background::spawn(gate.pass(forward(world.clone(), node)))
    });
    let nodes = nodes.collect();
    let publishers = (0..PUBLISHERS)
        .map(|publisher| tokio::spawn(publish(world.clone(), publisher, fork(chance))));
    let publishers = publishers.collect();
    let clients = (0..CLIENTS).map(|_| tokio::spawn(read(world.clone(), fork(chance))));
    Running {
        _nodes: nodes,
        publishers,
        clients: clients.collect(),
    }
}

impl Running {
    /// Waits for all tasks, and counts the accepted events that a client should have seen between its
    /// first and its last one of a topic.
    pub(super) async fn end(self) -> Lost {
        let mut accepted = BTreeSet::new();
        for publisher in self.publishers {
            accepted.extend(finished("a publisher of pub/sub to end", publisher).await);
        }
        let (mut seen_by_all, mut lost) = (0, 0);
        for client in self.clients {
            let seen = finished("a client of pub/sub to end", client).await;
            let mut bounds: BTreeMap<(usize, usize), (Id, Id)> = BTreeMap::new();
            for id in &seen {
                let bounds = bounds.entry((id.publisher, id.topic)).or_insert((*id, *id));
                bounds.1 = *id;
            }
            let due = bounds
                .values()
                .map(|(first, last)| accepted.range(*first..=*last).count());
            seen_by_all += seen.len();
            lost += due.sum::<usize>() - seen.intersection(&accepted).count();
        }
        Lost {
            accepted: accepted.len(),
            seen: seen_by_all,
            lost,
        }
    }
}

/// Sends what a node receives to its clients.
async fn forward(world: Arc<World>, node: usize) {
    loop {
        _ = forward_until_failure(&world, node).await;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn forward_until_failure(world: &World, node: usize) -> RedisResult<()> {
    let client = Client::open(world.server())?;
    let mut connection = within("a connection", client.get_async_pubsub()).await?;
    for topic in 0..TOPICS {
        within("a subscription", connection.subscribe(name(topic))).await?;
    }
    let mut received = connection.on_message();
    // waits for good: in a task that is aborted
    while let Some(event) = received.next().await {
        let id: String = event.get_payload()?;
        _ = world.nodes[node].pub_sub.0.send(id.parse().unwrap());
    }
    Ok(())
}

/// Publishes until the run is over. Returns the events that Redis has accepted.
async fn publish(world: Arc<World>, publisher: usize, mut chance: TestRng) -> BTreeSet<Id> {
    let mut accepted = BTreeSet::new();
    let mut connection = None;
    for number in 1.. {
        if world.is_over() {
            break;
        }
        let topic = chance.random_range(0..TOPICS);
        let id = Id {
            publisher,
            topic,
            number,
        };
        if connection.is_none() {
            let client = Client::open(world.server()).unwrap();
            let opened = client.get_multiplexed_async_connection();
            connection = within("a connection", opened).await.ok();
        }
        if let Some(open) = &mut connection {
            let published = open.publish(name(topic), id.to_string());
            let published: RedisResult<()> = within("an answer", published).await;
            match published {
                Ok(()) => drop(accepted.insert(id)),
                Err(_) => connection = None,
            }
        }
        sleep(Duration::from_millis(chance.random_range(0..20))).await;
    }
    accepted
}

/// Reads some topics from one node after the other. Returns the events.
async fn read(world: Arc<World>, mut chance: TestRng) -> BTreeSet<Id> {
    let mut seen = BTreeSet::new();
    let topics = some_topics(&mut chance);
    while !world.is_over() {
        let node = chance.random_range(0..NODES);
        let stay = Stay::new(&mut chance);
        let mut receiver = world.nodes[node].pub_sub.0.subscribe();
        // has a deadline: the time of the stay
        _ = timeout(stay.time, read_from(&mut receiver, &topics, &mut seen)).await;
        drop(receiver);
        sleep(stay.away).await;
    }
    seen
}

async fn read_from(receiver: &mut Receiver<Id>, topics: &[usize], seen: &mut BTreeSet<Id>) {
    loop {
        // waits for good: the caller has a deadline
        match receiver.recv().await {
            Ok(id) if topics.contains(&id.topic) => drop(seen.insert(id)),
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            accepted,
            seen,
            lost,
        } = self;
        write!(
            f,
            "pub/sub: {accepted} events accepted, {seen} seen, {lost} lost without a sign"
        )
    }
}
