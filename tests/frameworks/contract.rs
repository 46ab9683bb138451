//! The contract: what every framework's server does with an `Sse`, case by case.

#![allow(unreachable_pub)]

use std::{
    collections::HashMap,
    net::SocketAddr,
    panic::panic_any,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{CloseReason, CloseReport, Connections, Event, KeepAlive, LastEventId, Sse};
use hyper::{Response, body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::sleep,
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::{
    deadline::{Background, joined, within},
    raw_client::RawClient,
    serving::{Listener, WANTED_PANIC, runtime, serving},
    undisturbed::Undisturbed,
};

pub type Item = Result<Event, std::io::Error>;
pub type Source = Pin<Box<dyn Stream<Item = Item> + Send>>;
type Respond = Box<dyn FnOnce(LastEventId) -> Sse<Source> + Send>;

struct Answer {
    /// Where it is admitted, and by which key.
    connections: Connections,
    key: String,
    respond: Respond,
}

/// What a server answers, by the last segment of the path: each answer is set by a case before
/// it asks, and given once.
#[derive(Clone)]
pub struct Answers {
    by_path: Arc<Mutex<HashMap<String, Answer>>>,
    connections: Connections,
}

impl Answers {
    /// The body of the handler, the same in every framework.
    pub fn answer(&self, path: &str, last: LastEventId) -> Sse<Source> {
        let Some(answer) = self.by_path.lock().unwrap().remove(path) else {
            return Sse::stop();
        };
        match answer.connections.admit(answer.key) {
            Ok(permit) => (answer.respond)(last).permit(permit),
            Err(full) => full.into(),
        }
    }
}

/// What differs between frameworks.
pub struct Framework {
    pub name: &'static str,
    /// Serves the listener until it is told to stop, and then stops as the framework does when it
    /// is asked to do so gracefully. Called in a thread of its own.
    pub serve: fn(Listener, Answers, oneshot::Receiver<()>),
    pub http2: bool,
    /// Whether a client that leaves is noticed while nothing is sent to it.
    pub notices_silence: bool,
    /// The same of an HTTP/2 stream that is reset.
    pub notices_silence_on_http2: bool,
    /// How long it takes at most to stop gracefully, with 1,500 streams that are shut down.
    pub stops_within: Duration,
    /// Whether a body that fails breaks the response off. Where it does not, the case asserts that
    /// it ends, so that it is noticed when the framework has learned it.
    pub breaks_off: bool,
    /// Whether a stream has chunks on HTTP/1.0 too, where clients do not know them (RFC 9112, 6.1).
    pub chunks_on_http_1_0: bool,
    /// Whether a header that is no UTF-8 reaches a handler, or else is dropped.
    pub raw_headers: bool,
    /// Headers that the framework adds to every response.
    pub adds: &'static [&'static str],
    /// Whether it serves a listener that it is given, with the sockets' options.
    pub takes_listener: bool,
}

impl Framework {
    /// One that does all that can be done.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            serve: |_, _, _| {},
            http2: true,
            notices_silence: true,
            notices_silence_on_http2: true,
            stops_within: Duration::from_secs(1),
            breaks_off: true,
            chunks_on_http_1_0: false,
            raw_headers: true,
            adds: &[],
            takes_listener: true,
        }
    }
}

/// A server that runs until it is dropped.
struct Server {
    framework: &'static Framework,
    address: SocketAddr,
    answers: Answers,
    paths: AtomicU64,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Runs every case against a framework.
pub fn run(framework: &'static Framework) {
    // Both ends of 1,000 connections are here, and the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let server = Server::start(framework);
    let runtime = runtime(1);
    macro_rules! cases {
        ($($case:ident)*) => {$(
            let start = Instant::now();
            runtime.block_on($case(&server));
            println!("{}: {} ({:?})", framework.name, stringify!($case), start.elapsed());
        )*};
    }
    cases! {
        the_response_has_these_headers
        head_has_the_headers_and_no_body
        a_status_and_repeated_headers_arrive
        the_opening_arrives_at_once
        events_arrive_as_they_are_sent
        a_large_event_arrives_whole
        a_hundred_thousand_events_arrive_in_order
        keep_alives_come_when_idle_and_only_then
        a_client_that_leaves_is_noticed
        an_error_is_a_broken_response
        an_error_can_be_an_event
        an_event_of_choice_precedes_a_failure
        ends_are_clean
        stop_is_an_empty_204
        finite_responses_say_where_they_end
        a_client_that_is_not_admitted_gets_429_or_503
        the_last_event_id_is_what_was_sent
        a_slow_reader_costs_little_and_loses_nothing
    }
    if framework.http2 {
        cases! {
            http2_has_no_connection_header
            http2_streams_do_not_disturb_each_other
            http2_breaks_a_failed_stream
            http2_clients_that_leave_are_noticed
        }
    }
    a_shutdown_lets_the_server_stop(server, &runtime);
    a_drain_lets_streams_end_by_themselves(Server::start(framework), &runtime);
}

// --- Shutdown

fn a_shutdown_lets_the_server_stop(mut server: Server, runtime: &Runtime) {
    // One framework at a time, since both ends of all the connections need descriptors.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);

    let silent = |_| Sse::new(silence()).keep_alive(None);
    let (clients, senders, bodies) = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..1_000 {
            clients.push(server.opened(silent).await);
        }
        let (mut senders, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..if server.framework.http2 { 5 } else { 0 } {
            let mut sender = server.http2().await;
            for _ in 0..100 {
                let mut body = sender.get(&server.set(silent)).await.into_body();
                assert_eq!(one_frame(&mut body).await, ":\n");
                bodies.push(body);
            }
            senders.push(sender);
        }
        (clients, senders, bodies)
    });
    let streams = clients.len() + bodies.len();

