//! Three servers with one hub, whose log is in Redis, behind a load balancer. A page has a button
//! that kills each server, to show that no event is missing or doubled.
//!
//! ```text
//! $ cargo run -p http-sse-redis --example cluster
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser, or run:
//!
//! ```text
//! $ curl -N http://127.0.0.1:3000/events
//! :
//! retry: 200
//! event: node
//! data: 2
//!
//! data: 351
//! id: 1795243200000-0
//!
//! (and so on, until, in another terminal: curl -X POST http://127.0.0.1:3000/kill/2)
//! curl: (18) transfer closed with outstanding read data remaining
//! $ curl -N -H 'last-event-id: 1795243200000-0' http://127.0.0.1:3000/events
//! :
//! retry: 200
//! event: node
//! data: 3
//!
//! data: 352
//! id: 1795243200020-0
//!
//! (and so on)
//! ```
//!
//! The example starts `redis-server` without persistence, and stops it at the end. If `REDIS_URL` is
//! set, it uses that server instead, and leaves a log of about 10,000 numbers there.
//!
//! The process that you start is the front. It publishes, serves the page and balances the load.
//! Each node is a child process of it.

use std::{
    convert::Infallible,
    env,
    error::Error,
    hash::{BuildHasher as _, RandomState},
    io,
    process::{Stdio, exit},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{Html, Response},
    routing::{get, post},
    serve::ListenerExt as _,
};
use futures_util::future::{FutureExt as _, try_join_all};
use http_sse::{
    Event, EventType, Hub, LastEventId, Retry, Sse,
    hub::{AppendError, DistributedHub, PublishError, PublishOptions, RedisLog},
};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Notify,
    time::{interval, sleep},
};

const TOPIC: &str = "numbers";
/// The type of the event that begins each stream. Its data is the number of the node.
const NODE: EventType = EventType::from_static("node");
const NODES: usize = 3;
/// The time between two numbers.
const PACE: Duration = Duration::from_millis(20);
/// The time after which a node that has ended starts again.
const RESTART: Duration = Duration::from_secs(1);
/// The time after which a client reconnects.
const RETRY: Retry = Retry::from_millis(200);

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [role, number, url, log] if role == "node" => node(number, url, log).await,
        _ => tokio::select! {
            biased; // signals are handled before the first process starts
            () = stopped() => Ok(()),
            result = front() => result,
        },
    }
}

/// Connects a hub to the log, which is the same for all nodes and the front.
async fn connect(url: &str, log: &str) -> Result<DistributedHub, BoxError> {
    let log = RedisLog::builder(url)
        .prefix(log)
        .max_entries(10_000)
        .retry_for(Duration::from_secs(10));
    Hub::builder()
        .distributed(Arc::new(log.connect().await?))
        .await
}

/// Serves the events as one of the nodes.
async fn node(number: &str, url: &str, log: &str) -> Result<(), BoxError> {
    // The front holds the other end of stdin. If it ends, for any reason, this node ends too.
    thread::spawn(|| {
        _ = io::copy(&mut io::stdin(), &mut io::sink());
        exit(0)
    });

    let hub = connect(url, log).await?;
    let follower = hub.clone();
    tokio::spawn(async move { follower.follow().await });

    // It has no id, so the client keeps its last event ID.
    let node = Event::data(number.to_owned()).event_type(NODE);
    let events = async move |last: LastEventId| {
        let numbers = hub.subscribe([TOPIC]).after(last);
        Sse::new(numbers).retry(RETRY).begin_with(node)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port()); // for the front
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, Router::new().route("/events", get(events))).await?;
    Ok(())
}

async fn front() -> Result<(), BoxError> {
    let (url, _redis) = redis().await?;
    let log = format!("cluster-{:016x}", random()); // new for each run, as the numbers are
    let hub = connect(&url, &log).await?;

    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let nodes: Arc<[Node]> = (1..=NODES).map(Node::new).collect();
    let app = Router::new()
        .route("/", get(Html(include_str!("cluster.html"))))
        .route("/events", get(balance))
        .route("/kill/{node}", post(kill))
        .with_state(nodes.clone());
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    // The first one to end drops the others, which kills the nodes.
    tokio::select! {
        result = axum::serve(listener, app).into_future() => result?,
        result = try_join_all(nodes.iter().map(|node| node.run(&url, &log))) => drop(result?),
        result = publish(hub) => result?,
    }
    Ok(())
}

