//! nginx and haproxy between this crate's server and curl.

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use futures_util::future::join_all;
use http_sse::{CloseReason, Event, KeepAlive, Sse};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, timeout},
};

use crate::{
    curl::Curl,
    proxy::{PROXIES, Proxy, READ_TIMEOUT},
    results,
    server::{A_WHILE, Answer, Server, Source, channel, next, sse},
    tools::{Running, find, turn},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_pass_events_on_as_they_are_sent() {
    let _turn = turn().await;
    let Some([curl, ..]) = find(["curl", "nginx", "haproxy", "openssl"]) else {
        return;
    };
    let server = Server::start().await;
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
        let silence = "cut at the proxy's timeout, but not with keep-alives";
        rows.push([proxy.name, events, silence, leaves]);
    }
    join_all(
        throughs
            .iter()
            .map(Through::keep_alives_outlast_its_timeout),
    )
    .await;
    rows.insert(
        0,
        [
            "proxy",
            "head, opening and each event",
            "silence",
            "client leaves",
        ],
    );
    let rows = rows.iter().map(|row| row.map(String::from).to_vec());
    let rows = rows.collect::<Vec<_>>();
    results::check("Proxies", &rows);
}

/// What `x-accel-buffering: no` is for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_header_nginx_holds_everything_back() {
    let _turn = turn().await;
    let Some([curl, ..]) = find(["curl", "nginx"]) else {
        return;
    };
    let server = Server::start().await;
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
    let early = timeout(A_WHILE, client.until("\r\n")).await;
    assert!(early.is_err(), "not even the head");
    drop(stream);
    assert!(client.rest().await.ends_with("\r\n\r\n:\ndata: x\n\n"));
}

/// A proxy that runs, and what is on both sides of it.
struct Through<'a> {
    proxy: &'a Proxy,
    server: &'a Server,
    curl: &'a Path,
    address: SocketAddr,
    _running: Running,
}

/// The server's end of a stream.
struct Upstream {
    answered: Instant,
    events: UnboundedSender<Event>,
}

impl Through<'_> {
    async fn events_come_at_once(&self) -> &'static str {
        // A machine that does much else may be late; a proxy that buffers is late every time.
        let (range, told) = if self.proxy.delays {
            (DELAY - SOON..DELAY + SOON, "200 ms late")
        } else {
            (Duration::ZERO..SOON, "at once")
        };
        let mut series = Vec::new();
        for _ in 0..5 {
            series = self.series().await;
            if series.iter().all(|took| range.contains(took)) {
                return told;
            }
        }
        panic!("{}: {series:?}", self.proxy.name);
    }

    /// How long the head with the opening and then each event takes.
    async fn series(&self) -> Vec<Duration> {
        let (mut client, stream) = self.open(|source| sse(Sse::new(source))).await;
        let head = client.until("\r\n\r\n").await.to_ascii_lowercase();
        client.until(":\n").await;
        let mut series = vec![stream.answered.elapsed()];
        assert!(head.contains(self.proxy.head), "{head}");
        assert!(
            head.contains("content-type: text/event-stream\r\n"),
            "{head}"
        );
        for n in 0..EVENTS {
            let sent = Instant::now();
            stream.events.send(Event::data(n.to_string())).unwrap();
            assert_eq!(client.until("\n\n").await, format!("data: {n}\n\n"));
            series.push(sent.elapsed());
        }
        series
    }

    async fn keep_alives_outlast_its_timeout(&self) {
        let without = async {
            let (client, stream) = self
                .open(|source| sse(Sse::new(source).keep_alive(None)))
                .await;
            let body = client.rest().await;
            let took = stream.answered.elapsed();
            assert!(body.ends_with(":\n"), "{body}");
            assert!(
                took > READ_TIMEOUT - SOON && took < 2 * READ_TIMEOUT,
                "cut after {took:?}"
            );
        };
        let with = async {
            let every = KeepAlive::new().interval(READ_TIMEOUT / 2).comment("idle");
            let (mut client, stream) = self
                .open(move |source| sse(Sse::new(source).keep_alive(every.clone())))
                .await;
            client.until("\r\n\r\n").await;
            client.until(":\n").await;
            for _ in 0..5 {
                assert_eq!(client.until("\n").await, ": idle\n");
            }
            assert!(stream.answered.elapsed() > 2 * READ_TIMEOUT);
            stream.events.send(Event::data("x")).unwrap();
            assert_eq!(client.until("\n\n").await, "data: x\n\n");
        };
        tokio::join!(without, with);
    }

    async fn a_client_that_leaves_is_noticed(&self) -> &'static str {
        let (closes, mut closed) = unbounded_channel();
        let every = KeepAlive::new().interval(KEEP_ALIVE);
        let (mut client, _stream) = self
            .open(move |source| {
                let closes = closes.clone();
                sse(Sse::new(source)
                    .keep_alive(every.clone())
                    .on_close(move |closed| {
                        closes.send((closed, Instant::now())).unwrap();
                    }))
            })
            .await;
        client.until("\r\n\r\n").await;
        client.until(":\n").await;
        let left = Instant::now();
        drop(client);
        let (closed, at) = next(&mut closed).await;
        let took = at - left;
        assert_eq!(closed.reason, CloseReason::ClientGone);
        if self.proxy.notices_silence {
            assert!(took < 2 * SOON, "{took:?}");
            "noticed at once"
        } else {
            assert!(
                took > KEEP_ALIVE - SOON && took < 2 * KEEP_ALIVE + 2 * SOON,
                "{took:?}"
            );
            "noticed by the second keep-alive"
        }
    }

    /// Opens a stream through the proxy: the client's end and the server's.
    async fn open(
        &self,
        respond: impl Fn(Source) -> Answer + Send + Sync + 'static,
    ) -> (Curl, Upstream) {
        static PATHS: AtomicUsize = AtomicUsize::new(0);
        let path = format!("/{}", PATHS.fetch_add(1, Relaxed));
        let (streams, mut stream) = unbounded_channel();
        self.server.route(&path, move |_| {
            let (events, source) = channel();
            let answered = Instant::now();
            streams.send(Upstream { answered, events }).unwrap();
            respond(source)
        });
        let url = format!("{}://{}{path}", self.proxy.program.scheme(), self.address);
        let client = Curl::get(self.curl, self.proxy.curl, &url);
        (client, next(&mut stream).await)
    }
}

/// How soon something arrives that nobody holds back.
const SOON: Duration = Duration::from_millis(50);
/// What haproxy adds: it writes with `MSG_MORE`, for which Linux waits 200 ms.
const DELAY: Duration = Duration::from_millis(200);
const KEEP_ALIVE: Duration = Duration::from_millis(400);
const EVENTS: usize = 20;
