//! The same event to a thousand real clients, over loopback: what a delivery costs the server, with
//! this crate's hub and with axum's own `Sse` over `tokio::sync::broadcast`, both in a stock
//! `axum::serve`.
//!
//! ```text
//! cargo bench -p http-sse-peers --bench fanout
//! ```
//!
//! A server is a process of its own with one thread, and its cost is the time that the kernel has
//! seen it run. The next burst is published when every client has the last.

use std::{
    convert::Infallible,
    env,
    io::{Write as _, stdin},
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    response::sse::{self, KeepAlive},
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{Event, Hub, Sse, Subscription};
use http_sse_peers::{Process, block_on, listen};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{Notify, broadcast, mpsc},
};

const CLIENTS: u64 = 1_000;
/// An LLM's token; `~` is there once, and is what clients count.
const TOKEN: &str = r#"{"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" ~oken"},"finish_reason":null}]}"#;

fn main() {
    match env::args().nth(1).as_deref() {
        Some("serve-http-sse") => serve_ours(),
        Some("serve-axum") => serve_axum(),
        Some("serve-raw") => serve_raw(),
        _ => compare(),
    }
}

fn compare() {
    // A descriptor for each client, in each process; the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // One core for each server, and the other for the clients.
    let this = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", "1", &this]).output();
    assert!(pinned.unwrap().status.success());
    /// Bursts in a round, and rounds of each server in turns.
    const ROUNDS: usize = 7;
    for (http2, burst, than_axum, of_raw) in [
        (false, 1, 1.15, 1.35),
        (false, 16, 1.9, 1.25),
        (true, 1, 1.5, 0.0),
        (true, 16, 2.3, 0.0),
    ] {
        let mut names = vec!["serve-http-sse", "serve-axum"];
        if !http2 {
            names.push("serve-raw");
        }
        let mut servers: Vec<_> = names
            .iter()
            .map(|name| Server::start(name, http2))
            .collect();
        let mut nanos = vec![Vec::new(); names.len()];
        let bursts = if burst == 1 { 50 } else { 20 };
        for _ in 0..ROUNDS {
            for (server, nanos) in servers.iter_mut().zip(&mut nanos) {
                nanos.push(server.nanos_per_delivery(bursts, burst));
            }
        }
        let medians: Vec<f64> = nanos
            .into_iter()
            .map(|mut nanos| {
                nanos.sort_by(f64::total_cmp);
                nanos[ROUNDS / 2]
            })
            .collect();
        let protocol = if http2 { "HTTP/2" } else { "HTTP/1.1" };
        let (ours, axum) = (medians[0], medians[1]);
        let ratio = axum / ours;
        println!(
            "fanout/{protocol}, {burst} events per wake: {ours:.0} ns of server CPU per delivery, \
             axum {axum:.0} ns: {ratio:.2}x less (promised: {than_axum}x, {})",
            kept(ratio >= than_axum),
        );
        if let Some(raw) = medians.get(2) {
            let ratio = ours / raw;
            println!(
                "fanout/{protocol}, {burst} events per wake: raw writes {raw:.0} ns: \
                 {ratio:.2} of them (promised: {of_raw}, {})",
                kept(ratio <= of_raw),
            );
        }
    }
}

fn kept(kept: bool) -> &'static str {
    if kept { "kept" } else { "NOT kept" }
}

/// A server process, and its clients in a runtime of theirs.
struct Server {
    process: Process,
    _clients: Runtime,
    seen: Arc<AtomicU64>,
    told: Arc<Notify>,
    runtime: Runtime,
}

impl Server {
    fn start(name: &str, http2: bool) -> Self {
        let process = Process::start([name]);
        let address = process.address;
        let seen = Arc::new(AtomicU64::new(0));
        let told = Arc::new(Notify::new());
        let opened = Arc::new(AtomicU64::new(0));
        let clients = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let count = Count {
            seen: seen.clone(),
            told: told.clone(),
            opened: opened.clone(),
        };
        if http2 {
            for _ in 0..CLIENTS / 100 {
                clients.spawn(http2_clients(address, count.clone()));
            }
        } else {
            for _ in 0..CLIENTS {
                clients.spawn(http1_client(address, count.clone()));
            }
        }
        while opened.load(Relaxed) < CLIENTS {
            thread::sleep(Duration::from_millis(10));
        }
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            process,
            _clients: clients,
            seen,
            told,
            runtime,
        }
    }

    fn nanos_per_delivery(&mut self, bursts: u64, burst: u64) -> f64 {
        let before = self.process.cpu();
        for _ in 0..bursts {
            let wanted = self.seen.load(Relaxed) + burst * CLIENTS;
            writeln!(self.process.input, "{burst}").unwrap();
            self.runtime.block_on(async {
                loop {
                    let told = self.told.notified();
                    if self.seen.load(Relaxed) >= wanted {
                        return;
                    }
                    told.await;
                }
            });
        }
        let took = self.process.cpu() - before;
        took as f64 / (bursts * burst * CLIENTS) as f64
    }
}

