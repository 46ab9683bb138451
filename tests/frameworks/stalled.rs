//! A client that stops reading: it is seen, its socket is closed, and nobody else notices.
//!
//! `cargo test --test stalled -- --nocapture` prints the times that `src/frameworks.md` states.
#![cfg(target_os = "linux")] // it looks up the kernel's sockets, and most recipes are Linux's

use std::{
    fs,
    future::Future,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::raw_client::RawClient;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::Request;
use http_body_util::Empty;
use http_sse::{CloseReason, Connections, EncodedEvent, Event, Sse, SseBody, stop};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::sleep,
};
use tokio_io_timeout::TimeoutStream;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// How long a client may take nothing of what there is for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// How soon its stall is visible, and how much later than the timeout its socket is gone.
const SLACK: Duration = Duration::from_secs(1);
/// A frame that was taken this long ago, with more at hand, is a stall and not a busy moment.
const STALL: Duration = Duration::from_millis(200);

/// How many bytes there are for the client that pauses: more than the sockets hold.
const PAUSING: usize = 8_000_000;

type Source = Pin<Box<dyn Stream<Item = EncodedEvent> + Send>>;

/// What differs between the recipes.
struct Recipe {
    name: &'static str,
    /// Serves the listener for good.
    serve: fn(TcpListener, Streams),
    /// Sets the listening socket up, from which those that it accepts inherit.
    set: fn(&Socket),
    /// Whether the stream is closed. Where it is not, the test asserts that it stays, so that it
    /// is noticed when the framework has learned it.
    closes: bool,
    /// Whether the kernel too has let go of the socket by then, with what it could not send.
    frees_socket: bool,
}

impl Recipe {
    /// One that does all that can be done.
    const fn named(name: &'static str) -> Self {
        Self {
            name,
            serve: |_, _| {},
            set: user_timeout,
            closes: true,
            frees_socket: true,
        }
    }
}

fn user_timeout(socket: &Socket) {
    socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT)).unwrap();
}

/// A write is ready again when a third of the buffer is free, and Linux lets that grow to 4 MB, so
/// that a client that reads slowly might not take so much in time.
fn small_buffer(socket: &Socket) {
    socket.set_send_buffer_size(64 * 1024).unwrap();
}

/// A test for each recipe.
macro_rules! recipes {
    ($($name:ident: $recipe:expr,)*) => {$(
        #[test]
        fn $name() {
            let _alone = alone();
            block_on(only_a_client_that_stops_reading_is_closed($recipe));
        }
    )*};
}

recipes! {
    hyper: Recipe { serve: serve_hyper, ..Recipe::named("hyper, TCP_USER_TIMEOUT") },
    hyper_with_a_timeout_stream: Recipe {
        serve: serve_hyper_with_a_timeout_stream,
        set: small_buffer,
        frees_socket: false,
        ..Recipe::named("hyper, TimeoutStream")
    },
    hyper_with_both: Recipe {
        serve: serve_hyper_with_a_timeout_stream,
        set: |socket| {
            small_buffer(socket);
            user_timeout(socket);
        },
        ..Recipe::named("hyper, TimeoutStream and TCP_USER_TIMEOUT")
    },
    axum: Recipe { serve: serve_axum, ..Recipe::named("axum, TCP_USER_TIMEOUT") },
    actix_web: Recipe { serve: serve_actix_web, ..Recipe::named("actix-web, TCP_USER_TIMEOUT") },
    poem: Recipe { serve: serve_poem, ..Recipe::named("poem, TCP_USER_TIMEOUT") },
    rocket: Recipe {
        serve: serve_rocket,
        closes: false, // it binds a socket of its own, and has no setting
        ..Recipe::named("rocket")
    },
    salvo: Recipe { serve: serve_salvo, ..Recipe::named("salvo, TCP_USER_TIMEOUT") },
    salvo_with_its_write_stall_timeout: Recipe {
        serve: serve_salvo_with_its_write_stall_timeout,
        set: small_buffer,
        frees_socket: false,
        ..Recipe::named("salvo, write_stall_timeout")
    },
    warp: Recipe { serve: serve_warp, ..Recipe::named("warp, TCP_USER_TIMEOUT") },
}

