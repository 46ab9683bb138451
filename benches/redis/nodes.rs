//! Deliveries to the subscribers of several nodes, compared with Redis pub/sub and
//! `tokio::sync::broadcast`.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub,
    hub::{DistributedHub, RedisLog},
};
use redis::Client;
use tokio::{
    sync::{Notify, broadcast},
    task::{LocalSet, spawn_local},
    time::timeout,
};

use crate::{PAYLOAD, median, repeat, runtime, server::Server};

/// The measurements of each competitor, taken in turns.
const ROUNDS: usize = 9;

const NODES: [usize; 3] = [1, 3, 10];

/// The subscribers of each node.
const SUBSCRIBERS: usize = 10;

/// The events of one measurement, of which 64 are in flight.
const EVENTS: usize = 5_000;

const NAMES: [&str; 2] = ["http-sse", "pub/sub and `broadcast`"];

pub(crate) fn run(server: &Server) {
    println!("| | 1 node | 3 | 10 | us of Redis CPU, 1 node | 3 | 10 |");
    println!("|---|{}", "---:|".repeat(2 * NODES.len()));
    let columns = NODES.map(|nodes| measure(server, nodes));
    for (row, name) in NAMES.iter().enumerate() {
        let rates = columns.map(|column| format!("{:.0}", column[row].0));
        let cpus = columns.map(|column| format!("{:.1}", column[row].1));
        println!("| {name} | {} | {} |", rates.join(" | "), cpus.join(" | "));
    }
    for (nodes, [ours, peer]) in NODES.into_iter().zip(columns) {
        let (rate, cpu) = (ours.0 / peer.0, ours.1 / peer.1);
        println!(
            "nodes/{nodes}: {rate:.2}x as fast as {}, {cpu:.2} of the Redis CPU",
            NAMES[1]
        );
    }
}

/// Returns the deliveries per second of each competitor, and the CPU time of Redis per event.
fn measure(server: &Server, nodes: usize) -> [(f64, f64); 2] {
    let mut figures = [const { (Vec::new(), Vec::new()) }; 2];
    for _ in 0..ROUNDS {
        for (row, (rates, cpus)) in figures.iter_mut().enumerate() {
            let deliver = async {
                server.clear().await;
                match row {
                    0 => http_sse(server, nodes).await,
                    _ => pub_sub(server, nodes).await,
                }
            };
            let (took, cpu) = LocalSet::new().block_on(&runtime(), deliver);
            rates.push((EVENTS * nodes * SUBSCRIBERS) as f64 / took.as_secs_f64());
            cpus.push(cpu / EVENTS as f64);
        }
    }
    figures.map(|(rates, cpus)| (median(rates), median(cpus)))
}

async fn http_sse(server: &Server, nodes: usize) -> (Duration, f64) {
    let seen = Seen::new(nodes);
    let mut hubs: Vec<DistributedHub> = Vec::new();
    for _ in 0..nodes {
        let log = RedisLog::connect(&server.url).await.unwrap();
        // No subscriber lags.
        let hub = Hub::builder().history(EVENTS).history_bytes(4 << 20);
        let hub = hub.distributed(Arc::new(log)).await.unwrap();
        let follower = hub.clone();
        tokio::spawn(async move { follower.follow().await });
        for _ in 0..SUBSCRIBERS {
            let (mut subscription, seen) = (hub.subscribe(["topic"]), seen.clone());
            spawn_local(async move {
                while let Some(events) = subscription.next().await {
                    seen.add(events.count() as usize);
                }
            });
        }
        hubs.push(hub);
    }
    let publish = async || {
        let event = Event::data(&**PAYLOAD);
        hubs[0].publish("topic", event).await.unwrap();
    };
    seen.all(server, publish).await
}

async fn pub_sub(server: &Server, nodes: usize) -> (Duration, f64) {
    let seen = Seen::new(nodes);
    for _ in 0..nodes {
        let client = Client::open(&*server.url).unwrap();
        let mut channel = client.get_async_pubsub().await.unwrap();
        channel.subscribe("topic").await.unwrap();
        let (sender, _) = broadcast::channel(EVENTS);
        for _ in 0..SUBSCRIBERS {
            let (mut receiver, seen) = (sender.subscribe(), seen.clone());
            spawn_local(async move {
                while receiver.recv().await.is_ok() {
                    seen.add(1);
                }
            });
        }
        spawn_local(async move {
            let mut messages = channel.into_on_message();
            while let Some(message) = messages.next().await {
                let event = [b"data: ", message.get_payload_bytes(), b"\n\n"].concat();
                sender.send(Bytes::from(event)).unwrap();
            }
        });
    }
    let writer = server.connect().await;
    let publish = async || {
        let mut writer = writer.clone();
        let publish = redis::cmd("PUBLISH").arg(&["topic", &PAYLOAD]).to_owned();
        publish.exec_async(&mut writer).await.unwrap();
    };
    seen.all(server, publish).await
}

/// The deliveries of all subscribers.
struct Seen {
    left: Cell<usize>,
    all: Notify,
}

impl Seen {
    fn new(nodes: usize) -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(EVENTS * nodes * SUBSCRIBERS),
            all: Notify::new(),
        })
    }

    fn add(&self, events: usize) {
        self.left.set(self.left.get() - events);
        if self.left.get() == 0 {
            self.all.notify_one();
        }
    }

    /// Publishes all events, and waits until all are delivered. Returns the time, and the CPU time of
    /// Redis in microseconds.
    async fn all(&self, server: &Server, publish: impl AsyncFn()) -> (Duration, f64) {
        let cpu = server.cpu().await;
        let start = Instant::now();
        let delivered = async {
            repeat(EVENTS, 64, publish).await;
            self.all.notified().await;
        };
        let delivered = timeout(Duration::from_secs(60), delivered).await;
        delivered.expect("all events are delivered");
        let took = start.elapsed();
        (took, server.cpu().await - cpu)
    }
}