    let (start, clock) = (Instant::now(), Undisturbed::now());
    server.answers.connections.shutdown();
    let closed = server.answers.connections.closed();
    runtime.block_on(within("all streams to be closed", closed));
    server.stop();
    server.wait_until_stopped();
    let (took, undisturbed) = (start.elapsed(), clock.elapsed());
    println!(
        "{}: stops with {streams} streams in {took:?}, {undisturbed:?} of it undisturbed",
        server.framework.name
    );
    assert!(
        undisturbed < server.framework.stops_within,
        "stopped after {took:?}, {undisturbed:?} of it undisturbed"
    );

    runtime.block_on(async {
        for mut client in clients {
            assert_eq!(client.rest().await.unwrap(), "data: bye\n\n");
        }
        for body in bodies {
            assert_eq!(whole(body).await, "data: bye\n\n");
        }
    });
    drop(senders);
    let totals = server.answers.connections.totals();
    assert_eq!(totals.open, 0);
    assert!(totals.closed(CloseReason::Shutdown) >= streams as u64);
}

fn a_drain_lets_streams_end_by_themselves(mut server: Server, runtime: &Runtime) {
    const PATIENCE: Duration = Duration::from_secs(3);

    let (closes, mut closed) = unbounded_channel();
    let on_close = move || {
        let closes = closes.clone();
        move |closed: CloseReport| closes.send(closed.reason).unwrap()
    };
    let (events, source) = channel();
    let (of_one, of_other) = (on_close(), on_close());
    let (mut ends, mut goes_on) = runtime.block_on(async {
        let ends = server.opened(|_| Sse::new(source).on_close(of_one)).await;
        let silent = |_| Sse::new(silence()).on_close(of_other);
        (ends, server.opened(silent).await)
    });
    let (start, clock) = (Instant::now(), Undisturbed::now());
    server.answers.connections.drain(PATIENCE);
    runtime.block_on(async {
        events.send(Event::data("last")).unwrap();
        drop(events);
        assert_eq!(ends.rest().await.unwrap(), "data: last\n\n");
        assert_eq!(
            value_from("the close report", &mut closed).await,
            CloseReason::End
        );
        assert_eq!(goes_on.rest().await.unwrap(), "data: bye\n\n");
        assert!(start.elapsed() >= PATIENCE, "it has its time");
        let reason = value_from("the other close report", &mut closed).await;
        assert_eq!(reason, CloseReason::Shutdown);
        let closed = server.answers.connections.closed();
        within("all streams to be closed", closed).await;
    });
    server.stop();
    server.wait_until_stopped();
    let (took, undisturbed) = (start.elapsed(), clock.elapsed());
    println!(
        "{}: stops after a drain of {PATIENCE:?} in {took:?}, {undisturbed:?} of it undisturbed",
        server.framework.name
    );
    let patience = PATIENCE + server.framework.stops_within;
    assert!(
        undisturbed < patience,
        "stopped after {took:?}, {undisturbed:?} of it undisturbed"
    );
}

// --- Headers

async fn the_response_has_these_headers(server: &Server) {
    let mut client = server.get(|_| Sse::new(events(["a"]))).await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    server.assert_headers(&headers, "no-cache, no-transform", &[]);
    assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\n");

    let mut client = server
        .get(|_| {
            let no_store = HeaderValue::from_static("no-store");
            Sse::new(events(["a"]))
                .header(header::CACHE_CONTROL, no_store)
                .header(
                    HeaderName::from_static("x-mine"),
                    HeaderValue::from_static("1"),
                )
        })
        .await;
    let (_, headers) = client.head().await;
    server.assert_headers(&headers, "no-store", &["x-mine"]);
    assert_eq!(headers["x-mine"], "1");
}