/// Publishes 1, 2, 3 and so on. Each number is in the log before the next one is published.
async fn publish(hub: DistributedHub) -> Result<(), PublishError> {
    let mut pace = interval(PACE);
    for number in 1_u64.. {
        pace.tick().await;
        // The log stores this key once, so that a publish of unknown outcome can be repeated.
        let options = PublishOptions::new().idempotency_key(number.to_string());
        while let Err(error) = hub
            .publish_with(TOPIC, Event::data(number.to_string()), &options)
            .await
        {
            match error {
                PublishError::Append(AppendError::NotWritten(_) | AppendError::Unknown(_)) => {
                    sleep(PACE).await;
                }
                error => return Err(error),
            }
        }
    }
    Ok(())
}

/// A node, as the front sees it.
struct Node {
    number: usize,
    /// The port on which the node listens, or 0 if it does not run.
    port: AtomicU16,
    kill: Notify,
}

impl Node {
    fn new(number: usize) -> Self {
        Self {
            number,
            port: AtomicU16::new(0),
            kill: Notify::new(),
        }
    }

    /// Runs the process of the node, and starts it again when it has ended.
    async fn run(&self, url: &str, log: &str) -> io::Result<Infallible> {
        loop {
            let mut process = Command::new(env::current_exe()?)
                .args(["node", &self.number.to_string(), url, log])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let _stdin = process.stdin.take(); // otherwise `wait` closes it
            let stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
            let killed = self.kill.notified();
            // If the node fails before it listens, it prints why, and no port.
            let port = stdout.lines().next_line().await?;
            let port = port.and_then(|port| port.parse().ok()).unwrap_or(0);
            self.port.store(port, Relaxed);
            tokio::select! {
                status = process.wait() => drop(status?),
                () = killed => process.kill().await?, // SIGKILL on Unix
            }
            self.port.store(0, Relaxed);
            sleep(RESTART).await;
        }
    }
}

/// Kills a node. One that does not run is not affected.
async fn kill(State(nodes): State<Arc<[Node]>>, Path(number): Path<usize>) -> StatusCode {
    match nodes.iter().find(|node| node.number == number) {
        Some(node) => node.kill.notify_waiters(),
        None => return StatusCode::NOT_FOUND,
    }
    StatusCode::NO_CONTENT
}

/// Passes a request on to a random node, and its response back. Waits while no node answers.
///
/// It does not look into them, because a client can resume at any node.
async fn balance(State(nodes): State<Arc<[Node]>>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    loop {
        let ports = nodes.iter().map(|node| node.port.load(Relaxed));
        let ports: Vec<u16> = ports.filter(|port| *port != 0).collect();
        if !ports.is_empty() {
            let port = ports[random() as usize % ports.len()];
            let request = Request::from_parts(request.clone(), Body::empty());
            // Fails if the node has just been killed.
            if let Ok(response) = pass_on(port, request).await {
                return response.map(Body::new);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn pass_on(port: u16, request: Request) -> Result<Response<Incoming>, BoxError> {
    let tcp = TcpStream::connect(("127.0.0.1", port)).await?;
    let (mut client, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection);
    Ok(client.send_request(request).await?)
}

/// Returns the URL of a Redis server, and its process if it had to be started.
async fn redis() -> Result<(String, Option<Child>), BoxError> {
    if let Ok(url) = env::var("REDIS_URL") {
        return Ok((url, None));
    }
    let free = TcpListener::bind("127.0.0.1:0").await?;
    let port = free.local_addr()?.port().to_string();
    drop(free);
    let process = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port])
        .args(["--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| format!("redis-server does not start: {why}. Install it, or set REDIS_URL"));
    Ok((format!("redis://127.0.0.1:{port}"), Some(process?)))
}

/// Returns a random number. The standard library's hash maps have a random key too.
fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// Waits for ctrl-c or SIGTERM.
async fn stopped() {
    let ctrl_c = tokio::signal::ctrl_c().map(drop);
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("a runtime with IO");
        terminate.recv().await;
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending();
    tokio::select! { () = ctrl_c => {}, () = terminated => {} }
}
