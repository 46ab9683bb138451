//! nginx and haproxy between this crate's server and curl.

use std::{
    cell::Cell,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use http_sse::{CloseReason, Event, KeepAlive, Sse};
use tokio::{
    join,
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::Instant,
};

use crate::{
    curl::Curl,
    deadline::{PATIENCE, within_time},
    proxy::{PROXIES, Proxy, READ_TIMEOUT},
    results,
    server::{Answer, Server, Source, channel, reported, sse},
    tools::{Running, find, turn},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_pass_events_on_as_they_are_sent() {
    let _turn = turn().await;
    let Some([curl, ..]) = find(["curl", "nginx", "haproxy", "openssl"]) else {
        return;
    };
    let server = Server::start();
    let mut throughs = Vec::new();
    let mut rows = Vec::new();
    for proxy in &PROXIES {
        let (_running, address) = proxy.start(server.address);
        throughs.push(Through {
            proxy,
            server: &server,
            curl: &curl,
            address,
            _running,
        });
        let through = throughs.last().unwrap();
        let events = through.events_come_at_once().await;
        let leaves = through.a_client_that_leaves_is_noticed().await;
        let silence = "cut without keep-alives";
        rows.push([proxy.name, events, silence, leaves]);
    }
    let silences = throughs
        .iter()
        .map(Through::keep_alives_outlast_its_timeout);
    within_time(2 * PATIENCE, "streams that are silent", join_all(silences)).await;
    rows.insert(0, ["proxy", "head and events", "silence", "client leaves"]);
    let rows = rows.iter().map(|row| row.map(String::from).to_vec());
    let rows = rows.collect::<Vec<_>>();
    results::check("Proxies", &rows);
}

/// Shows the need for `x-accel-buffering: no`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_buffers_a_response_without_x_accel_buffering() {
    let _turn = turn().await;
    let Some([curl, ..]) = find(["curl", "nginx"]) else {
        return;
    };
    let server = Server::start();
    let proxy = &PROXIES[0];
    let (_running, address) = proxy.start(server.address);
    let through = Through {
        proxy,
        server: &server,
        curl: &curl,
        address,
        _running,
    };
    let (mut client, stream) = through
        .open(|source| {
            let mut answer = sse(Sse::new(source));
            let removed = answer.headers_mut().remove("x-accel-buffering");
            assert_eq!(removed.unwrap(), "no");
            answer
        })
        .await;
    stream.events.send(Event::data("x")).unwrap();
    let ended = Cell::new(false);
    let held_back = async {
        let head = client.until("\r\n\r\n").await;
        assert!(ended.get(), "the head arrived before the end: {head}");
        assert_eq!(client.rest().await, ":\ndata: x\n\n");
    };
    let control = async {
        // Meanwhile, the same nginx passes on later streams, which have the header.
        for n in 0..10 {
            let (mut client, stream) = through.open(|source| sse(Sse::new(source))).await;
            stream.events.send(Event::data(n.to_string())).unwrap();
            client.until(&format!("\r\n\r\n:\ndata: {n}\n\n")).await;
        }
        ended.set(true);
        drop(stream);
    };
    join!(held_back, control);
}

/// A running proxy, with the programs on both sides of it.
struct Through<'a> {
    proxy: &'a Proxy,
    server: &'a Server,
    curl: &'a Path,
    address: SocketAddr,
    _running: Running,
}

/// The server's end of a stream.
struct Upstream {
    events: UnboundedSender<Event>,
    /// The time at which the client was started.
    started: Instant,
    /// The time at which its request reached the server.
    answered: Instant,
}

