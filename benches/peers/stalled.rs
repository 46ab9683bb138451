//! A hundred clients that read, with and without a hundred more that never do: how long a burst
//! takes to reach those who read, and how much memory the server holds for each of the others.
//!
//! `cargo bench -p http-sse-peers --bench stalled` starts each server as a process of its own,
//! beside the clients on the other core, one after the other.

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

const CLIENTS: usize = 100;
/// How many events are published at a time.
const BURST: usize = 100;
/// So often: 20 MB for each client, more than the buffers of its socket take.
const BURSTS: usize = 200;
/// What ends the data of an event, and is nowhere else.
const END: u8 = b'|';

/// A server, and how it is run.
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
    ("axum, an unbounded channel for each", || {
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

/// Serves events, and publishes a burst for each POST.
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

/// A client that has the head of its response.
fn connect(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream
}

/// The median time until all who read have a burst, and the memory of the server after all.
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
    println!("| | ms per burst | with clients that stall | bytes of memory for each of those |");
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