async fn head_has_the_headers_and_no_body(server: &Server) {
    let (closes, mut closed) = unbounded_channel();
    let path = server.set(|_| {
        let sse = Sse::new(events(["a"]));
        sse.on_close(move |closed| closes.send(closed.reason).unwrap())
    });
    let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut client = RawClient::send(server.address, request).await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(headers["x-accel-buffering"], "no");
    // A GET has no length that a response to HEAD could state.
    assert!(!headers.contains_key(header::CONTENT_LENGTH), "{headers:?}");
    assert_eq!(client.until_close().await, "");
    let reason = value_from("the close report", &mut closed).await;
    assert_eq!(reason, CloseReason::End);
}

async fn a_status_and_repeated_headers_arrive(server: &Server) {
    fn respond(_: LastEventId) -> Sse<Source> {
        let cookie = HeaderValue::from_static;
        Sse::new(events(["a"]))
            .append_header(header::SET_COOKIE, cookie("a=1"))
            .append_header(header::SET_COOKIE, cookie("b=2"))
            .status(StatusCode::ACCEPTED)
    }

    let assert_arrived = |status: StatusCode, headers: &HeaderMap| {
        assert_eq!(status, StatusCode::ACCEPTED);
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    };
    let mut client = server.get(respond).await;
    let (status, headers) = client.head().await;
    assert_arrived(status, &headers);
    assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\n");
    if server.framework.http2 {
        let response = server.http2().await.get(&server.set(respond)).await;
        assert_arrived(response.status(), response.headers());
    }
}

async fn http2_has_no_connection_header(server: &Server) {
    let mut sender = server.http2().await;
    let path = server.set(|_| Sse::new(events(["a"])));
    let response = sender.get(&path).await;
    assert_eq!(response.status(), 200);
    server.assert_headers(response.headers(), "no-cache, no-transform", &[]);
    assert!(!response.headers().contains_key(header::CONNECTION));
    assert_eq!(whole(response.into_body()).await, ":\ndata: a\n\n");

    let path = server.set(|_| Sse::new(events(["a"])));
    let response = sender.ask("HEAD", &path).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    assert_eq!(whole(response.into_body()).await, "");
}

// --- The opening

/// Nothing but the opening itself could bring it: there is no event, and no timer.
async fn the_opening_arrives_at_once(server: &Server) {
    for _ in 0..3 {
        let silent = |_| Sse::new(silence()).keep_alive(None);
        let mut client = server.get(silent).await;
        client.head().await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), ":\n");
    }
}

// --- Events

/// Each is sent when the last has arrived, and there is no timer that could bring it.
async fn events_arrive_as_they_are_sent(server: &Server) {
    let (events, source) = channel();
    let mut client = server.opened(|_| Sse::new(source).keep_alive(None)).await;
    for n in 0..20 {
        events.send(Event::data(n.to_string())).unwrap();
        assert_eq!(client.exactly(&format!("data: {n}\n\n")).await, 1);
    }
    // Ready together: one frame, which is one chunk where the framework does not cut it.
    let all = "data: x\n\n".repeat(100);
    let (batches, source) = unbounded_channel::<Vec<Event>>();
    let source = UnboundedReceiverStream::new(source)
        .flat_map(stream::iter)
        .map(Ok);
    let mut client = server
        .opened(|_| Sse::new(source.boxed()).keep_alive(None))
        .await;
    batches
        .send((0..100).map(|_| Event::data("x")).collect())
        .unwrap();
    assert_eq!(client.exactly(&all).await, 1);
}

async fn a_large_event_arrives_whole(server: &Server) {
    let text = "x".repeat(1 << 20);
    let wire = format!(":\ndata: {text}\n\ndata: y\n\n");
    let mut client = server
        .get(move |_| Sse::new(events([text, "y".into()])))
        .await;
    client.head().await;
    assert!(client.rest().await.unwrap() == wire);
}

async fn a_hundred_thousand_events_arrive_in_order(server: &Server) {
    const EVENTS: u32 = 100_000;
    let source = stream::iter((0..EVENTS).map(|n| Ok(Event::data(n.to_string()).id(n))));
    let mut client = server.get(|_| Sse::new(source.boxed())).await;
    client.head().await;
    let all = client.rest().await.unwrap();
    let mut rest = all.strip_prefix(":\n").unwrap();
    for n in 0..EVENTS {
        rest = rest
            .strip_prefix(&format!("id: {n}\ndata: {n}\n\n"))
            .unwrap();
    }
    assert_eq!(rest, "");
}

// --- Keep-alives

async fn keep_alives_come_when_idle_and_only_then(server: &Server) {
    let (events, source) = channel();
    let mut client = server
        .opened(|_| Sse::new(source).keep_alive(every(INTERVAL)))
        .await;
    // None comes before the stream was idle for the interval. Where this machine is too busy for
    // the events to be sent in time, it was.
    let mut sent = Instant::now() - INTERVAL; // the opening was, at some time
    for _ in 0..10 {
        sleep(INTERVAL / 2).await;
        let before = std::mem::replace(&mut sent, Instant::now());
        events.send(Event::data("x")).unwrap();
        loop {
            let chunk = client.chunk().await.unwrap().unwrap();
            if chunk == "data: x\n\n" {
                break;
            }
            assert_eq!(chunk, ": idle\n");
            let idle = before.elapsed();
            assert!(idle >= INTERVAL, "{idle:?}");
        }
    }
    for n in 1..=2 {
        assert_eq!(client.exactly(": idle\n").await, 1);
        let idle = sent.elapsed();
        assert!(idle >= n * INTERVAL, "the {n}. after {idle:?}");
    }
}