async fn only_a_client_that_stops_reading_is_closed(recipe: Recipe) {
    let (address, streams) = start(recipe.serve, recipe.set);
    let connections = &streams.connections;

    let get = async |key| {
        let stream = connect_with(TcpSocket::new_v4().unwrap(), address).await;
        RawClient::over(stream, request(key)).await
    };
    // These are well: there is nothing to read for one, one pauses, and one is behind all the time,
    // since there is more for it than it reads.
    let silent = get("silent").await;
    let mut pausing = get("pausing").await;
    let pausing = tokio::spawn(async move {
        sleep(WRITE_TIMEOUT / 2).await;
        pausing.head().await;
        pausing.take(PAUSING).await;
        pausing
    });
    let mut slow = get("slow").await;
    let slow = tokio::spawn(async move {
        slow.head().await;
        loop {
            slow.take(400_000).await;
            sleep(Duration::from_millis(200)).await;
        }
    });

    let start = Instant::now();
    let stream = connect(address).await;
    let client = stream.local_addr().unwrap();
    let stalled = RawClient::over(stream, request("stalled")).await;
    let (seen, full) = loop {
        if let Some(stalled_for) = stall(connections, "stalled") {
            break (start.elapsed(), Instant::now() - stalled_for);
        }
        assert!(start.elapsed() < SLACK, "the stall is not seen");
        sleep(Duration::from_millis(10)).await;
    };
    println!("{}: seen after {seen:?}", recipe.name);
    assert!(seen < SLACK, "seen after {seen:?}");

    if !recipe.closes {
        // What is not polled cannot be ended, until the client reads or leaves.
        assert_eq!(connections.close_where(|it| &*it.key == "stalled"), 1);
        sleep(WRITE_TIMEOUT + SLACK).await;
        let open = stall(connections, "stalled");
        assert!(open > Some(WRITE_TIMEOUT), "{open:?}");
        return;
    }
    let gone = Duration::from_secs(10);
    let closed = within(gone, || {
        connections.totals().closed(CloseReason::ClientGone) > 0
    })
    .await;
    let closed = closed.expect("the stream is closed") - full;
    println!("{}: closed after {closed:?}", recipe.name);
    // A server takes some more frames when the socket is full.
    assert!(closed + STALL > WRITE_TIMEOUT, "closed after {closed:?}");
    assert!(closed < WRITE_TIMEOUT + SLACK, "closed after {closed:?}");

    let freed = within(SLACK, || !has_socket(address, client)).await;
    let freed = freed.map(|freed| freed - full);
    println!("{}: freed after {freed:?}", recipe.name);
    assert_eq!(freed.is_some(), recipe.frees_socket);
    assert!(freed < Some(WRITE_TIMEOUT + SLACK), "freed after {freed:?}");

    // The others have had as much time, and have it twice.
    sleep(WRITE_TIMEOUT).await;
    let pausing = pausing.await.unwrap();
    let open = connections.snapshot();
    let mut open: Vec<_> = open.iter().map(|stream| &*stream.key).collect();
    open.sort_unstable();
    assert_eq!(open, ["pausing", "silent", "slow"]);
    assert!(!slow.is_finished());
    drop((silent, pausing, stalled));
}

/// On HTTP/2 a client that grants no more fills no socket: there it is the ping that it leaves
/// unanswered.
#[test]
fn hyper_on_http2_with_pings() {
    let _alone = alone();
    let (address, streams) = start(serve_hyper, user_timeout);
    let connections = &streams.connections;
    // What it spawns is at rest whenever it is not in `block_on`.
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let unread = client.block_on(async {
        let unread = http2(address, "stalled").await;
        let seen = within(SLACK, || stall(connections, "stalled").is_some()).await;
        seen.expect("the stall is seen");
        // As long as the client reads the connection there is no end to the one stream that it
        // does not read, not by order either.
        assert_eq!(connections.close_where(|it| &*it.key == "stalled"), 1);
        sleep(2 * WRITE_TIMEOUT).await;
        let open = stall(connections, "stalled");
        assert!(open > Some(WRITE_TIMEOUT), "{open:?}");
        unread
    });

    // From here on it reads nothing.
    let start = Instant::now();
    let is_closed = || connections.totals().open == 0;
    let closed = runtime().block_on(within(Duration::from_secs(10), is_closed));
    let closed = closed.expect("the stream is closed") - start;
    println!("hyper, HTTP/2 pings: closed after {closed:?}");
    assert!(closed < WRITE_TIMEOUT + SLACK, "closed after {closed:?}");
    drop((client, unread));
}

