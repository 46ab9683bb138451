//! Measures a hundred clients that read, with and without a hundred more that never read.
//!
//! The results are the time until a burst has reached all clients that read, and the server's
//! memory per client that does not.
//!
//! `cargo bench -p http-sse-peers --bench stalled` starts each server as a process of its own, one
//! after another. The server runs on a core of its own.

use std::{
    convert::Infallible,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    response::sse,
    routing::{get, post},
};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, Hub, Sse};
use http_sse_peers::{Process, block_on, listen, was_server};
use tokio::{
    io::AsyncReadExt as _,
    sync::{broadcast, mpsc},
    task::{JoinSet, yield_now},
};

/// The number of clients that read, and of clients that stall.
const CLIENTS: usize = 100;
/// The number of events that are published at a time.
const BURST: usize = 100;
/// The number of bursts. Together they are 20 MB per client, more than its socket buffers hold.
const BURSTS: usize = 200;
/// The last byte of an event's data. It occurs nowhere else.
const END: u8 = b'|';

/// A server: its name, and the function that runs it.
type Server = (&'static str, fn());

const SERVERS: [Server; 3] = [
    ("http-sse, a `Hub`", || {
        let hub = Hub::new();
        let publisher = hub.clone();
        serve(
            get(async move || Sse::new(hub.subscribe(["topic"]))),
            move || _ = publisher.publish("topic", Event::data(data())).unwrap(),
        );
    }),
    ("axum, a `broadcast` of 1,024", || {
        let (sender, _) = broadcast::channel::<Arc<str>>(1024);
        let publisher = sender.clone();
        let events = async move || {
            let events = stream::unfold(sender.subscribe(), async |mut receiver| {
                loop {
                    match receiver.recv().await {
                        Ok(data) => return Some((data, receiver)),
                        Err(broadcast::error::RecvError::Lagged(_)) => {}
                        Err(broadcast::error::RecvError::Closed) => return None,
                    }
                }
            });
            axums(events)
        };
        serve(get(events), move || _ = publisher.send(data().into()));
    }),
    ("axum, an unbounded channel per client", || {
        let senders: Arc<Mutex<Vec<mpsc::UnboundedSender<Arc<str>>>>> = Arc::default();
        let publisher = senders.clone();
        let events = async move || {
            let (sender, receiver) = mpsc::unbounded_channel();
            senders.lock().unwrap().push(sender);
            let events = stream::unfold(receiver, async |mut receiver| {
                receiver.recv().await.map(|data| (data, receiver))
            });
            axums(events)
        };
        serve(get(events), move || {
            let data: Arc<str> = data().into();
            for sender in publisher.lock().unwrap().iter() {
                _ = sender.send(data.clone());
            }
        });
    }),
];

fn data() -> String {
    let mut data = "x".repeat(1000);
    data.push(END.into());
    data
}

fn axums(
    events: impl Stream<Item = Arc<str>> + Send + 'static,
) -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = events.map(|data| Ok(sse::Event::default().data(&*data)));
    sse::Sse::new(events).keep_alive(sse::KeepAlive::default())
}

/// Serves events, and publishes a burst for each POST request.
fn serve(events: axum::routing::MethodRouter, publish: impl Fn() + Clone + Send + Sync + 'static) {
    let burst = async move || {
        for _ in 0..BURST {
            publish();
            yield_now().await;
        }
    };
    block_on(async {
        let app = Router::new().route("/events", events);
        let app = app.route("/publish", post(burst));
        axum::serve(listen().await, app).await.unwrap();
    });
}

/// Opens a connection and waits for the first byte of its response.
fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream
}

/// Returns the median time until all reading clients have a burst, and the server's memory
/// afterwards, in bytes.
fn measure(server: &Process, stalled: usize) -> (Duration, u64) {
    let _stalled: Vec<_> = (0..stalled).map(|_| connect(server.address)).collect();
    let readers: Vec<_> = (0..CLIENTS).map(|_| connect(server.address)).collect();
    let mut times = Vec::new();
    block_on(async {
        let mut publish = TcpStream::connect(server.address).unwrap();
        let mut readers: Vec<_> = readers
            .into_iter()
            .map(|reader| {
                reader.set_nonblocking(true).unwrap();
                tokio::net::TcpStream::from_std(reader).unwrap()
            })
            .collect();
        for _ in 0..BURSTS {
            let start = Instant::now();
            publish
                .write_all(b"POST /publish HTTP/1.1\r\nhost: x\r\n\r\n")
                .unwrap();
            let mut reads = JoinSet::new();
            for mut reader in readers.drain(..) {
                reads.spawn(async move {
                    let (mut buffer, mut events) = (vec![0; 64 * 1024], 0);
                    while events < BURST {
                        let read = reader.read(&mut buffer).await.unwrap();
                        events += buffer[..read].iter().filter(|byte| **byte == END).count();
                    }
                    reader
                });
            }
            readers = reads.join_all().await;
            times.push(start.elapsed());
            assert_ne!(publish.read(&mut [0; 1024]).unwrap(), 0);
        }
    });
    times.sort();
    (times[BURSTS / 2], server.memory())
}

fn main() {
    if was_server(SERVERS) {
        return;
    }
    println!("| | ms per burst | with stalled clients | bytes of memory per stalled client |");
    println!("|---|---:|---:|---:|");
    for (name, _) in SERVERS {
        let (alone, without) = measure(&Process::start(["serve", name]), 0);
        let (beside, with) = measure(&Process::start(["serve", name]), CLIENTS);
        println!(
            "| {name} | {:.1} | {:.1} | {} |",
            alone.as_secs_f64() * 1e3,
            beside.as_secs_f64() * 1e3,
            with.saturating_sub(without) / CLIENTS as u64,
        );
    }
}
