//! The time from a publish to the client's socket, compared with a loop of `XREAD` that writes to a
//! socket.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::get, serve::ListenerExt as _};
use futures_util::future::BoxFuture;
use http_sse::{
    Event, Hub, Sse, Subscription,
    hub::{DistributedHub, RedisLog},
};
use redis::{AsyncConnectionConfig, Client};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::unbounded_channel,
};

use crate::{PAYLOAD, median, runtime, server::Server};

/// The measurements of each competitor, taken in turns.
const ROUNDS: usize = 9;

/// The events per second.
const RATES: [u32; 2] = [200, 2_000];

/// The time of one measurement.
const SECONDS: u32 = 2;

const NAMES: [&str; 2] = ["http-sse on axum::serve", "`XADD`, `XREAD` and a socket"];

/// Publishes an event.
type Publish = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

pub(crate) fn run(server: &Server) {
    println!("| us from publish to socket | 200/s, p50 | p99 | 2,000/s, p50 | p99 |");
    println!("|---|---:|---:|---:|---:|");
    let columns = RATES.map(|rate| measure(server, rate));
    for (row, name) in NAMES.iter().enumerate() {
        let cells = columns.map(|column| format!("{:.0} | {:.0}", column[row][0], column[row][1]));
        println!("| {name} | {} |", cells.join(" | "));
    }
    for (rate, [ours, bare]) in RATES.into_iter().zip(columns) {
        let [p50, p99] = [0, 1].map(|at| ours[at] / bare[at]);
        println!("latency/{rate}/s: p50 {p50:.2} and p99 {p99:.2} of `XADD`, `XREAD` and a socket");
    }
}

/// Returns the p50 and the p99 of each competitor, in microseconds.
fn measure(server: &Server, rate: u32) -> [[f64; 2]; 2] {
    let mut figures = [const { [const { Vec::new() }; 2] }; 2];
    for _ in 0..ROUNDS {
        for (row, [p50, p99]) in figures.iter_mut().enumerate() {
            let mut times = runtime().block_on(async {
                server.clear().await;
                let (publish, client) = match row {
                    0 => http_sse(server).await,
                    _ => bare(server).await,
                };
                times(publish, client, rate).await
            });
            times.sort_unstable();
            let micros = |index: usize| times[index].as_secs_f64() * 1e6;
            p50.push(micros(times.len() / 2));
            p99.push(micros(times.len() * 99 / 100));
        }
    }
    figures.map(|figures| figures.map(median))
}

/// Publishes events at a rate, and returns the time that each took to the client.
async fn times(publish: Publish, mut client: TcpStream, rate: u32) -> Vec<Duration> {
    // The first events pay for what is made once.
    for _ in 0..100 {
        publish().await;
        arrived(&mut client).await;
    }
    let (orders, mut ordered) = unbounded_channel();
    let (sent, sending) = mpsc::channel();
    let count = rate * SECONDS;
    // A thread, because tokio's timers have a resolution of a millisecond.
    thread::spawn(move || {
        let start = Instant::now();
        for n in 0..count {
            let due = start + Duration::from_secs(1) * n / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            sent.send(Instant::now()).unwrap();
            orders.send(()).unwrap();
        }
    });
    tokio::spawn(async move {
        while let Some(()) = ordered.recv().await {
            tokio::spawn(publish());
        }
    });
    let mut times = Vec::new();
    while times.len() < count as usize {
        for _ in 0..arrived(&mut client).await {
            times.push(sending.try_recv().unwrap().elapsed());
        }
    }
    times
}

/// Returns the number of events that the next read returns.
async fn arrived(client: &mut TcpStream) -> usize {
    let mut buffer = [0; 16 << 10];
    let read = client.read(&mut buffer).await.unwrap();
    assert_ne!(read, 0);
    buffer[..read].iter().filter(|byte| **byte == b'~').count()
}

/// Starts a server with a hub, and connects a client to it.
async fn http_sse(server: &Server) -> (Publish, TcpStream) {
    async fn events(State(hub): State<DistributedHub>) -> Sse<Subscription> {
        Sse::new(hub.subscribe(["topic"]))
    }

    let log = RedisLog::connect(&server.url).await.unwrap();
    let hub = Hub::builder().distributed(Arc::new(log)).await.unwrap();
    let follower = hub.clone();
    tokio::spawn(async move { follower.follow().await });
    let app = Router::new()
        .route("/", get(events))
        .with_state(hub.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).unwrap());
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    client.write_all(request).await.unwrap();
    assert_eq!(arrived(&mut client).await, 0); // the head
    let publish: Publish = Box::new(move || {
        let hub = hub.clone();
        Box::pin(async move {
            hub.publish("topic", Event::data(&**PAYLOAD)).await.unwrap();
        })
    });
    (publish, client)
}

/// Starts a loop that reads a stream and writes the payloads to a client.
async fn bare(server: &Server) -> (Publish, TcpStream) {
    type Entry = (String, Vec<Vec<u8>>);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let client = client.await.unwrap();
    let (mut socket, _) = listener.accept().await.unwrap();
    socket.set_nodelay(true).unwrap();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let reader = Client::open(&*server.url).unwrap();
    let reader = reader.get_multiplexed_async_connection_with_config(&config);
    let mut reader = reader.await.unwrap();
    tokio::spawn(async move {
        let mut last = "0".to_owned();
        loop {
            let mut read = redis::cmd("XREAD");
            read.arg(&["COUNT", "500", "BLOCK", "900", "STREAMS", "bare", &last]);
            let read: Option<Vec<(String, Vec<Entry>)>> =
                read.query_async(&mut reader).await.unwrap();
            let mut bytes = Vec::new();
            for (id, fields) in read.into_iter().flatten().flat_map(|stream| stream.1) {
                bytes.extend_from_slice(&fields[1]);
                last = id;
            }
            socket.write_all(&bytes).await.unwrap();
        }
    });
    let writer = server.connect().await;
    let publish: Publish = Box::new(move || {
        let mut writer = writer.clone();
        let mut add = redis::cmd("XADD");
        add.arg(&["bare", "MAXLEN", "~", "100000", "*", "d", &PAYLOAD]);
        Box::pin(async move { add.exec_async(&mut writer).await.unwrap() })
    });
    (publish, client)
}
