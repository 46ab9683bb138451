//! The contract: what every framework's server does with an `Sse`, case by case.

#![allow(unreachable_pub)]

use std::{
    collections::HashMap,
    future::Future,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{CloseReason, Closed, Connections, Event, KeepAlive, LastEventId, Sse, stop};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::{sleep, timeout},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::raw_client::RawClient;

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
            return stop();
        };
        match answer.connections.admit(answer.key) {
            Ok(permit) => (answer.respond)(last).connection(permit),
            Err(full) => full.into(),
        }
    }
}

/// What differs between frameworks.
pub struct Framework {
    pub name: &'static str,
    /// Serves the listener until it is told to stop, and then stops as the framework does when it
    /// is asked to do so gracefully. Called in a thread of its own.
    pub serve: fn(TcpListener, Answers, oneshot::Receiver<()>),
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
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
        the_opening_arrives_at_once
        events_arrive_as_they_are_sent
        a_large_event_arrives_whole
        a_hundred_thousand_events_arrive_in_order
        keep_alives_come_when_idle_and_only_then
        a_client_that_leaves_is_noticed
        an_error_is_a_broken_response
        an_error_can_be_an_event
        ends_are_clean
        stop_is_an_empty_204
        who_is_not_admitted_is_told_so
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

// --- 11

fn a_shutdown_lets_the_server_stop(mut server: Server, runtime: &Runtime) {
    let silent = |_| Sse::new(silence()).keep_alive(None);
    let (clients, bodies) = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..1_000 {
            clients.push(server.opened(silent).await);
        }
        let mut bodies = Vec::new();
        for _ in 0..if server.framework.http2 { 5 } else { 0 } {
            let mut sender = server.http2().await;
            for _ in 0..100 {
                let request = http2_request("GET", &server.set(silent));
                let mut body = sender.send_request(request).await.unwrap().into_body();
                body.frame().await.unwrap().unwrap();
                bodies.push(body);
            }
        }
        (clients, bodies)
    });
    let streams = clients.len() + bodies.len();

    // One framework at a time, since each has the whole machine to do.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock();

    let start = Instant::now();
    server.answers.connections.shutdown();
    runtime.block_on(server.answers.connections.closed());
    server.stop();
    server.join();
    let took = start.elapsed();
    println!(
        "{}: stops with {streams} streams in {took:?}",
        server.framework.name
    );
    assert!(
        took < server.framework.stops_within,
        "stopped after {took:?}"
    );

    runtime.block_on(async {
        for mut client in clients {
            assert_eq!(client.rest().await.unwrap(), "data: bye\n\n");
        }
        for body in bodies {
            assert_eq!(body.collect().await.unwrap().to_bytes(), "data: bye\n\n");
        }
    });
    let totals = server.answers.connections.totals();
    assert_eq!(totals.open, 0);
    assert!(totals.closed(CloseReason::Shutdown) >= streams as u64);
}

fn a_drain_lets_streams_end_by_themselves(mut server: Server, runtime: &Runtime) {
    let (mut ends, mut goes_on) = runtime.block_on(async {
        let soon = stream::once(sleep(Duration::from_secs(1))).map(|()| Ok(Event::data("last")));
        let ends = server.opened(|_| Sse::new(soon.boxed())).await;
        (ends, server.opened(|_| Sse::new(silence())).await)
    });
    let start = Instant::now();
    server.answers.connections.drain(Duration::from_secs(3));
    runtime.block_on(async {
        assert_eq!(ends.rest().await.unwrap(), "data: last\n\n");
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "it ends by itself"
        );
        assert_eq!(goes_on.rest().await.unwrap(), "data: bye\n\n");
        assert!(start.elapsed() >= Duration::from_secs(3), "it has its time");
        server.answers.connections.closed().await;
    });
    server.stop();
    server.join();
    let took = start.elapsed();
    println!(
        "{}: stops after a drain of 3 s in {took:?}",
        server.framework.name
    );
    let patience = Duration::from_secs(3) + server.framework.stops_within;
    assert!(took < patience, "stopped after {took:?}");
}

// --- 1

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
    let path = server.set(|_| Sse::new(events(["a"])));
    let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut client = RawClient::send(server.address, request).await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(client.until_close().await, "");
}

async fn http2_has_no_connection_header(server: &Server) {
    let mut sender = server.http2().await;
    let path = server.set(|_| Sse::new(events(["a"])));
    let request = http2_request("GET", &path);
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    server.assert_headers(response.headers(), "no-cache, no-transform", &[]);
    assert!(!response.headers().contains_key(header::CONNECTION));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ":\ndata: a\n\n");

    let path = server.set(|_| Sse::new(events(["a"])));
    let request = http2_request("HEAD", &path);
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
}

// --- 2

async fn the_opening_arrives_at_once(server: &Server) {
    for _ in 0..3 {
        let start = Instant::now();
        let mut client = server.get(|_| Sse::new(silence())).await;
        client.head().await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), ":\n");
        let took = start.elapsed();
        assert!(took < SOON, "{took:?}");
    }
}

// --- 3

