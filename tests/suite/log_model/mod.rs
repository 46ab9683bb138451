//! Servers on one log that fails, hangs, is trimmed and goes back, and clients that switch between
//! the servers.

mod clients;
mod faulty;
mod publishers;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use http_sse::{Hub, hub::DistributedHub};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::{Instant, sleep};

pub(crate) use self::faulty::Lossy;
use self::faulty::{Faulty, Weather};
use crate::{
    chance::{chance, fork},
    deadline::{Background, within, within_time},
    node::Node,
};

const SERVERS: usize = 3;
/// The topics in which every event counts, and those whose events replace earlier ones.
const TOPICS: [&str; 6] = [
    "feed 1", "feed 2", "feed 3", "feed 4", "prices 1", "prices 2",
];
/// The longest time in which everybody catches up after that.
const CATCH_UP: Duration = Duration::from_secs(300);

/// Numbers by topic and key. The events of a feed have the key "".
type Numbers = BTreeMap<(String, String), u64>;

/// The size of the runs.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// The number of events that the clients of all runs together see.
    pub(crate) events: u64,
    pub(crate) clients: usize,
    /// The longest pause of a publisher.
    pub(crate) pause: Duration,
    /// The time for which events are published and the log is unreliable, in one run.
    pub(crate) time: Duration,
}

/// Everything that the tasks of one run share.
struct World {
    plan: Plan,
    log: Faulty,
    /// The servers that run now, with a number that no two servers share.
    servers: Mutex<Vec<(u64, Arc<Node>)>>,
    /// The last number that was published for each topic and key.
    published: Mutex<Numbers>,
    /// True when the log is reliable, and the clients read on until they have caught up.
    is_ending: AtomicBool,
    events: AtomicU64,
    resets: AtomicU64,
    switches: AtomicU64,
}

impl World {
    fn server(&self, chance: &mut TestRng) -> (u64, DistributedHub) {
        let servers = self.servers.lock().unwrap();
        let (number, node) = &servers[chance.random_range(0..servers.len())];
        (*number, node.hub.clone())
    }

    fn is_ending(&self) -> bool {
        self.is_ending.load(SeqCst)
    }

    /// Starts a server as soon as the log can be loaded.
    async fn start_server(&self, number: u64) -> (u64, Arc<Node>) {
        loop {
            let log = Arc::new(self.log.clone());
            let hub = Hub::builder().history(200).distributed(log);
            if let Ok(hub) = within_time(CATCH_UP, "the log to be loaded", hub).await {
                return (number, Arc::new(Node::of(hub)));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Every client gets each event of its topics once and in order, and is reset only if the log has
/// lost entries.
///
/// Half of the runs lose entries. In the others no client may be reset. Each run has a new log.
pub(crate) async fn clients_get_each_event_once_or_an_explained_reset(
    plan: Plan,
    new_log: impl AsyncFn() -> Arc<dyn Lossy>,
) {
    let wanted = plan.events;
    let mut chance = chance();
    let mut sums = [0; 6];
    for run in 0..50 {
        let log = within("a log", new_log()).await;
        let counts = one_run(plan, log, run % 2 == 1, &mut chance).await;
        sums.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
        let [events, resets, _, faults, losses, servers] = sums;
        let is_enough = resets > 10 && faults > 100 && losses > 3 && servers > 2 * SERVERS as u64;
        if run % 2 == 1 && events >= wanted && is_enough {
            break;
        }
    }
    let [events, resets, switches, faults, losses, servers] = sums;
    println!(
        "{events} events, {resets} resets, {switches} switches, {servers} servers, \
         {faults} failed calls, the log has lost entries {losses} times"
    );
    assert!(events >= wanted && resets > 10 && switches > wanted / 200);
    assert!(faults > 100 && losses > 3 && servers > 2 * SERVERS as u64);
}

/// Returns the numbers of events, resets, switches, failed calls, losses of the log, and servers.
async fn one_run(plan: Plan, log: Arc<dyn Lossy>, loses: bool, chance: &mut TestRng) -> [u64; 6] {
    let world = Arc::new(World {
        plan,
        log: Faulty::new(log, fork(chance)),
        servers: Mutex::default(),
        published: Mutex::default(),
        is_ending: AtomicBool::new(false),
        events: AtomicU64::new(0),
        resets: AtomicU64::new(0),
        switches: AtomicU64::new(0),
    });
    for number in 0..SERVERS as u64 {
        let server = world.start_server(number).await;
        world.servers.lock().unwrap().push(server);
    }
    let mut disturbances = vec![
        Background::spawn(weather(world.clone(), fork(chance))),
        Background::spawn(restarts(world.clone(), fork(chance))),
    ];
    if loses {
        disturbances.push(Background::spawn(losses(world.clone(), fork(chance))));
    }
    let publishers: Vec<_> = TOPICS
        .iter()
        .map(|topic| Background::spawn(publishers::publish(world.clone(), topic, fork(chance))))
        .collect();
    let mut clients: Vec<_> = (0..plan.clients)
        .map(|_| tokio::spawn(clients::read(world.clone(), fork(chance))))
        .collect();
    let start = Instant::now();
    for number in 0.. {
        if start.elapsed() > plan.time {
            break;
        }
        let name = format!("generation {number}");
        let generation = publishers::generate(world.clone(), name.clone(), fork(chance));
        clients.push(tokio::spawn(generation));
        for _ in 0..3 {
            let reader = clients::read_generation(world.clone(), name.clone(), fork(chance));
            clients.push(tokio::spawn(reader));
        }
        sleep(Duration::from_secs(2)).await;
    }
    drop(disturbances);
    world.log.set_weather(Weather::Good);
    world.is_ending.store(true, SeqCst);
    for client in clients {
        within_time(CATCH_UP, "a client to catch up", client)
            .await
            .unwrap();
    }
    drop(publishers);
    let servers = std::mem::take(&mut *world.servers.lock().unwrap());
    servers.iter().for_each(|(_, server)| server.hub.close());
    let number = servers.iter().map(|(number, _)| number + 1).max();
    [
        world.events.load(SeqCst),
        world.resets.load(SeqCst),
        world.switches.load(SeqCst),
        world.log.faults(),
        world.log.losses(),
        number.unwrap_or_default(),
    ]
}

/// Changes how well the engine works.
async fn weather(world: Arc<World>, mut chance: TestRng) {
    loop {
        let time = Duration::from_millis(chance.random_range(0..4_000));
        let weather = match chance.random_range(0..4) {
            0 => Weather::Failing,
            // A call fails after 5 s.
            1 => Weather::HangingUntil(Instant::now() + 2 * time),
            _ => Weather::Good,
        };
        world.log.set_weather(weather);
        sleep(time).await;
    }
}

/// Replaces one server after the other.
async fn restarts(world: Arc<World>, mut chance: TestRng) {
    for number in SERVERS as u64.. {
        sleep(chance.random_range(Duration::ZERO..world.plan.time / 3)).await;
        let server = world.start_server(number).await;
        let replaced = chance.random_range(0..SERVERS);
        let (_, old) = std::mem::replace(&mut world.servers.lock().unwrap()[replaced], server);
        old.hub.close();
    }
}

/// Loses entries at the beginning of the log or at its end.
async fn losses(world: Arc<World>, mut chance: TestRng) {
    loop {
        sleep(chance.random_range(Duration::ZERO..world.plan.time / 6)).await;
        match chance.random_range(0..2) {
            0 => world.log.trim(chance.random_range(0..1_000)).await,
            _ => world.log.lose(chance.random_range(1..100)).await,
        }
    }
}