/// What clients have seen.
#[derive(Clone)]
struct Count {
    seen: Arc<AtomicU64>,
    told: Arc<Notify>,
    opened: Arc<AtomicU64>,
}

impl Count {
    fn add(&self, bytes: &[u8]) {
        let events = memchr::memchr_iter(b'~', bytes).count() as u64;
        let seen = self.seen.fetch_add(events, Relaxed) + events;
        if seen.is_multiple_of(CLIENTS) {
            self.told.notify_waiters();
        }
    }
}

async fn http1_client(address: SocketAddr, count: Count) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut buffer = vec![0; 16 * 1024];
    assert_ne!(stream.read(&mut buffer).await.unwrap(), 0); // the headers
    count.opened.fetch_add(1, Relaxed);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => count.add(&buffer[..read]),
        }
    }
}

async fn http2_clients(address: SocketAddr, count: Count) {
    let stream = TcpStream::connect(address).await.unwrap();
    let http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..100 {
        let (mut sender, count) = (sender.clone(), count.clone());
        tokio::spawn(async move {
            let request = http::Request::get("http://x/events").body(Empty::<bytes::Bytes>::new());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            count.opened.fetch_add(1, Relaxed);
            let mut body = response.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                count.add(frame.data_ref().unwrap());
            }
        });
    }
}

/// What the input says, a number in each line.
fn orders() -> mpsc::UnboundedReceiver<usize> {
    let (orders, ordered) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in stdin().lines() {
            orders.send(line.unwrap().parse().unwrap()).unwrap();
        }
    });
    ordered
}

/// Serves until it is killed. Each line of the input says how many events to publish at once.
fn serve(app: Router, publish: impl Fn() + Send + 'static) {
    block_on(async {
        let listener = listen().await;
        let mut orders = orders();
        tokio::spawn(async move {
            while let Some(events) = orders.recv().await {
                (0..events).for_each(|_| publish());
            }
        });
        axum::serve(listener, app).await.unwrap();
    });
}

fn serve_ours() {
    async fn events(State(hub): State<Hub>) -> Sse<Subscription> {
        Sse::new(hub.subscribe(["topic"]))
    }

    let hub = Hub::new();
    let app = Router::new()
        .route("/events", get(events))
        .with_state(hub.clone());
    serve(app, move || {
        hub.publish("topic", Event::data(TOKEN)).unwrap();
    });
}

fn serve_axum() {
    type Sender = broadcast::Sender<Arc<str>>;

    async fn events(
        State(sender): State<Sender>,
    ) -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        let events = stream::unfold(sender.subscribe(), |mut receiver| async {
            Some((receiver.recv().await.ok()?, receiver))
        });
        let events = events.map(|data| Ok(sse::Event::default().data(data)));
        sse::Sse::new(events).keep_alive(KeepAlive::default())
    }

    let (sender, _) = broadcast::channel(1024);
    let app = Router::new()
        .route("/events", get(events))
        .with_state(sender.clone());
    serve(app, move || {
        sender.send(TOKEN.into()).unwrap();
    });
}

/// Writes bytes that were encoded before to every socket, all of a burst at once.
fn serve_raw() {
    block_on(async {
        let listener = listen().await;
        let mut orders = orders();
        let mut clients = Vec::new();
        let event = format!("data: {TOKEN}\n\n");
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (mut client, _) = accepted.unwrap();
                    client.set_nodelay(true).unwrap();
                    assert_ne!(client.read(&mut [0; 1024]).await.unwrap(), 0);
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    clients.push(client);
                }
                Some(events) = orders.recv() => {
                    let wire = event.repeat(events);
                    let wire = format!("{:x}\r\n{wire}\r\n", wire.len());
                    for client in &mut clients {
                        client.write_all(wire.as_bytes()).await.unwrap();
                    }
                }
            }
        }
    });
}
