//! The age of the events that a slow client gets, with each measure against it.
//!
//! `cargo test -p http-sse-frameworks -- --nocapture newest::` prints the table of
//! `src/guide/slow_clients.md`.
#![cfg(target_os = "linux")] // another kernel has buffers of other sizes

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::pending,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use http::Request;
use http_sse::{Event, Hub, Sse, hub::OnLag};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep_until},
};

use crate::{
    deadline::{Background, finished, within},
    serving::{Listener, runtime, serve_each, serving},
};

/// The feed: 100 events of about 1,100 bytes per second.
const PER_SECOND: u64 = 100;
const EVENT: usize = 1_100;

/// The client: 1,000 bytes every 50 ms.
const READ: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(50);

const DURATION: Duration = Duration::from_secs(24);
const INTERVAL: Duration = Duration::from_secs(1);
const SMALL: usize = 16 * 1024;

/// A measure against old events.
#[derive(Clone, Copy)]
struct Measure {
    small_buffers: bool,
    latest_every: bool,
}

impl Measure {
    fn name(self) -> &'static str {
        match (self.small_buffers, self.latest_every) {
            (false, false) => "OnLag::Latest",
            (true, false) => "OnLag::Latest, 16 kB buffers",
            (false, true) => "latest_every(1 s)",
            (true, true) => "latest_every(1 s), 16 kB buffers",
        }
    }
}

/// The number of the last event that was published.
static PUBLISHED: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_slow_client_gets_new_events_with_the_right_measures() {
    let ages = runtime(1).block_on(async {
        let hub = Hub::builder().history(1).build();
        let feed = Background::spawn(publish(hub.clone()));
        let [small, large] = [true, false].map(|small_buffers| {
            let (listener, address) = Listener::open(|socket| {
                if small_buffers {
                    socket.set_send_buffer_size(SMALL).unwrap();
                }
            });
            let server = serve(listener, hub.clone(), small_buffers);
            (Background::spawn(server), address)
        });
        let mut clients = Vec::new();
        for (address, small_buffers) in [(&large.1, false), (&small.1, true)] {
            let address = address.get();
            for latest_every in [false, true] {
                let measure = Measure {
                    small_buffers,
                    latest_every,
                };
                clients.push((measure, tokio::spawn(age(address, measure))));
            }
        }
        let mut ages = Vec::new();
        for (measure, client) in clients {
            let age = finished("the age of the last event", client).await;
            println!("{}: {:.1} s", measure.name(), age.as_secs_f64());
            ages.push(age);
        }
        drop((feed, small, large));
        ages
    });
    let [nothing, latest_every, small_buffers, both] = ages[..] else {
        panic!("{ages:?}");
    };
    // On a busy machine, the client reads less.
    assert!(nothing > 2 * small_buffers, "{ages:?}");
    assert!(small_buffers > both, "{ages:?}");
    for age in [latest_every, both] {
        assert!(age < 3 * INTERVAL, "{ages:?}");
    }
}

async fn publish(hub: Hub) {
    let start = Instant::now();
    for number in 1_u64.. {
        sleep_until(start + Duration::from_secs(number) / PER_SECOND as u32).await;
        let mut data = number.to_string();
        write!(data, " {}", "x".repeat(EVENT)).unwrap();
        PUBLISHED.store(number, Relaxed); // before a client can read it
        hub.publish("feed", Event::data(data)).unwrap();
    }
}

async fn serve(listener: Listener, hub: Hub, small_buffers: bool) {
    serve_each(listener.tokio(), pending::<()>(), |tcp| {
        let hub = hub.clone();
        async move {
            let respond = |request: Request<hyper::body::Incoming>| {
                let feed = hub.subscribe(["feed"]).on_lag(OnLag::Latest);
                let feed = match request.uri().path() {
                    "/latest_every" => feed.latest_every(INTERVAL),
                    _ => feed,
                };
                async { Ok::<_, Infallible>(Sse::new(feed).into_response()) }
            };
            let mut http = hyper::server::conn::http1::Builder::new();
            if small_buffers {
                http.max_buf_size(SMALL);
            }
            let io = TokioIo::new(tcp);
            _ = serving(http.serve_connection(io, service_fn(respond))).await;
        }
    })
    .await;
}

/// Reads slowly. Returns the age of the last event that was read in whole.
async fn age(address: SocketAddr, measure: Measure) -> Duration {
    let path = if measure.latest_every {
        "latest_every"
    } else {
        "latest"
    };
    let stream = within("a connection", TcpStream::connect(address)).await;
    let mut stream = stream.unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let sent = within("the request", stream.write_all(request.as_bytes())).await;
    sent.unwrap();

    let start = Instant::now();
    let mut next = start;
    let mut wire = Vec::new();
    let mut piece = vec![0; READ];
    while start.elapsed() < DURATION {
        let read = within("some bytes", stream.read(&mut piece)).await.unwrap();
        wire.extend_from_slice(&piece[..read]);
        next += PAUSE;
        sleep_until(next).await;
    }
    let wire = String::from_utf8(wire).unwrap();
    let (whole, _) = wire.rsplit_once("\n\n").unwrap();
    let (_, data) = whole.rsplit_once("data: ").unwrap();
    let (number, _) = data.split_once(' ').unwrap();
    let behind = PUBLISHED.load(Relaxed) - number.parse::<u64>().unwrap();
    Duration::from_secs(behind) / PER_SECOND as u32
}