impl Through<'_> {
    async fn events_come_at_once(&self) -> &'static str {
        // A busy machine may delay any part of a stream, and of the control. But a proxy that
        // delays parts does so in each of several attempts.
        let delays = self.proxy.delays;
        let as_expected = |late: &Duration| (*late >= DELAY / 2) == delays;
        let mut late = self.lateness().await;
        for _ in 0..4 {
            if late.iter().all(as_expected) {
                break;
            }
            let again = self.lateness().await;
            let nearer = if delays { Duration::max } else { Duration::min };
            late = late
                .into_iter()
                .zip(again)
                .map(|(a, b)| nearer(a, b))
                .collect();
        }
        let fastest = late.iter().min().unwrap();
        println!("{}: late by {fastest:?} or more", self.proxy.name);
        assert!(
            late.iter().all(as_expected),
            "{}: {late:?}",
            self.proxy.name
        );
        assert!(*fastest < 2 * DELAY, "{}: {late:?}", self.proxy.name);
        if delays { "200 ms late" } else { "at once" }
    }

    /// Returns the delays that the proxy adds, to the head with the opening and to each event.
    async fn lateness(&self) -> Vec<Duration> {
        let (mut client, stream) = self.open(|source| sse(Sse::new(source))).await;
        let opening = async {
            let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
            client.until(":\n").await;
            (head, stream.answered.elapsed())
        };
        let control = async {
            let (mut client, stream) = self
                .open_at("http", self.server.address, &[], |source| {
                    sse(Sse::new(source))
                })
                .await;
            client.until("\r\n\r\n:\n").await;
            let took = stream.answered.elapsed();
            (client, stream, took)
        };
        let ((head, took), (mut control, control_stream, control_took)) = join!(opening, control);
        let mut late = vec![took.saturating_sub(control_took)];
        assert!(head.contains(self.proxy.head), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        for n in 0..EVENTS {
            let event = Event::data(n.to_string());
            stream.events.send(event.clone()).unwrap();
            control_stream.events.send(event).unwrap();
            let (at, control_at) = join!(arrival(&mut client, n), arrival(&mut control, n));
            late.push(at.saturating_duration_since(control_at));
        }
        late
    }

    async fn keep_alives_outlast_its_timeout(&self) {
        let is_cut = Cell::new(false);
        let without = async {
            let (client, stream) = self
                .open(|source| sse(Sse::new(source).keep_alive(None)))
                .await;
            let what = format!("{} to cut a silent stream", self.proxy.name);
            let body = within_time(10 * READ_TIMEOUT, what, client.rest()).await;
            let took = stream.started.elapsed();
            assert!(body.ends_with(":\n"), "{body}");
            assert!(took > READ_TIMEOUT - COARSE, "cut after {took:?}");
            is_cut.set(true);
        };
        let with = async {
            let every = KeepAlive::new().interval(READ_TIMEOUT / 4).comment("idle");
            let (mut client, stream) = self
                .open(move |source| sse(Sse::new(source).keep_alive(every.clone())))
                .await;
            client.until("\r\n\r\n").await;
            client.until(":\n").await;
            // Lasts until the other stream is cut, and at least twice the timeout.
            while !is_cut.get() || stream.answered.elapsed() < 2 * READ_TIMEOUT {
                assert_eq!(client.until("\n").await, ": idle\n");
            }
            stream.events.send(Event::data("x")).unwrap();
            let event = client.until("data: x\n\n").await;
            assert_eq!(event.trim_start_matches(": idle\n"), "data: x\n\n");
        };
        join!(without, with);
    }

    /// Counts the keep-alives until the server notices that the client has left.
    async fn a_client_that_leaves_is_noticed(&self) -> &'static str {
        let (closes, mut closed) = unbounded_channel();
        // No keep-alives if the proxy notices without, so that nothing else closes the stream.
        let every = (!self.proxy.notices_silence).then(|| KeepAlive::new().interval(KEEP_ALIVE));
        let (mut client, _stream) = self
            .open(move |source| {
                let closes = closes.clone();
                sse(Sse::new(source)
                    .keep_alive(every.clone())
                    .on_close(move |closed| closes.send(closed).unwrap()))
            })
            .await;
        client.until("\r\n\r\n").await;
        client.until(":\n").await;
        drop(client);
        let closed = reported("the report that a client has left", &mut closed).await;
        assert_eq!(closed.reason, CloseReason::ClientGone);
        match closed.keep_alives {
            0 if self.proxy.notices_silence => "noticed at once",
            1 | 2 if !self.proxy.notices_silence => "noticed by the second keep-alive",
            _ => panic!("{}: {closed:?}", self.proxy.name),
        }
    }

    /// Opens a stream through the proxy. Returns the client's end and the server's end.
    async fn open(
        &self,
        respond: impl Fn(Source) -> Answer + Send + Sync + 'static,
    ) -> (Curl, Upstream) {
        let scheme = self.proxy.program.scheme();
        self.open_at(scheme, self.address, self.proxy.curl, respond)
            .await
    }

    async fn open_at(
        &self,
        scheme: &str,
        address: SocketAddr,
        options: &[&str],
        respond: impl Fn(Source) -> Answer + Send + Sync + 'static,
    ) -> (Curl, Upstream) {
        static PATHS: AtomicUsize = AtomicUsize::new(0);
        let path = format!("/{}", PATHS.fetch_add(1, Relaxed));
        let (streams, mut stream) = unbounded_channel();
        let started = Instant::now();
        self.server.route(&path, move |_| {
            let (events, source) = channel();
            let answered = Instant::now();
            let upstream = Upstream {
                events,
                started,
                answered,
            };
            streams.send(upstream).unwrap();
            respond(source)
        });
        let url = format!("{scheme}://{address}{path}");
        let client = Curl::get(self.curl, options, &url);
        let upstream = reported("a request from curl", &mut stream).await;
        (client, upstream)
    }
}

/// Waits for the event with this number, and returns the time of its arrival.
async fn arrival(client: &mut Curl, n: usize) -> Instant {
    assert_eq!(client.until("\n\n").await, format!("data: {n}\n\n"));
    Instant::now()
}

/// The delay that haproxy adds. It writes with `MSG_MORE`, for which Linux waits 200 ms.
const DELAY: Duration = Duration::from_millis(200);
/// The resolution of the proxies' clocks.
const COARSE: Duration = Duration::from_millis(50);
/// An interval that is longer than haproxy takes to close after a failed write.
const KEEP_ALIVE: Duration = Duration::from_millis(800);
const EVENTS: usize = 20;
