//! A client that stops reading: it is seen, its socket is closed, and nobody else notices.
//!
//! `cargo test -p http-sse-frameworks -- --nocapture stalled::` prints the times that
//! `src/frameworks.md` states.
#![cfg(target_os = "linux")] // it looks up the kernel's sockets, and most recipes are Linux's

use std::{
    fs,
    future::pending,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::Request;
use http_body_util::Empty;
use http_sse::{CloseReason, Connections, EncodedEvent, Event, Sse, SseBody};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{SockRef, Socket};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::sleep,
};
use tokio_io_timeout::TimeoutStream;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    deadline::{Background, Serving, finished, within},
    raw_client::RawClient,
    serving::{Listener, runtime, serve, serve_each, serving},
    undisturbed::Undisturbed,
};

/// How long a client may take nothing of what there is for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);
/// How much later than the timeout its socket is gone.
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
    serve: fn(Listener, Streams),
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
            runtime(1).block_on(only_a_client_that_stops_reading_is_closed($recipe));
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
    let (_server, address, streams) = start(recipe.serve, recipe.set);
    let connections = &streams.connections;

    let get = async |key| {
        let stream = stream_from(TcpSocket::new_v4().unwrap(), address).await;
        RawClient::over(stream, request(key)).await
    };
    // These are well: there is nothing to read for one, one pauses, and one is behind all the time,
    // since there is more for it than it reads.
    let silent = get("silent").await;
    let mut pausing = get("pausing").await;
    let pausing = tokio::spawn(async move {
        sleep(WRITE_TIMEOUT / 4).await;
        pausing.head().await;
        pausing.take(PAUSING).await;
        pausing
    });
    let mut slow = get("slow").await;
    let slow = Background::spawn(async move {
        slow.head().await;
        loop {
            slow.take(400_000).await;
            sleep(Duration::from_millis(200)).await;
        }
    });

    let (start, clock) = (Instant::now(), Undisturbed::now());
    let stream = stream_to(address).await;
    let client = stream.local_addr().unwrap();
    let stalled = RawClient::over(stream, request("stalled")).await;
    // As long as it has a socket: nobody sees it afterwards.
    let full = stalls(connections, "stalled").await - start;
    println!("{}: seen after {:?}", recipe.name, start.elapsed());

    if !recipe.closes {
        // What is not polled cannot be ended, until the client reads or leaves.
        assert_eq!(connections.close_where(|it| &*it.key == "stalled"), 1);
        sleep(WRITE_TIMEOUT + SLACK).await;
        let open = stall(connections, "stalled");
        assert!(open > Some(WRITE_TIMEOUT), "{open:?}");
        return;
    }
    comes("the stream to be closed", || {
        connections.totals().closed(CloseReason::ClientGone) > 0
    })
    .await;
    let (closed, undisturbed) = (start.elapsed() - full, clock.elapsed());
    println!("{}: closed after {closed:?}", recipe.name);
    // A server takes some more frames when the socket is full.
    assert!(closed + STALL > WRITE_TIMEOUT, "closed after {closed:?}");
    assert!(
        undisturbed < full + WRITE_TIMEOUT + SLACK,
        "closed after {closed:?}, {undisturbed:?} since it asked undisturbed"
    );

    if recipe.frees_socket {
        comes("the socket to be freed", || !has_socket(address, client)).await;
        let (freed, undisturbed) = (start.elapsed() - full, clock.elapsed());
        println!("{}: freed after {freed:?}", recipe.name);
        assert!(
            undisturbed < full + WRITE_TIMEOUT + SLACK,
            "freed after {freed:?}, {undisturbed:?} since it asked undisturbed"
        );
    }

    // The others have had as much time, and have it twice.
    sleep(WRITE_TIMEOUT).await;
    if !recipe.frees_socket {
        assert!(has_socket(address, client), "the socket is freed");
        println!("{}: not freed in {:?}", recipe.name, start.elapsed() - full);
    }
    let pausing = finished("the client that pauses", pausing).await;
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
    let (_server, address, streams) = start(serve_hyper, user_timeout);
    let connections = &streams.connections;
    // What it spawns is at rest whenever it is not in `block_on`.
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let unread = client.block_on(async {
        let unread = http2(address, "stalled").await;
        stalls(connections, "stalled").await;
        // As long as the client reads the connection there is no end to the one stream that it
        // does not read, not by order either.
        assert_eq!(connections.close_where(|it| &*it.key == "stalled"), 1);
        sleep(2 * WRITE_TIMEOUT).await;
        let open = stall(connections, "stalled");
        assert!(open > Some(WRITE_TIMEOUT), "{open:?}");
        unread
    });

    // From here on it reads nothing.
    let (start, clock) = (Instant::now(), Undisturbed::now());
    let is_closed = || connections.totals().open == 0;
    runtime(1).block_on(comes("the stream to be closed", is_closed));
    let (closed, undisturbed) = (start.elapsed(), clock.elapsed());
    println!("hyper, HTTP/2 pings: closed after {closed:?}");
    assert!(
        undisturbed < WRITE_TIMEOUT + SLACK,
        "closed after {closed:?}, {undisturbed:?} of it undisturbed"
    );
    drop((client, unread));
}

