//! Round trips to the server: one per batch of entries, and one per idle second.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub,
    hub::{EventLog as _, RedisLog},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

use crate::{
    deadline::{Background, within},
    log::{append, connect},
    redis_server::{Engine, RedisServer},
};

/// A proxy before a server, which counts what the clients send.
struct Proxy {
    url: String,
    /// The packets of each connection that reads the tail, and of all others.
    packets: Arc<Mutex<[u64; 2]>>,
    _serves: Background,
}

impl Proxy {
    async fn start(server: &RedisServer) -> Self {
        let listener = within("a port", TcpListener::bind("127.0.0.1:0"))
            .await
            .unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let packets = Arc::new(Mutex::new([0; 2]));
        let (port, counts) = (server.port(), packets.clone());
        let _serves = Background::spawn(async move {
            let mut connections = Vec::new();
            // has a deadline: the task is dropped with the proxy
            while let Ok((client, _)) = listener.accept().await {
                let serves = serve(client, port, counts.clone());
                connections.push(Background::spawn(serves));
            }
        });
        Self {
            url,
            packets,
            _serves,
        }
    }

    /// Returns the packets of tails, and all others, since the last call.
    fn take(&self) -> [u64; 2] {
        std::mem::take(&mut *self.packets.lock().unwrap())
    }
}

/// Forwards the packets of a client. Each is one call of the client, because it sends all of it at once.
async fn serve(client: TcpStream, port: u16, packets: Arc<Mutex<[u64; 2]>>) {
    let connected = within("the server", TcpStream::connect(("127.0.0.1", port))).await;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = connected.unwrap().into_split();
    let _answers = Background::spawn(async move {
        // has a deadline: the task is dropped with the connection
        _ = copy(&mut from_server, &mut to_client).await;
    });
    let mut packet = vec![0; 1 << 16];
    // has a deadline: the task is dropped with the proxy
    while let Ok(read @ 1..) = from_client.read(&mut packet).await {
        let text = String::from_utf8_lossy(&packet[..read]);
        // Not the check of the permissions, which does not wait.
        let is_tail = text.contains("XREAD") && text.contains("BLOCK");
        packets.lock().unwrap()[usize::from(!is_tail)] += 1;
        let written = within("the server to read", to_server.write_all(&packet[..read])).await;
        if written.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn a_tail_makes_one_round_trip_per_batch_and_one_per_idle_second() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let proxy = Proxy::start(&server).await;
        let log = connect(RedisLog::builder(&proxy.url)).await;
        let direct = connect(RedisLog::builder(&server.url())).await;

        // Pages of 50, 100, 200, 400 and at most 500.
        let hub = Hub::builder()
            .history(1_200)
            .distributed(Arc::new(log.clone()));
        let hub = within("the hub", hub).await.unwrap();
        let mut subscription = hub.subscribe(["topic"]);
        for _ in 0..1_200 {
            append(&direct, "a").await;
        }
        proxy.take();
        let follows = hub.clone();
        let _follows = Background::spawn(async move {
            within("the hub to be closed", follows.follow()).await;
        });
        let mut read = 0;
        while read < 1_200 {
            let events = within("an event", subscription.next()).await.unwrap();
            read += events.count();
        }
        let [tail, _] = proxy.take();
        // The next one may have begun.
        assert!((5..=6).contains(&tail), "{tail}");

        let idle = Duration::from_secs(4);
        let monitor = server.monitor().await;
        let start = Instant::now();
        within("the idle time", sleep(idle)).await;
        let [tail, others] = proxy.take();
        let seconds = start.elapsed().as_secs_f64();
        assert!(tail as f64 <= seconds / 0.9 + 1.0, "{tail} in {seconds} s");
        assert!(tail >= 3, "{tail} in {seconds} s");
        assert_eq!(others, 0);
        let lines = monitor.lines().await;
        let named = |name: &str| lines.iter().filter(|line| line.contains(name)).count() as u64;
        assert!(named("XREAD").abs_diff(tail) <= 1);
        assert!(named("\"GET\"").abs_diff(tail) <= 1);
        assert!(named("\"TYPE\"").abs_diff(tail) <= 1);
        assert!(lines.len() as u64 <= 3 * tail + 3, "{lines:?}");

        // Each event is a batch if the next one is published after its arrival.
        let mut subscription = hub.subscribe(["topic"]);
        proxy.take();
        let start = Instant::now();
        for _ in 0..200 {
            append(&direct, "a").await;
            within("the event", subscription.next()).await.unwrap();
        }
        let [tail, others] = proxy.take();
        let heartbeats = start.elapsed().as_secs() + 2;
        assert!((199..=200 + heartbeats).contains(&tail), "{tail}");
        assert_eq!(others, 0);

        // A publish is one round trip, and so is a page of a replay.
        for _ in 0..50 {
            let published = hub.publish("topic", Event::data("a"));
            within("a publish", published).await.unwrap();
        }
        let [_, others] = proxy.take();
        // A new connection introduces itself.
        assert!((50..=54).contains(&others), "{others}");
        let first = within("the first entry", log.first())
            .await
            .unwrap()
            .unwrap();
        proxy.take();
        within("a page", log.read(first.at, 500)).await.unwrap();
        assert_eq!(proxy.take()[1], 1);
        hub.close();
    }
}