/// What a stalled client costs the others: nothing. There are two servers alike, and the client
/// goes to one and the other in turn, so that whatever else the machine does delays both.
#[test]
fn the_other_999_do_not_notice() {
    const READERS: usize = 999;
    const ROUNDS: usize = 32;
    /// Between two events, each to the next reader of the other server: the machine is idle most
    /// of the time.
    const PACE: Duration = Duration::from_micros(250);
    const TIMEOUT: Duration = Duration::from_secs(1);
    /// In which the client asks and its sockets are filled, which is work for the machine as any
    /// other. It is not counted.
    const LEAD: Duration = Duration::from_millis(500);
    /// In which it is stalled, and closed.
    const ROUND: Duration = Duration::from_millis(1_400);

    let _alone = alone();
    // Both ends of 2,000 connections are here, and the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let clients = runtime();
    let mut servers = [(); 2].map(|()| {
        let (address, streams) = start(serve_hyper, |socket| {
            socket.set_send_buffer_size(64 * 1024).unwrap();
            socket.set_tcp_user_timeout(Some(TIMEOUT)).unwrap();
        });
        let delivered = clients.block_on(read_timed(address, READERS));
        let senders: Vec<_> = streams.timed.lock().unwrap().drain(..).collect();
        assert_eq!(senders.len(), READERS);
        (
            address,
            streams.connections,
            senders.into_iter().cycle(),
            delivered,
        )
    });

    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let address = servers[round % 2].0;
        let client = RawClient::over(clients.block_on(connect(address)), request("stalled"));
        let client = clients.block_on(client);
        let mut due = Instant::now();
        for (time, counts) in [(LEAD, false), (ROUND, true)] {
            let until = due + time;
            let mut sent = 0;
            while due < until {
                for (_, _, readers, _) in &mut servers {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    readers.next().unwrap().send(nanos()).unwrap();
                    due += PACE;
                }
                sent += 1;
            }
            for (n, (_, connections, _, delivered)) in servers.iter_mut().enumerate() {
                let took = (0..sent).map(|_| delivered.blocking_recv().unwrap());
                let mut took: Vec<_> = took.collect();
                took.sort_unstable();
                let p99 = took[sent * 99 / 100];
                let stalls = n == round % 2;
                if counts {
                    if stalls { &mut with } else { &mut without }.push(p99);
                } else {
                    assert_eq!(stall(connections, "stalled").is_some(), stalls);
                }
            }
        }
        for (n, (_, connections, ..)) in servers.iter().enumerate() {
            assert_eq!(
                connections.totals().open,
                READERS,
                "server {n} in round {round}"
            );
        }
        drop(client);
    }
    // What else the machine does cannot be told from a client's doing in a round in which it does
    // much: the half of the rounds is left out in which the two servers together took longest.
    let mut rounds: Vec<_> = without.into_iter().zip(with).collect();
    rounds.sort_unstable_by_key(|(without, with)| *without + *with);
    rounds.truncate(ROUNDS / 2);
    println!("p99 of delivery without and with a stalled client: {rounds:?}");
    let mut moved: Vec<_> = rounds
        .iter()
        .map(|(without, with)| with.as_secs_f64() / without.as_secs_f64())
        .collect();
    moved.sort_unstable_by(f64::total_cmp);
    let moved = f64::midpoint(moved[ROUNDS / 4 - 1], moved[ROUNDS / 4]);
    println!("p99 of delivery: {moved:.3} times that without a stalled client");
    assert!((0.9..1.1).contains(&moved), "moved by {moved}");
}

/// Clients that tell how long each event took to them.
async fn read_timed(address: SocketAddr, clients: usize) -> UnboundedReceiver<Duration> {
    let (deliveries, delivered) = unbounded_channel();
    for n in 0..clients {
        let timed = request(&format!("timed-{n}"));
        let mut client = RawClient::over(connect(address).await, timed).await;
        client.head().await;
        client.exactly(":\n").await;
        let deliveries = deliveries.clone();
        tokio::spawn(async move {
            while let Ok(Some(event)) = client.chunk().await {
                let now = nanos();
                let sent = event.strip_prefix("data: ").unwrap().trim_end();
                let sent: u64 = sent.parse().expect("one event in a chunk");
                _ = deliveries.send(Duration::from_nanos(now - sent));
            }
        });
    }
    delivered
}

// --- The one handler

/// What the handlers share.
#[derive(Clone)]
struct Streams {
    connections: Connections,
    /// Of the `timed` streams: what is sent is when it is sent.
    timed: Arc<Mutex<Vec<UnboundedSender<u64>>>>,
}