/// What a stalled client costs the others: nothing. Each event is sent to all of them when the
/// last has reached all, and is a chunk of its own. Their sources are polled as often as without
/// the client: neither its stall nor its end wakes them even once. What delay it causes is printed
/// by `cargo bench -p http-sse-peers --bench stalled`.
#[test]
fn the_other_999_do_not_notice() {
    const READERS: usize = 999;
    const EVENTS: u64 = 10;
    /// So long that all the events arrive before.
    const TIMEOUT: Duration = Duration::from_secs(5);

    // Both ends of 1,000 connections are here, and the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let (_server, address, streams) = start(serve_hyper, |socket| {
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket.set_tcp_user_timeout(Some(TIMEOUT)).unwrap();
    });
    let connections = &streams.connections;
    runtime(1).block_on(async {
        let mut readers = Vec::new();
        for n in 0..READERS {
            let asked = request(&format!("fed-{n}"));
            let mut reader = RawClient::over(stream_to(address).await, asked).await;
            reader.head().await;
            reader.exactly(":\n").await;
            readers.push(reader);
        }
        let fed: Vec<_> = streams.fed.lock().unwrap().drain(..).collect();
        assert_eq!(fed.len(), READERS);

        let mut sent = 0;
        let mut send = async || {
            for _ in 0..EVENTS {
                for fed in &fed {
                    fed.events.send(sent).unwrap();
                }
                for reader in &mut readers {
                    let event = format!("data: {sent}\n\n");
                    assert_eq!(reader.exactly(&event).await, 1);
                }
                sent += 1;
            }
        };
        let mut counted = 0;
        // How often their sources were polled since the last look.
        let mut polls = || {
            let now = fed.iter().map(|fed| fed.polls.load(Relaxed)).sum();
            now - std::mem::replace(&mut counted, now)
        };
        polls();
        send().await;
        let without = polls();

        let client = RawClient::over(stream_to(address).await, request("stalled")).await;
        stalls(connections, "stalled").await;
        send().await;
        assert!(stall(connections, "stalled").is_some());
        let with = polls();

        comes("the stalled client to be closed", || {
            connections.totals().closed(CloseReason::ClientGone) == 1
        })
        .await;
        sleep(STALL).await; // or an event may come at the same time as a wake-up
        send().await;
        let after = polls();

        println!("999 others: {without} polls, {with} with a stalled client, {after} after it");
        // Now and then an event arrives while the server looks for the next one.
        let woken = without + READERS as u64 / 2;
        assert!(with < woken && after < woken);
        assert_eq!(connections.totals().open, READERS);
        drop(client);
    });
}

// --- The one handler