// --- Clients that leave

/// Without a keep-alive nothing is sent, so that it is the leaving that is noticed. With one it is
/// noticed at the second at the latest.
async fn a_client_that_leaves_is_noticed(server: &Server) {
    for (how, leave) in [
        ("FIN", RawClient::close as fn(RawClient)),
        ("RST", RawClient::reset),
    ] {
        for keep_alive in [None, Some(every(INTERVAL))] {
            if keep_alive.is_none() && !server.framework.notices_silence {
                continue; // held to the keep-alive's bound, below
            }
            let (closes, mut closed) = unbounded_channel();
            let (gone, source) = watched();
            let with = with(keep_alive.as_ref());
            let client = server
                .opened(move |_| {
                    Sse::new(source)
                        .keep_alive(keep_alive)
                        .on_close(move |closed| _ = closes.send((closed, Instant::now())))
                })
                .await;
            let start = Instant::now();
            leave(client);
            let sent = server.keep_alives();
            let (report, at) = value_from("the client to be noticed", &mut closed).await;
            assert_noticed(&report, sent);
            assert!(gone.is_closed(), "the source is dropped");
            let again = within("the callback to be dropped", closed.recv()).await;
            assert!(again.is_none(), "reported once");
            println!(
                "{}: {how}, {with} keep-alive: {:?}",
                server.framework.name,
                at - start
            );
        }
    }
}

async fn http2_clients_that_leave_are_noticed(server: &Server) {
    for keep_alive in [None, Some(every(INTERVAL))] {
        if keep_alive.is_none() && !server.framework.notices_silence_on_http2 {
            continue;
        }
        let mut sender = server.http2().await;
        let (closes, mut closed) = unbounded_channel();
        let with = with(keep_alive.as_ref());
        let path = server.set(move |_| {
            Sse::new(silence())
                .keep_alive(keep_alive)
                .on_close(move |closed| _ = closes.send((closed, Instant::now())))
        });
        let mut body = sender.get(&path).await.into_body();
        assert_eq!(one_frame(&mut body).await, ":\n");
        let start = Instant::now();
        drop(body); // RST_STREAM
        let sent = server.keep_alives();
        let (report, at) = value_from("the client to be noticed", &mut closed).await;
        assert_noticed(&report, sent);
        println!(
            "{}: RST_STREAM, {with} keep-alive: {:?}",
            server.framework.name,
            at - start
        );
    }
}

fn with(keep_alive: Option<&KeepAlive>) -> &'static str {
    if keep_alive.is_some() {
        "with"
    } else {
        "without"
    }
}

/// `sent` is how many keep-alives there had been when the client had left, if it was not noticed
/// already.
fn assert_noticed(report: &CloseReport, sent: Option<u64>) {
    assert_eq!(report.reason, CloseReason::ClientGone);
    let more = sent.map(|sent| report.keep_alives - sent);
    assert!(more <= Some(2), "noticed after {more:?} keep-alives");
}

// --- Errors

async fn an_error_is_a_broken_response(server: &Server) {
    let (closes, mut closed) = unbounded_channel();
    let clock = Undisturbed::now();
    let mut client = server
        .get(|_| Sse::new(failing()).on_close(move |closed| closes.send(closed).unwrap()))
        .await;
    client.head().await;
    client.exactly(":\ndata: a\n\ndata: b\n\n").await;
    let end = client.chunk().await;
    let took = clock.elapsed();
    assert_eq!(end.is_err(), server.framework.breaks_off, "{end:?}");
    assert!(took < BREAKS_WITHIN, "after {took:?}");
    let closed: CloseReport = value_from("the close report", &mut closed).await;
    assert_eq!((closed.reason, closed.events), (CloseReason::Error, 2));
}

/// The only sign of a failure where the framework ends a failed response cleanly.
async fn an_event_of_choice_precedes_a_failure(server: &Server) {
    for (source, wire) in [
        (
            failing as fn() -> Source,
            ":\ndata: a\n\ndata: b\n\ndata: failed\n\n",
        ),
        (panicking, ":\ndata: a\n\ndata: failed\n\n"),
    ] {
        let (closes, mut closed) = unbounded_channel();
        let mut client = server
            .get(move |_| {
                Sse::new(source())
                    .break_off_with(Event::data("failed"))
                    .on_close(move |closed| closes.send(closed.reason).unwrap())
            })
            .await;
        client.head().await;
        client.exactly(wire).await;
        let end = client.chunk().await;
        assert_eq!(end.is_err(), server.framework.breaks_off, "{end:?}");
        let reason = value_from("the close report", &mut closed).await;
        assert_eq!(reason, CloseReason::Error);
    }
}

