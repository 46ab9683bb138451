//! The same event to a thousand real clients, over loopback: what a delivery costs the server, with
//! this crate's hub in a stock `axum::serve`, with each peer over `tokio::sync::broadcast`, and
//! with writes of bytes that were encoded before.
//!
//! ```text
//! cargo bench -p http-sse-peers --bench fanout
//! ```
//!
//! A server is a process of its own with one thread, and its cost is the time that the kernel has
//! seen it run. The next burst is published when every client has the last.

use std::{
    convert::Infallible,
    io::{Write as _, stdin},
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{Router, extract::State};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{Event, Hub, Sse, Subscription};
use http_sse_peers::{Process, block_on, listen, was_server};
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

/// A server: its name, whether it speaks HTTP/2, and how it is run.
type Serve = (&'static str, bool, fn());

const OURS: &str = "http-sse, a `Hub`";
const AXUM: &str = "axum";
const RAW: &str = "raw writes";

/// All but the first and the last with a `broadcast`.
const SERVERS: [Serve; 8] = [
    (OURS, true, serve_ours),
    (AXUM, true, serve_axum),
    ("actix-web with actix-web-lab", false, serve_actix_web),
    ("warp", false, serve_warp),
    ("poem", false, serve_poem),
    ("salvo", false, serve_salvo),
    ("rocket", false, serve_rocket),
    (RAW, false, serve_raw),
];

/// What is measured: its name, over HTTP/2 or not, the events per wake, and what is promised: how
/// many times less than axum's, and how many times the raw writes.
const CASES: [(&str, bool, u64, f64, f64); 4] = [
    ("HTTP/1.1, 1 event per wake", false, 1, 1.15, 1.35),
    ("HTTP/1.1, 16", false, 16, 1.9, 1.25),
    ("HTTP/2, 1", true, 1, 1.5, 0.0),
    ("HTTP/2, 16", true, 16, 2.3, 0.0),
];

fn main() {
    if was_server(SERVERS.map(|(name, _, run)| (name, run))) {
        return;
    }
    // A descriptor for each client, in each process; the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // One core for each server, and the other for the clients.
    let this = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", "1", &this]).output();
    assert!(pinned.unwrap().status.success());

    let columns = CASES.map(|(_, http2, burst, ..)| measure(http2, burst));
    let names = CASES.map(|(name, ..)| name);
    println!("| ns of server CPU per delivery | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(CASES.len()));
    for (row, (name, ..)) in SERVERS.iter().enumerate() {
        let cells = columns.each_ref().map(|column| match column[row] {
            Some(nanos) => format!("{nanos:.0}"),
            None => String::new(),
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
    let kept = |kept| if kept { "kept" } else { "NOT kept" };
    for ((case, _, _, than_axum, of_raw), column) in CASES.into_iter().zip(columns) {
        let nanos = |name| {
            let row = SERVERS.iter().position(|server| server.0 == name);
            column[row.unwrap()]
        };
        let ours = nanos(OURS).unwrap();
        let ratio = nanos(AXUM).unwrap() / ours;
        println!(
            "fanout/{case}: {ratio:.2}x less than axum (promised: {than_axum}x, {})",
            kept(ratio >= than_axum),
        );
        if let Some(raw) = nanos(RAW) {
            let ratio = ours / raw;
            println!(
                "fanout/{case}: {ratio:.2} of raw writes (promised: {of_raw}, {})",
                kept(ratio <= of_raw),
            );
        }
    }
}

/// The medians for each server, in nanoseconds per delivery; none where it has no HTTP/2.
fn measure(http2: bool, burst: u64) -> Vec<Option<f64>> {
    /// Of each server, in turns.
    const ROUNDS: usize = 7;
    let bursts = if burst == 1 { 50 } else { 20 };
    let mut servers: Vec<_> = SERVERS
        .iter()
        .map(|(name, has_http2, _)| (*has_http2 || !http2).then(|| Server::start(name, http2)))
        .collect();
    let mut nanos = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (server, nanos) in servers.iter_mut().zip(&mut nanos) {
            if let Some(server) = server {
                nanos.push(server.nanos_per_delivery(bursts, burst));
            }
        }
    }
    let medians = nanos.into_iter().map(|mut nanos| {
        nanos.sort_by(f64::total_cmp);
        nanos.get(ROUNDS / 2).copied()
    });
    medians.collect()
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
        let process = Process::start(["serve", name]);
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

/// Publishes for ever, at once as many events as each line of the input says.
async fn publish(publish: impl Fn()) {
    let mut orders = orders();
    while let Some(events) = orders.recv().await {
        (0..events).for_each(|_| publish());
    }
}

fn serve_ours() {
    async fn events(State(hub): State<Hub>) -> Sse<Subscription> {
        Sse::new(hub.subscribe(["topic"]))
    }

    let hub = Hub::new();
    let app = Router::new().route("/events", axum::routing::get(events));
    let app = app.with_state(hub.clone());
    block_on(async {
        tokio::spawn(publish(move || {
            hub.publish("topic", Event::data(TOKEN)).unwrap();
        }));
        axum::serve(listen().await, app).await.unwrap();
    });
}

static BROADCAST: LazyLock<broadcast::Sender<Arc<str>>> =
    LazyLock::new(|| broadcast::channel(1024).0);

async fn broadcast() {
    publish(|| _ = BROADCAST.send(TOKEN.into()).unwrap()).await;
}

fn received() -> impl Stream<Item = Arc<str>> + Send {
    stream::unfold(BROADCAST.subscribe(), async |mut receiver| {
        Some((receiver.recv().await.ok()?, receiver))
    })
}

fn serve_axum() {
    use axum::response::sse;

    async fn events() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        let events = received().map(|data| Ok(sse::Event::default().data(data)));
        sse::Sse::new(events).keep_alive(sse::KeepAlive::default())
    }

    let app = Router::new().route("/events", axum::routing::get(events));
    block_on(async {
        tokio::spawn(broadcast());
        axum::serve(listen().await, app).await.unwrap();
    });
}

fn serve_actix_web() {
    use actix_web::{App, HttpServer, rt, web};
    use actix_web_lab::sse;
    rt::System::new().block_on(async {
        let app = || {
            let events = async || {
                let events = received().map(|data| {
                    let data = sse::Data::new(&*data);
                    Ok::<_, Infallible>(sse::Event::Data(data))
                });
                sse::Sse::from_stream(events).with_keep_alive(Duration::from_secs(15))
            };
            App::new().route("/events", web::get().to(events))
        };
        rt::spawn(broadcast());
        let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").unwrap();
        println!("{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

fn serve_warp() {
    use warp::{Filter as _, sse};
    block_on(async {
        let app = warp::any().map(|| {
            let events =
                received().map(|data| Ok::<_, Infallible>(sse::Event::default().data(&*data)));
            sse::reply(sse::keep_alive().stream(events))
        });
        tokio::spawn(broadcast());
        warp::serve(app).incoming(listen().await).run().await;
    });
}

fn serve_poem() {
    use poem::{Route, Server, get, handler, listener::TcpAcceptor, web::sse};

    #[handler]
    fn events() -> sse::SSE {
        let sse = sse::SSE::new(received().map(|data| sse::Event::message(&*data)));
        sse.keep_alive(Duration::from_secs(15))
    }
    block_on(async {
        tokio::spawn(broadcast());
        let acceptor = TcpAcceptor::from_tokio(listen().await).unwrap();
        let app = Route::new().at("/events", get(events));
        Server::new_with_acceptor(acceptor).run(app).await.unwrap();
    });
}

fn serve_salvo() {
    use salvo::{Response, Router, Server, conn::tcp::TcpAcceptor, handler, sse};

    #[handler]
    async fn events(response: &mut Response) {
        let tokens =
            received().map(|data| Ok::<_, Infallible>(sse::SseEvent::default().text(&*data)));
        sse::SseKeepAlive::new(tokens).stream(response);
    }
    block_on(async {
        tokio::spawn(broadcast());
        let acceptor = TcpAcceptor::try_from(listen().await).unwrap();
        let router = Router::with_path("events").get(events);
        Server::new(acceptor).serve(router).await;
    });
}

fn serve_rocket() {
    use rocket::{
        get,
        response::stream::{Event, EventStream},
        routes,
    };

    #[get("/events")]
    fn events() -> EventStream<impl Stream<Item = Event>> {
        EventStream::from(received().map(|data| Event::data(data.to_string())))
    }
    block_on(async {
        tokio::spawn(broadcast());
        let rocket = http_sse_peers::rocket().mount("/", routes![events]);
        _ = rocket.launch().await;
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