async fn events_arrive_as_they_are_sent(server: &Server) {
    let (events, source) = channel();
    let mut client = server.opened(|_| Sse::new(source)).await;
    for n in 0..20 {
        let start = Instant::now();
        events.send(Event::data(n.to_string())).unwrap();
        assert_eq!(client.exactly(&format!("data: {n}\n\n")).await, 1);
        let took = start.elapsed();
        assert!(took < SOON, "{took:?}");
    }
    // Ready together: one frame, which is one chunk where the framework does not cut it.
    let all = "data: x\n\n".repeat(100);
    let (batches, source) = unbounded_channel::<Vec<Event>>();
    let source = UnboundedReceiverStream::new(source)
        .flat_map(stream::iter)
        .map(Ok);
    let mut client = server.opened(|_| Sse::new(source.boxed())).await;
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

// --- 4

async fn keep_alives_come_when_idle_and_only_then(server: &Server) {
    let (events, source) = channel();
    let mut client = server
        .opened(|_| Sse::new(source).keep_alive(every(INTERVAL)))
        .await;
    for _ in 0..10 {
        sleep(INTERVAL / 2).await;
        events.send(Event::data("x")).unwrap();
        client.exactly("data: x\n\n").await;
    }
    for _ in 0..2 {
        let start = Instant::now();
        assert_eq!(client.exactly(": idle\n").await, 1);
        let took = start.elapsed();
        assert!(
            took > INTERVAL * 4 / 5 && took < INTERVAL + SOON,
            "{took:?}"
        );
    }
}

// --- 5

async fn a_client_that_leaves_is_noticed(server: &Server) {
    for (how, leave) in [
        ("FIN", RawClient::close as fn(RawClient)),
        ("RST", RawClient::reset),
    ] {
        for keep_alive in [None, Some(every(INTERVAL))] {
            if keep_alive.is_none() && !server.framework.notices_silence {
                continue; // held to the keep-alive's bound, below
            }
            let within = keep_alive
                .as_ref()
                .map_or(Duration::from_millis(100), |_| 2 * INTERVAL + SOON);
            let with = if keep_alive.is_some() {
                "with"
            } else {
                "without"
            };
            let (closes, mut closed) = unbounded_channel();
            let (gone, source) = watched();
            let client = server
                .opened(move |_| {
                    Sse::new(source)
                        .keep_alive(keep_alive)
                        .on_close(move |closed| _ = closes.send((closed, Instant::now())))
                })
                .await;
            let start = Instant::now();
            leave(client);
            let (told, at) = next(&mut closed).await;
            let took = at - start;
            assert_eq!(told.reason, CloseReason::ClientGone);
            assert!(gone.is_closed(), "the source is dropped");
            assert!(closed.recv().await.is_none(), "told once");
            println!(
                "{}: {how}, {with} keep-alive: {took:?}",
                server.framework.name
            );
            assert!(took < within, "{how} noticed after {took:?}");
        }
    }
}

async fn http2_clients_that_leave_are_noticed(server: &Server) {
    for keep_alive in [None, Some(every(INTERVAL))] {
        let (within, with) = match &keep_alive {
            None if !server.framework.notices_silence_on_http2 => continue,
            None => (Duration::from_millis(100), "without"),
            Some(_) => (2 * INTERVAL + SOON, "with"),
        };
        let mut sender = server.http2().await;
        let (closes, mut closed) = unbounded_channel();
        let path = server.set(move |_| {
            Sse::new(silence())
                .keep_alive(keep_alive)
                .on_close(move |closed| _ = closes.send((closed, Instant::now())))
        });
        let response = sender
            .send_request(http2_request("GET", &path))
            .await
            .unwrap();
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        let start = Instant::now();
        drop(body); // RST_STREAM
        let (told, at): (Closed, Instant) = next(&mut closed).await;
        let took = at - start;
        assert_eq!(told.reason, CloseReason::ClientGone);
        println!(
            "{}: RST_STREAM, {with} keep-alive: {took:?}",
            server.framework.name
        );
        assert!(took < within, "noticed after {took:?}");
    }
}

// --- 6

async fn an_error_is_a_broken_response(server: &Server) {
    let (closes, mut closed) = unbounded_channel();
    let mut client = server
        .get(|_| Sse::new(failing()).on_close(move |closed| closes.send(closed).unwrap()))
        .await;
    client.head().await;
    client.exactly(":\ndata: a\n\ndata: b\n\n").await;
    let end = client.chunk().await;
    assert_eq!(end.is_err(), server.framework.breaks_off, "{end:?}");
    let closed: Closed = next(&mut closed).await;
    assert_eq!((closed.reason, closed.events), (CloseReason::Error, 2));
}

async fn http2_breaks_a_failed_stream(server: &Server) {
    let mut sender = server.http2().await;
    let path = server.set(|_| Sse::new(failing()));
    let response = sender
        .send_request(http2_request("GET", &path))
        .await
        .unwrap();
    let mut body = response.into_body();
    let mut got = BytesMut::new();
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => got.extend_from_slice(frame.data_ref().unwrap()),
            end => break end,
        }
    };
    assert_eq!(got, ":\ndata: a\n\ndata: b\n\n");
    let broken = end.as_ref().is_some_and(Result::is_err);
    assert_eq!(broken, server.framework.breaks_off, "{end:?}");
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