/// What the handlers share.
#[derive(Clone)]
struct Streams {
    connections: Connections,
    fed: Arc<Mutex<Vec<Fed>>>,
}

/// A stream that the test feeds.
struct Fed {
    events: UnboundedSender<u64>,
    /// How often its source has been polled.
    polls: Arc<AtomicU64>,
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
        } else if key.starts_with("fed") {
            let (sender, receiver) = unbounded_channel::<u64>();
            let polls = Arc::new(AtomicU64::new(0));
            self.fed.lock().unwrap().push(Fed {
                events: sender,
                polls: polls.clone(),
            });
            let mut sent = UnboundedReceiverStream::new(receiver)
                .map(|sent| Event::data(sent.to_string()).into());
            stream::poll_fn(move |cx| {
                polls.fetch_add(1, Relaxed);
                sent.poll_next_unpin(cx)
            })
            .boxed()
        } else {
            flood.boxed()
        };
        match self.connections.admit(key) {
            Ok(permit) => Sse::new(source).keep_alive(None).permit(permit),
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

fn serve_hyper(listener: Listener, streams: Streams) {
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;

    serve(async {
        serve_each(listener.tokio(), pending::<()>(), |tcp| {
            let streams = streams.clone();
            async move {
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http2()
                    .timer(TokioTimer::new())
                    .keep_alive_interval(WRITE_TIMEOUT / 2)
                    .keep_alive_timeout(WRITE_TIMEOUT / 2);
                let service = service_fn(|request| respond(streams.clone(), request));
                _ = serving(http.serve_connection(TokioIo::new(tcp), service)).await;
            }
        })
        .await;
    });
}

fn serve_hyper_with_a_timeout_stream(listener: Listener, streams: Streams) {
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;

    serve(async {
        serve_each(listener.tokio(), pending::<()>(), |tcp| {
            let streams = streams.clone();
            async move {
                let mut tcp = TimeoutStream::new(tcp);
                tcp.set_write_timeout(Some(WRITE_TIMEOUT));
                let http = auto::Builder::new(TokioExecutor::new());
                let service = service_fn(|request| respond(streams.clone(), request));
                let io = TokioIo::new(Box::pin(tcp));
                _ = serving(http.serve_connection(io, service)).await;
            }
        })
        .await;
    });
}

fn serve_axum(listener: Listener, streams: Streams) {
    use axum::{
        Router,
        extract::{Path, State},
        routing::get,
    };

    async fn answer(State(streams): State<Streams>, Path(key): Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    serve(async {
        let app = Router::new().route("/streams/{key}", get(answer));
        let served = axum::serve(listener.tokio(), app.with_state(streams));
        serving(served).await.unwrap();
    });
}

fn serve_actix_web(listener: Listener, streams: Streams) {
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
        let served = server.listen(listener.std()).unwrap().run();
        serving(served).await.unwrap();
    });
}