impl Streams {
    fn answer(&self, key: &str) -> Sse<Source> {
        let event = |length| EncodedEvent::from(Event::data("x".repeat(length)));
        let flood = stream::repeat(event(1_000));
        let source: Source = if key == "silent" {
            stream::pending().boxed()
        } else if key == "pausing" {
            let events = flood.take(PAUSING / 1_000);
            events.chain(stream::pending()).boxed()
        } else if key.starts_with("timed") {
            let (sender, receiver): (_, UnboundedReceiver<u64>) = unbounded_channel();
            self.timed.lock().unwrap().push(sender);
            let sent = UnboundedReceiverStream::new(receiver);
            sent.map(|sent| Event::data(sent.to_string()).into())
                .boxed()
        } else {
            flood.boxed()
        };
        if key == "none" {
            return stop();
        }
        match self.connections.admit(key) {
            Ok(permit) => Sse::new(source).connection(permit),
            Err(full) => full.into(),
        }
    }
}

// --- The recipes

async fn respond(
    streams: Streams,
    request: Request<hyper::body::Incoming>,
) -> Result<http::Response<SseBody<Source>>, std::convert::Infallible> {
    let key = request.uri().path().trim_start_matches("/streams/");
    Ok(streams.answer(key).into_response())
}

fn serve_hyper(listener: TcpListener, streams: Streams) {
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;

    block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let streams = streams.clone();
            tokio::spawn(async move {
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http2()
                    .timer(TokioTimer::new())
                    .keep_alive_interval(WRITE_TIMEOUT / 2)
                    .keep_alive_timeout(WRITE_TIMEOUT / 2);
                let service = service_fn(|request| respond(streams.clone(), request));
                _ = http.serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
}

fn serve_hyper_with_a_timeout_stream(listener: TcpListener, streams: Streams) {
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;

    block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let streams = streams.clone();
            tokio::spawn(async move {
                let mut tcp = TimeoutStream::new(tcp);
                tcp.set_write_timeout(Some(WRITE_TIMEOUT));
                let http = auto::Builder::new(TokioExecutor::new());
                let service = service_fn(|request| respond(streams.clone(), request));
                let io = TokioIo::new(Box::pin(tcp));
                _ = http.serve_connection(io, service).await;
            });
        }
    });
}

fn serve_axum(listener: TcpListener, streams: Streams) {
    use axum::{
        Router,
        extract::{Path, State},
        routing::get,
    };

    async fn answer(State(streams): State<Streams>, Path(key): Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    block_on(async {
        let app = Router::new().route("/streams/{key}", get(answer));
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, app.with_state(streams))
            .await
            .unwrap();
    });
}