// --- 7

async fn ends_are_clean(server: &Server) {
    let mut client = server
        .get(|_| Sse::new(events(["a"])).end_with(Event::data("[DONE]")))
        .await;
    client.head().await;
    assert_eq!(
        client.rest().await.unwrap(),
        ":\ndata: a\n\ndata: [DONE]\n\n"
    );

    let start = Instant::now();
    let mut client = server.get(|_| Sse::new(silence()).max_age(INTERVAL)).await;
    client.head().await;
    assert_eq!(client.rest().await.unwrap(), ":\n");
    let took = start.elapsed();
    assert!(
        took > INTERVAL * 4 / 5 && took < INTERVAL + SOON,
        "{took:?}"
    );

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

/// `503` where the server is full, `429` where one key is; and who leaves makes room.
async fn who_is_not_admitted_is_told_so(server: &Server) {
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
    timeout(PATIENCE, connections.closed()).await.unwrap();
    let (status, _, again) = ask("a").await;
    assert_eq!(status, 200);
    again.close();
    timeout(PATIENCE, connections.closed()).await.unwrap();
}

// --- 8

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
        assert_eq!(next(&mut told).await.as_bytes(), expected, "{query}");
    }
}

// --- 9

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
    sleep(Duration::from_secs(5)).await;
    let held = taken.load(Relaxed);
    println!(
        "{}: {held} bytes taken for a client that does not read",
        server.framework.name
    );
    assert!(held < socket_buffers + (1 << 20), "{held} bytes");

    assert_eq!(client.take(2).await, ":\n");
    for n in 0..EVENTS {
        let event = client.take(1_000 + 8).await;
        assert!(
            event.starts_with(format!("data: {n:010}x").as_bytes()),
            "event {n}"
        );
    }
    assert_eq!(client.rest().await.unwrap(), "");
}

// --- 10

async fn http2_streams_do_not_disturb_each_other(server: &Server) {
    let mut sender = server.http2().await;
    let mut streams = Vec::new();
    for _ in 0..99 {
        let (events, source) = channel();
        let path = server.set(|_| Sse::new(source));
        let response = sender
            .send_request(http2_request("GET", &path))
            .await
            .unwrap();
        let mut body = response.into_body();
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            ":\n"
        );
        streams.push((events, body));
    }
    // One with 100 MB on offer, which nobody reads.
    let filler = "x".repeat(1_000);
    let flood = stream::iter((0..100_000).map(move |_| Ok(Event::data(filler.clone()))));
    let path = server.set(|_| Sse::new(flood.boxed()));
    let unread = sender
        .send_request(http2_request("GET", &path))
        .await
        .unwrap();
    for n in 0..10 {
        for (events, _) in &streams {
            events.send(Event::data(n.to_string())).unwrap();
        }
        let start = Instant::now();
        for (_, body) in &mut streams {
            let frame = timeout(PATIENCE, body.frame()).await.unwrap();
            let data = frame.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, format!("data: {n}\n\n"));
        }
        let took = start.elapsed();
        assert!(took < 4 * SOON, "{took:?} for 99 streams");
    }
    drop(unread);
}

// --- What the cases are made of

/// How soon something arrives that takes no time: on a machine with two cores that does much else.
const SOON: Duration = Duration::from_millis(50);
const INTERVAL: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(20);
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

async fn next<T>(receiver: &mut UnboundedReceiver<T>) -> T {
    let next = timeout(PATIENCE, receiver.recv()).await;
    next.expect("it comes").expect("it comes")
}

fn http2_request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    let uri = format!("http://x{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(Empty::new()).unwrap()
}

impl Server {
    fn start(framework: &'static Framework) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_send_buffer_size(BUFFER).unwrap();
        socket.set_tcp_nodelay(true).unwrap(); // inherited by what it accepts
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .unwrap();
        socket.listen(1024).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let answers = Answers {
            by_path: Arc::default(),
            connections: Connections::new().goodbye(Event::data("bye")),
        };
        let (stop, stopped) = oneshot::channel();
        let serve = framework.serve;
        let for_thread = answers.clone();
        let thread = std::thread::spawn(move || serve(listener, for_thread, stopped));
        while answers_to(address).is_err() {
            std::thread::yield_now(); // not everyone listens from the start
        }
        Self {
            framework,
            address,
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
        let stream = socket.connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        RawClient::over(stream, request).await
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

    async fn http2(&self) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap(); // what it sends must not wait
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
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
    fn join(&mut self) {
        let _ = self.thread.take().map(|thread| thread.join().unwrap());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.answers.connections.shutdown();
        self.stop();
        if !std::thread::panicking() {
            self.join();
        }
    }
}

/// Asks a server for anything.
fn answers_to(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(b"GET /answers/none HTTP/1.1\r\nhost: x\r\n\r\n")?;
    stream.read_exact(&mut [0])
}

/// Runs a server on a runtime of its own.
pub fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future);
}