/// A failure waits for the frame before it, and at most ten seconds if nobody frees that frame.
async fn http2_breaks_a_failed_stream(server: &Server) {
    for (failure, source, wire) in [
        (
            "an error",
            failing as fn() -> Source,
            ":\ndata: a\n\ndata: b\n\n",
        ),
        ("a panic", panicking, ":\ndata: a\n\n"),
    ] {
        for keep_alive in [None, Some(KeepAlive::new())] {
            let what = format!("{failure} {} keep-alive", with(keep_alive.as_ref()));
            let mut sender = server.http2().await;
            let path = server.set(move |_| Sse::new(source()).keep_alive(keep_alive));
            let clock = Undisturbed::now();
            let mut body = sender.get(&path).await.into_body();
            let mut got = BytesMut::new();
            let end = loop {
                match within("the next frame or the end", body.frame()).await {
                    Some(Ok(frame)) => got.extend_from_slice(frame.data_ref().unwrap()),
                    end => break end,
                }
            };
            let took = clock.elapsed();
            assert_eq!(got, wire, "{what}");
            let broken = end.as_ref().is_some_and(Result::is_err);
            assert_eq!(broken, server.framework.breaks_off, "{what}: {end:?}");
            assert!(took < BREAKS_WITHIN, "{what}: after {took:?}");
        }
    }
}

async fn an_error_can_be_an_event(server: &Server) {
    let mut client = server
        .get(|_| Sse::new(failing()).on_error(|error| Event::data(error.to_string())))
        .await;
    client.head().await;
    assert_eq!(
        client.rest().await.unwrap(),
        ":\ndata: a\n\ndata: b\n\ndata: the source failed\n\n"
    );
}

// --- Ends

async fn ends_are_clean(server: &Server) {
    let mut client = server
        .get(|_| Sse::new(events(["a"])).end_with(Event::data("[DONE]")))
        .await;
    client.head().await;
    assert_eq!(
        client.rest().await.unwrap(),
        ":\ndata: a\n\ndata: [DONE]\n\n"
    );

    // It ends by its age, though there is no other timer; and before a keep-alive that is due
    // later, so that it does not end much later.
    for keep_alive in [None, Some(every(2 * INTERVAL))] {
        let start = Instant::now();
        let mut client = server
            .get(move |_| {
                let silent = Sse::new(silence()).keep_alive(keep_alive);
                silent.max_age(INTERVAL)
            })
            .await;
        client.head().await;
        assert_eq!(client.rest().await.unwrap(), ":\n");
        let took = start.elapsed();
        assert!(took >= INTERVAL * 9 / 10, "{took:?}"); // up to a tenth sooner
    }

    let ready = stream::repeat_with(|| Ok(Event::data("x")));
    let mut client = server
        .get(|_| Sse::new(ready.boxed()).max_age(INTERVAL))
        .await;
    client.head().await;
    let all = client.rest().await.unwrap();
    assert!(all.starts_with(":\ndata: x\n\n") && all.ends_with("data: x\n\n"));
}

async fn stop_is_an_empty_204(server: &Server) {
    let mut client = RawClient::get(server.address, "/answers/none", "connection: close\r\n").await;
    let (status, headers) = client.head().await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert!(!headers.contains_key(header::CONTENT_TYPE));
    assert!(client.until_close().await.is_empty());
}

