//! Three nodes on a log whose servers are killed, frozen, emptied and replaced, and clients that move
//! between the nodes.
//!
//! `HTTP_SSE_CHAOS=20` makes 20 runs on each engine, with all faults, instead of one short run.
//! `HTTP_SSE_SEED` repeats the first one.

mod clients;
mod faults;
mod gate;
mod pub_sub;
mod publishers;
mod truth;
mod verdict;

use std::{
    collections::BTreeMap,
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use http_sse::{
    Hub,
    hub::{DistributedHub, RedisLog},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::Instant;

use self::{
    faults::{Faults, Kind, LONG},
    gate::Gate,
    pub_sub::PubSub,
    truth::Truth,
};
use crate::{
    chance::{chance, fork},
    deadline::{Background, finished, until, within, within_time},
    redis_server::Engine,
    sentinels::{SERVICE, Sentinels},
};

const NODES: usize = 3;
const CLIENTS: usize = 60;
const TOPICS: usize = 6;
const PUBLISHERS: usize = 2;
const STREAM: &str = "{http-sse}:log";

/// The time after which no more faults begin in a short run.
const SHORT: Duration = Duration::from_secs(8);

const EVERY_SECOND: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

/// A longer time than any run takes.
const HOUR: Duration = Duration::from_secs(3_600);

/// Everything that the tasks of one run share.
struct World {
    nodes: Vec<Node>,
    truth: Truth,
    counts: Counts,
    /// The URL of the present server.
    server: Mutex<String>,
    /// The numbers that every client must reach, after the last fault.
    goal: Mutex<Option<BTreeMap<(usize, usize), u64>>>,
    is_over: AtomicBool,
}

/// A node, with a hub on the log and the same with pub/sub.
struct Node {
    hub: DistributedHub,
    pub_sub: PubSub,
    gates: [Arc<Gate>; 2],
    _follows: Background,
}

#[derive(Default)]
struct Counts {
    events: AtomicU64,
    hops: AtomicU64,
}

impl Counts {
    fn event(&self) {
        self.events.fetch_add(1, SeqCst);
    }

    fn hop(&self) {
        self.hops.fetch_add(1, SeqCst);
    }
}

impl Node {
    async fn start(servers: &Sentinels) -> Self {
        let log = RedisLog::sentinel_builder(SERVICE, servers.urls()).connect();
        let log = within("a connection", log).await.unwrap();
        let hub = Hub::builder().history(200).distributed(Arc::new(log));
        let hub = within("the log to be loaded", hub).await.unwrap();
        let gates: [Arc<Gate>; 2] = Default::default();
        let (follows, gate) = (hub.clone(), Arc::clone(&gates[0]));
        let _follows = Background::spawn(async move {
            let follows = gate.pass(follows.follow());
            within_time(HOUR, "the hub to be closed", follows).await;
        });
        Self {
            hub,
            pub_sub: PubSub::default(),
            gates,
            _follows,
        }
    }

    /// Stops what the node does in the background.
    fn pause(&self) {
        self.gates.iter().for_each(|gate| gate.close());
    }

    fn go_on(&self) {
        self.gates.iter().for_each(|gate| gate.open());
    }
}

impl World {
    /// Returns a random node.
    fn hub(&self, chance: &mut TestRng) -> (usize, DistributedHub) {
        let node = chance.random_range(0..NODES);
        (node, self.nodes[node].hub.clone())
    }

    fn server(&self) -> String {
        self.server.lock().unwrap().clone()
    }

    fn set_server(&self, url: String) {
        *self.server.lock().unwrap() = url;
    }

    /// Waits until all nodes have read an event that is published from now on.
    async fn catches_up(&self) {
        let before = self.truth.last();
        until("an event to be published", || self.truth.last() > before).await;
        // The positions begin with the time, also in a log that is begun anew.
        let new = self.truth.last();
        until("all nodes to read an event", || {
            self.nodes.iter().all(|node| node.hub.head() >= new)
        })
        .await;
    }

    fn goal(&self) -> Option<BTreeMap<(usize, usize), u64>> {
        self.goal.lock().unwrap().clone()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_each_event_once_or_an_explained_reset_with_redis() {
    runs(Engine::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_each_event_once_or_an_explained_reset_with_valkey() {
    runs(Engine::Valkey).await;
}

async fn runs(engine: Engine) {
    let wanted = env::var("HTTP_SSE_CHAOS").ok();
    let wanted = wanted.map(|runs| runs.parse().expect("HTTP_SSE_CHAOS is a number"));
    let is_required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let runs = wanted.unwrap_or(if is_required { 2 } else { 1 });
    let time = wanted.map_or(SHORT, |_| HOUR);
    let mut chance = chance();
    for _ in 0..runs {
        let Some(servers) = Sentinels::start(engine, &EVERY_SECOND).await else {
            return;
        };
        servers.set_patience(LONG).await;
        one_run(engine, servers, time, &mut chance).await;
    }
}

/// Lets faults begin for this time, or until each has happened once.
async fn one_run(engine: Engine, servers: Sentinels, time: Duration, chance: &mut TestRng) {
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(Node::start(&servers).await);
    }
    let world = Arc::new(World {
        nodes,
        truth: Truth::default(),
        counts: Counts::default(),
        server: Mutex::new(servers.master.url()),
        goal: Mutex::default(),
        is_over: AtomicBool::new(false),
    });
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| publishers::publish(world.clone(), publisher, fork(chance)))
        .map(Background::spawn)
        .collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(clients::read(world.clone(), number, fork(chance))))
        .collect();
    let pub_sub = pub_sub::start(&world, chance);
    let mut faults = Faults::new(world.clone(), servers, fork(chance));
    world.catches_up().await;

    let mut kinds = Kind::ALL;
    for last in (1..kinds.len()).rev() {
        kinds.swap(last, chance.random_range(0..=last));
    }
    let start = Instant::now();
    for kind in kinds {
        if start.elapsed() < time {
            faults.happen(kind).await;
        }
    }
    *world.goal.lock().unwrap() = Some(world.truth.stored());
    for client in clients {
        finished("a client to catch up", client).await;
    }
    world.is_over.store(true, SeqCst);
    for publisher in publishers {
        publisher.finished("a publisher to end").await;
    }
    let pub_sub = pub_sub.end().await;
    let (verdict, violations) = world.truth.check();
    let (events, hops) = (&world.counts.events, &world.counts.hops);
    println!(
        "{engine:?}: {} events seen, {} hops, {verdict}, {} unexplained; {pub_sub}",
        events.load(SeqCst),
        hops.load(SeqCst),
        violations.len()
    );
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