fn serve_actix_web(listener: TcpListener, streams: Streams) {
    use actix_web::{
        App, HttpServer, rt,
        web::{Data, Path, get},
    };

    async fn answer(streams: Data<Streams>, key: Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    rt::System::new().block_on(async {
        let app = move || {
            App::new()
                .app_data(Data::new(streams.clone()))
                .route("/streams/{key}", get().to(answer))
        };
        let server = HttpServer::new(app).workers(2).disable_signals();
        server.listen(listener).unwrap().run().await.unwrap();
    });
}

fn serve_poem(listener: TcpListener, streams: Streams) {
    use poem::{
        EndpointExt as _, Route, Server, get, handler as poem_handler,
        listener::TcpAcceptor,
        web::{Data, Path},
    };

    #[poem_handler]
    async fn answer(Data(streams): Data<&Streams>, Path(key): Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    block_on(async {
        let app = Route::new().at("/streams/:key", get(answer)).data(streams);
        let acceptor = TcpAcceptor::from_std(listener).unwrap();
        let server = Server::new_with_acceptor(acceptor);
        server.run(app).await.unwrap();
    });
}

fn serve_rocket(listener: TcpListener, streams: Streams) {
    use rocket::{Config, State, config::LogLevel, get, routes};

    #[get("/<key>")]
    async fn answer(streams: &State<Streams>, key: &str) -> Sse<Source> {
        streams.answer(key)
    }

    let port = listener.local_addr().unwrap().port();
    drop(listener); // it only takes a port
    block_on(async {
        let config = Config {
            port,
            log_level: LogLevel::Off,
            ..Config::default()
        };
        let rocket = rocket::custom(config).manage(streams);
        let rocket = rocket.mount("/streams", routes![answer]);
        rocket.launch().await.unwrap();
    });
}

/// Serves with salvo, set up further.
fn serve_salvo_as(
    listener: TcpListener,
    streams: Streams,
    set: impl FnOnce(
        salvo::Server<salvo::conn::tcp::TcpAcceptor>,
    ) -> salvo::Server<salvo::conn::tcp::TcpAcceptor>,
) {
    use salvo::{
        Depot, Router, Server, Writer as _, affix_state, conn::tcp::TcpAcceptor,
        extract::PathParam, handler as salvo_handler,
    };

    #[salvo_handler]
    async fn answer(depot: &mut Depot, key: PathParam<String>) -> Sse<Source> {
        let streams = depot.get_typed::<Streams>().unwrap();
        streams.answer(&key.into_inner())
    }

    block_on(async {
        let router = Router::with_path("streams/{key}")
            .hoop(affix_state::inject(streams))
            .get(answer);
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let server = Server::new(TcpAcceptor::try_from(listener).unwrap());
        set(server).serve(router).await;
    });
}

fn serve_salvo(listener: TcpListener, streams: Streams) {
    serve_salvo_as(listener, streams, |server| server);
}

fn serve_salvo_with_its_write_stall_timeout(listener: TcpListener, streams: Streams) {
    let config = salvo::fuse::FuseConfig::default().with_write_stall_timeout(WRITE_TIMEOUT);
    serve_salvo_as(listener, streams, |server| server.fuse_config(config));
}

fn serve_warp(listener: TcpListener, streams: Streams) {
    use warp::Filter as _;

    block_on(async {
        let app = warp::path("streams")
            .and(warp::path::param::<String>())
            .map(move |key: String| streams.answer(&key));
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        warp::serve(app).incoming(listener).run().await;
    });
}

// --- What the cases are made of

/// One case at a time, since each has times to keep.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a server, in a thread of its own that ends with the process.
fn start(serve: fn(TcpListener, Streams), set: fn(&Socket)) -> (SocketAddr, Streams) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_tcp_nodelay(true).unwrap(); // inherited too
    set(&socket);
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&address.into()).unwrap();
    socket.listen(1024).unwrap();
    socket.set_nonblocking(true).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let streams = Streams {
        connections: Connections::new(),
        timed: Arc::default(),
    };
    let for_thread = streams.clone();
    thread::spawn(move || serve(listener, for_thread));
    while answers_to(address).is_err() {
        thread::yield_now(); // not everyone listens from the start
    }
    (address, streams)
}

/// Asks a server for anything.
fn answers_to(address: SocketAddr) -> io::Result<()> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(request("none").as_bytes())?;
    stream.read_exact(&mut [0])
}

/// A client whose socket holds little of what it does not read.
async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    connect_with(socket, address).await
}

/// A client with segments as on a network: those of the loopback are larger than some buffers.
async fn connect_with(socket: TcpSocket, address: SocketAddr) -> TcpStream {
    SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
    socket.connect(address).await.unwrap()
}

fn request(key: &str) -> String {
    format!("GET /streams/{key} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// A response on HTTP/2 of which nobody reads the body.
async fn http2(address: SocketAddr, key: &str) -> (impl Sized, hyper::body::Incoming) {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = handshake.unwrap();
    tokio::spawn(connection);
    let request = Request::get(format!("http://x/streams/{key}"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    (sender, response.into_body())
}

/// For how long the stream has been stalled, if it is.
fn stall(connections: &Connections, key: &str) -> Option<Duration> {
    let snapshot = connections.snapshot();
    let stream = snapshot.iter().find(|stream| &*stream.key == key)?;
    stream.stalled_for.filter(|stalled| *stalled > STALL)
}

/// Waits at most that long for something to be so, and tells when it was.
async fn within(time: Duration, is_so: impl Fn() -> bool) -> Option<Instant> {
    let start = Instant::now();
    while start.elapsed() < time {
        if is_so() {
            return Some(Instant::now());
        }
        sleep(Duration::from_millis(10)).await;
    }
    None
}

/// Whether the kernel has the server's side of this connection still.
fn has_socket(server: SocketAddr, client: SocketAddr) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: Option<&str>| {
        let (_, port) = address?.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = (port(fields.next()), port(fields.next()));
        ends == (Some(server.port()), Some(client.port()))
    })
}

/// Of one clock for all.
fn nanos() -> u64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn block_on(future: impl Future<Output = ()>) {
    runtime().block_on(future);
}