/// The client of each finite response knows where it ends without waiting, and the connection goes
/// on: a request that was pipelined behind it is answered.
async fn finite_responses_say_where_they_end(server: &Server) {
    let full = Connections::new().max(0);
    let full_key = Connections::new().max_per_key(0);
    let never = |_| Sse::new(silence());
    let ended = |_| Sse::new(events(["a"]));
    let own = &server.answers.connections;
    for (method, connections, respond, status, body) in [
        (
            "GET",
            &full,
            never as fn(LastEventId) -> Sse<Source>,
            503,
            "",
        ),
        ("GET", &full_key, never, 429, ""),
        ("GET", own, |_| Sse::stop(), 204, ""),
        ("GET", own, ended, 200, ":\ndata: a\n\n"),
        ("HEAD", own, ended, 200, ""),
        ("HEAD", own, |_| Sse::stop(), 204, ""),
        ("HEAD", &full, never, 503, ""),
        ("HEAD", &full_key, never, 429, ""),
    ] {
        let first = server.set_in(connections, "first", respond);
        let second = server.set(|_| Sse::new(events(["second"])));
        let requests = format!(
            "{method} {first} HTTP/1.1\r\nhost: x\r\n\r\nGET {second} HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let what = format!("{}: {status} to {method}", server.framework.name);
        let mut client = RawClient::send(server.address, requests).await;
        let (found, headers) = client.head().await;
        assert_eq!(found, status, "{what}");
        if method == "GET" {
            assert_eq!(client.framed(found, &headers).await, body, "{what}");
        }
        let (found, headers) = client.head().await;
        assert_eq!(found, 200, "{what}, then the second");
        let second = client.framed(found, &headers).await;
        assert_eq!(second, ":\ndata: second\n\n", "{what}, then the second");
        client.close();

        // HTTP/1.0 has no chunks, so the body ends where the connection does.
        let path = server.set_in(connections, "first", respond);
        let request = format!("{method} {path} HTTP/1.0\r\nhost: x\r\n\r\n");
        let mut client = RawClient::send(server.address, request).await;
        let (found, headers) = client.head().await;
        assert_eq!(found, status, "{what} on HTTP/1.0");
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let chunks = server.framework.chunks_on_http_1_0 && !body.is_empty();
        assert_eq!(is_chunked, chunks, "{what} on HTTP/1.0: {headers:?}");
        if is_chunked {
            assert_eq!(client.rest().await.unwrap(), body, "{what} on HTTP/1.0");
        } else {
            assert_eq!(client.until_close().await, body, "{what} on HTTP/1.0");
        }

        if server.framework.http2 {
            let mut sender = server.http2().await;
            let path = server.set_in(connections, "first", respond);
            let response = sender.ask(method, &path).await;
            assert_eq!(response.status(), status, "{what} on HTTP/2");
            assert_eq!(whole(response.into_body()).await, body, "{what} on HTTP/2");
            let path = server.set(|_| Sse::new(events(["second"])));
            let second = whole(sender.get(&path).await.into_body()).await;
            assert_eq!(second, ":\ndata: second\n\n", "{what} on HTTP/2");
        }
    }
}

/// `503` where the server is full, `429` where one key is; and who leaves makes room.
async fn a_client_that_is_not_admitted_gets_429_or_503(server: &Server) {
    let connections = Connections::new().max(2).max_per_key(1);
    let connections = connections.retry_after(Duration::from_secs(10));
    let ask = async |key| {
        let path = server.set_in(&connections, key, |_| {
            Sse::new(silence()).keep_alive(every(INTERVAL))
        });
        let mut client = RawClient::get(server.address, &path, "connection: close\r\n").await;
        let (status, headers) = client.head().await;
        (status, headers, client)
    };
    let (status, _, mut first) = ask("a").await;
    assert_eq!(status, 200);
    first.exactly(":\n").await;

    let refused = async |key, expected: StatusCode| {
        let (status, headers, mut client) = ask(key).await;
        assert_eq!(status, expected);
        assert_eq!(headers[header::RETRY_AFTER], "10");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(!headers.contains_key(header::CONTENT_TYPE));
        let body = client.until_close().await;
        assert!(matches!(&*body, b"" | b"0\r\n\r\n"), "{body:?}"); // by length or in no chunks
    };
    refused("a", StatusCode::TOO_MANY_REQUESTS).await;
    let (status, _, mut second) = ask("b").await;
    assert_eq!(status, 200);
    second.exactly(":\n").await;
    refused("c", StatusCode::SERVICE_UNAVAILABLE).await;

    first.close();
    second.close();
    within("those who left to make room", connections.closed()).await;
    let (status, _, again) = ask("a").await;
    assert_eq!(status, 200);
    again.close();
    within("those who left to make room", connections.closed()).await;
}

// --- The last event ID

async fn the_last_event_id_is_what_was_sent(server: &Server) {
    let long = "x".repeat(8 * 1024);
    let utf8 = "é☃🦀".as_bytes();
    let cases: [(&[u8], &str, &[u8]); 12] = [
        (b"7-3", "", b"7-3"),
        (utf8, "", utf8),
        (long.as_bytes(), "", long.as_bytes()),
        (b"", "", b""),
        (b"", "?lastEventId=7-3", b"7-3"),
        (b"", "?a=b&lastEventId=%C3%A9+%26", "é &".as_bytes()),
        (b"", "?lastEventId=", b""),
        (b"", "?lastEventId=%", b"%"),
        (b"", "?lastEventId=%00%ff", b"\0\xff"),
        (b"", "?lastEventId", b""),
        (b"7", "?lastEventId=8", b"7"),
        (b"\xff\xfe", "", b"\xff\xfe"),
    ];
    for (header, query, expected) in cases {
        let (asked, mut told) = unbounded_channel();
        let path = server.set(move |last| {
            asked.send(last).unwrap();
            Sse::new(events(["a"]))
        });
        let mut request = format!("GET {path}{query} HTTP/1.1\r\nhost: x\r\n").into_bytes();
        if !header.is_empty() {
            request.extend_from_slice(&[b"last-event-id: ", header, b"\r\n"].concat());
        }
        request.extend_from_slice(b"\r\n");
        let mut client = RawClient::send(server.address, request).await;
        assert_eq!(client.head().await.0, 200, "{query}");
        let dropped = std::str::from_utf8(header).is_err() && !server.framework.raw_headers;
        let expected = if dropped { b"" } else { expected };
        assert_eq!(
            value_from("the handler", &mut told).await.as_bytes(),
            expected,
            "{query}"
        );
    }
}

// --- Slow readers

async fn a_slow_reader_costs_little_and_loses_nothing(server: &Server) {
    const EVENTS: u64 = 100_000; // of 1 kB each
    // Two, which Linux doubles; it lets them grow to 10 MiB where nobody sets them.
    let socket_buffers = match server.framework.takes_listener {
        true => 4 * BUFFER as u64,
        false => 10 << 20,
    };
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let filler = "x".repeat(1_000 - 10);
    let source = stream::iter((0..EVENTS).map(move |n| {
        counter.fetch_add(1_000, Relaxed);
        Ok(Event::data(format!("{n:010}{filler}")))
    }));
    let mut client = server.get(|_| Sse::new(source.boxed())).await;
    client.head().await;
    let held = at_rest(&taken).await;
    println!(
        "{}: {held} bytes taken for a client that does not read",
        server.framework.name
    );
    assert!(held < socket_buffers + (1 << 20), "{held} bytes");

    assert_eq!(client.take(2).await, ":\n");
    for n in (0..EVENTS).step_by(100) {
        let events = client.take(100 * (1_000 + 8)).await;
        for (event, n) in events.chunks(1_000 + 8).zip(n..) {
            let start = format!("data: {n:010}x");
            assert!(event.starts_with(start.as_bytes()), "event {n}");
        }
    }
    assert_eq!(client.rest().await.unwrap(), "");
}

// --- Streams beside each other on HTTP/2

async fn http2_streams_do_not_disturb_each_other(server: &Server) {
    let mut sender = server.http2().await;
    let mut streams = Vec::new();
    for _ in 0..99 {
        let (events, source) = channel();
        let path = server.set(|_| Sse::new(source).keep_alive(None));
        let mut body = sender.get(&path).await.into_body();
        assert_eq!(one_frame(&mut body).await, ":\n");
        streams.push((events, body));
    }
    // One with 100 MB on offer, which nobody reads.
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let filler = "x".repeat(1_000);
    let flood = stream::iter((0..100_000).map(move |_| {
        counter.fetch_add(1_000, Relaxed);
        Ok(Event::data(filler.clone()))
    }));
    let path = server.set(|_| Sse::new(flood.boxed()));
    let unread = sender.get(&path).await;
    assert!(at_rest(&taken).await > 0);
    for n in 0..10 {
        for (events, _) in &streams {
            events.send(Event::data(n.to_string())).unwrap();
        }
        for (_, body) in &mut streams {
            assert_eq!(one_frame(body).await, format!("data: {n}\n\n"));
        }
    }
    drop(unread);
}

// --- What the cases are made of

const INTERVAL: Duration = Duration::from_millis(400);
/// How long a failure may take to arrive: less than the ten seconds that a body waits at most.
const BREAKS_WITHIN: Duration = Duration::from_secs(5);
/// Of the sockets on both sides, in bytes, so that it is known what they hold.
const BUFFER: usize = 64 * 1024;

fn events<T: Into<String>, const N: usize>(data: [T; N]) -> Source {
    stream::iter(data.map(|data| Ok(Event::data(data.into())))).boxed()
}

fn silence() -> Source {
    stream::pending().boxed()
}

fn failing() -> Source {
    events(["a", "b"])
        .chain(stream::iter([Err(std::io::Error::other(
            "the source failed",
        ))]))
        .boxed()
}

/// A source that yields an event and panics.
fn panicking() -> Source {
    let panics = stream::once(async { panic_any(WANTED_PANIC) });
    events(["a"]).chain(panics).boxed()
}

/// A source that the case feeds.
fn channel() -> (UnboundedSender<Event>, Source) {
    let (sender, receiver) = unbounded_channel();
    (
        sender,
        UnboundedReceiverStream::new(receiver).map(Ok).boxed(),
    )
}

/// A silent source; the sender tells when it is dropped.
fn watched() -> (UnboundedSender<Event>, Source) {
    channel()
}

fn every(interval: Duration) -> KeepAlive {
    KeepAlive::new().interval(interval).comment("idle")
}

async fn value_from<T>(what: &str, receiver: &mut UnboundedReceiver<T>) -> T {
    let next = within(what, receiver.recv()).await;
    next.expect("its sender is there")
}

/// The next frame of a body.
async fn one_frame(body: &mut Incoming) -> Bytes {
    let frame = within("a frame", body.frame()).await.unwrap();
    frame.unwrap().into_data().unwrap()
}

/// A body from here to its end.
async fn whole(body: Incoming) -> Bytes {
    let all = within("the end of a body", body.collect()).await;
    all.unwrap().to_bytes()
}

/// Waits until a counter has not changed for a while, and returns it.
async fn at_rest(counter: &AtomicU64) -> u64 {
    let mut last = counter.load(Relaxed);
    within("a counter to come to rest", async {
        loop {
            sleep(Duration::from_secs(1)).await;
            let now = counter.load(Relaxed);
            if std::mem::replace(&mut last, now) == now {
                return now;
            }
        }
    })
    .await
}

/// A connection over HTTP/2.
struct Http2 {
    sender: SendRequest<Empty<Bytes>>,
    _connection: Background,
}

impl Http2 {
    async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.ask("GET", path).await
    }

    async fn ask(&mut self, method: &str, path: &str) -> Response<Incoming> {
        let uri = format!("http://x{path}");
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(Empty::new()).unwrap();
        let response = self.sender.send_request(request);
        within("a response", response).await.unwrap()
    }
}