fn serve_poem(listener: Listener, streams: Streams) {
    use poem::{
        EndpointExt as _, Route, Server, get, handler as poem_handler,
        listener::TcpAcceptor,
        web::{Data, Path},
    };

    #[poem_handler]
    async fn answer(Data(streams): Data<&Streams>, Path(key): Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    serve(async {
        let app = Route::new().at("/streams/:key", get(answer)).data(streams);
        let acceptor = TcpAcceptor::from_tokio(listener.tokio()).unwrap();
        let served = Server::new_with_acceptor(acceptor).run(app);
        serving(served).await.unwrap();
    });
}

fn serve_rocket(listener: Listener, streams: Streams) {
    use rocket::{Config, State, config::LogLevel, get, routes};

    #[get("/<key>")]
    async fn answer(streams: &State<Streams>, key: &str) -> Sse<Source> {
        streams.answer(key)
    }

    serve(async {
        let config = Config {
            port: 0,
            log_level: LogLevel::Off,
            ..Config::default()
        };
        let rocket = rocket::custom(config).attach(listener.rocket());
        let rocket = rocket.manage(streams).mount("/streams", routes![answer]);
        serving(rocket.launch()).await.unwrap();
    });
}

/// Serves with salvo, set up further.
fn serve_salvo_as(
    listener: Listener,
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

    serve(async {
        let router = Router::with_path("streams/{key}")
            .hoop(affix_state::inject(streams))
            .get(answer);
        let server = Server::new(TcpAcceptor::try_from(listener.tokio()).unwrap());
        serving(set(server).serve(router)).await;
    });
}

fn serve_salvo(listener: Listener, streams: Streams) {
    serve_salvo_as(listener, streams, |server| server);
}

fn serve_salvo_with_its_write_stall_timeout(listener: Listener, streams: Streams) {
    let config = salvo::fuse::FuseConfig::default().with_write_stall_timeout(WRITE_TIMEOUT);
    serve_salvo_as(listener, streams, |server| server.fuse_config(config));
}

fn serve_warp(listener: Listener, streams: Streams) {
    use warp::Filter as _;

    serve(async {
        let app = warp::path("streams")
            .and(warp::path::param::<String>())
            .map(move |key: String| streams.answer(&key));
        let served = warp::serve(app).incoming(listener.tokio()).run();
        serving(served).await;
    });
}

// --- What the cases are made of

/// Starts a server, in a thread of its own that ends with the process.
fn start(serve: fn(Listener, Streams), set: fn(&Socket)) -> (Serving, SocketAddr, Streams) {
    let (listener, address) = Listener::open(set);
    let streams = Streams {
        connections: Connections::new(),
        fed: Arc::default(),
    };
    let for_thread = streams.clone();
    let server = Serving::start(move || serve(listener, for_thread));
    (server, address.get(), streams)
}

/// A connection of a client whose socket holds little of what it does not read.
async fn stream_to(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    stream_from(socket, address).await
}

/// A connection with segments as on a network: those of the loopback are larger than some buffers.
async fn stream_from(socket: TcpSocket, address: SocketAddr) -> TcpStream {
    SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
    let stream = within("a connection to the server", socket.connect(address)).await;
    stream.unwrap()
}

fn request(key: &str) -> String {
    format!("GET /streams/{key} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// A response on HTTP/2 of which nobody reads the body.
async fn http2(address: SocketAddr, key: &str) -> (impl Sized, hyper::body::Incoming) {
    let stream = within("a connection to the server", TcpStream::connect(address)).await;
    let stream = TokioIo::new(stream.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = within("the handshake", handshake).await.unwrap();
    let connection = Background::spawn(async {
        _ = serving(connection).await; // the server breaks it
    });
    let request = Request::get(format!("http://x/streams/{key}"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = within("the response", sender.send_request(request)).await;
    ((sender, connection), response.unwrap().into_body())
}

/// For how long the stream has been stalled, if it is.
fn stall(connections: &Connections, key: &str) -> Option<Duration> {
    let snapshot = connections.snapshot();
    let stream = snapshot.iter().find(|stream| &*stream.key == key)?;
    stream.stalled_for.filter(|stalled| *stalled > STALL)
}

/// Waits until the stream is stalled, and returns since when, or a little before.
async fn stalls(connections: &Connections, key: &str) -> Instant {
    let mut since = None;
    comes("the stall to be seen", || {
        let now = Instant::now();
        since = stall(connections, key).map(|stalled| now - stalled);
        since.is_some()
    })
    .await;
    since.unwrap()
}

/// Waits until something is so that takes some work to look at.
async fn comes(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Whether the kernel has the server's side of this connection still.
fn has_socket(server: SocketAddr, client: SocketAddr) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: Option<&str>| {
        let (_, port) = address?.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    // There may be ten thousand of others.
    let of_client = format!(":{:04X}", client.port());
    let mut lines = sockets.lines().filter(|line| line.contains(&of_client));
    lines.any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = (port(fields.next()), port(fields.next()));
        ends == (Some(server.port()), Some(client.port()))
    })
}