impl Server {
    fn start(framework: &'static Framework) -> Self {
        let (listener, address) = Listener::open(|socket| {
            socket.set_send_buffer_size(BUFFER).unwrap();
        });
        let answers = Answers {
            by_path: Arc::default(),
            connections: Connections::new().goodbye(Event::data("bye")),
        };
        let (stop, stopped) = oneshot::channel();
        let serve = framework.serve;
        let for_thread = answers.clone();
        let thread = thread::spawn(move || serve(listener, for_thread, stopped));
        Self {
            framework,
            address: address.get(),
            answers,
            paths: AtomicU64::new(0),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Sets what is answered at the path that it returns.
    fn set(&self, respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static) -> String {
        let key = self.paths.load(Relaxed).to_string();
        self.set_in(&self.answers.connections, &key, respond)
    }

    /// The same, admitted elsewhere.
    fn set_in(
        &self,
        connections: &Connections,
        key: &str,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> String {
        let path = self.paths.fetch_add(1, Relaxed).to_string();
        let url = format!("/answers/{path}");
        let answer = Answer {
            connections: connections.clone(),
            key: key.to_owned(),
            respond: Box::new(respond),
        };
        self.answers.by_path.lock().unwrap().insert(path, answer);
        url
    }

    async fn get(
        &self,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> RawClient {
        let path = self.set(respond);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(BUFFER as u32).unwrap();
        // As on a network. Those of the loopback fill half the buffer, and when there is no room
        // for one the kernel sends on by a timer, 200 ms later.
        SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
        let stream = within("a connection to the server", socket.connect(self.address)).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        RawClient::over(stream.unwrap(), request).await
    }

    /// A client that has the opening.
    async fn opened(
        &self,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> RawClient {
        let mut client = self.get(respond).await;
        client.head().await;
        client.exactly(":\n").await;
        client
    }

    async fn http2(&self) -> Http2 {
        // has a deadline: it is awaited below
        let connect = TcpStream::connect(self.address);
        let stream = within("a connection to the server", connect).await.unwrap();
        stream.set_nodelay(true).unwrap(); // what it sends must not wait
        let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = within("the handshake", handshake).await.unwrap();
        let connection = Background::spawn(async {
            _ = serving(connection).await; // the server may break it
        });
        Http2 {
            sender,
            _connection: connection,
        }
    }

    /// Returns the keep-alives sent on the stream that was opened last, if it is open.
    fn keep_alives(&self) -> Option<u64> {
        let snapshot = self.answers.connections.snapshot();
        let last = (self.paths.load(Relaxed) - 1).to_string();
        let last = snapshot.iter().find(|stream| *stream.key == *last);
        last.map(|stream| stream.keep_alives)
    }

    /// Asserts that the headers are those of an event stream, what is `added`, what the framework
    /// adds to every response, and the transport's.
    fn assert_headers(&self, headers: &HeaderMap, cache_control: &str, added: &[&str]) {
        assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(headers[header::CACHE_CONTROL], cache_control);
        assert_eq!(headers["x-accel-buffering"], "no");
        let expected = [
            "content-type",
            "cache-control",
            "x-accel-buffering",
            "date",
            "transfer-encoding",
        ];
        for name in headers.keys() {
            let name = name.as_str();
            let known = [&expected[..], added, self.framework.adds]
                .iter()
                .any(|list| list.contains(&name));
            assert!(known, "{name}: {:?}", headers[name]);
            assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
        }
    }
}

impl Server {
    /// Tells the server to stop.
    fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    /// Waits until it has stopped.
    fn wait_until_stopped(&mut self) {
        let thread = self.thread.take();
        _ = thread.map(|thread| joined("the server to stop", thread));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.answers.connections.shutdown();
        self.stop();
        if !thread::panicking() {
            self.wait_until_stopped();
        }
    }
}
