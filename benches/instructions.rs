//! Instructions per event on the paths that have promises, counted by callgrind: what noise does
//! not move. They are held to `instructions.txt` with a tolerance of 3 %, if the compiler is the
//! one that they were stored for.
//!
//! `cargo bench --bench instructions` prints and checks, `-- --store` stores them.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    env, fs,
    hint::black_box,
    io::ErrorKind,
    path::Path,
    pin::{Pin, pin},
    process::{Command, ExitCode},
    task::{Context, Poll, Waker},
};

use axum::response::{IntoResponse as _, sse};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body::Body;
use http_sse::{Connections, Decoder, EncodedEvent, Event, EventType, Hub, Sse};

const TICK: &str = "1234567890.12345";
/// What an LLM sends for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;
const DELTA: EventType = EventType::from_static("delta");

/// What is counted, by the number of events or deliveries.
type Run = fn(u64);

const OURS: [(&str, Run); 11] = [
    ("body/tick", |n| {
        drain(ready(n, |_| Event::data(black_box(TICK))))
    }),
    ("body/token", |n| drain(ready(n, token))),
    ("body/token, id, event type", |n| {
        drain(ready(n, |n| token(n).event_type(DELTA).id(n)));
    }),
    ("body/token, encoded before", |n| {
        let event = EncodedEvent::from(token(0));
        drain(ready(n, move |_| event.clone()));
    }),
    ("body/token, of Connections", |n| {
        let connections = Connections::new();
        let permit = connections.admit("a").unwrap();
        let source = stream::iter((0..n).map(token));
        drain(Sse::new(source).connection(permit).into_body());
    }),
    (SPARSE, |n| {
        drain(Sse::new(one_per_wake(n, token)).into_body())
    }),
    ("encode/token", |n| {
        let mut buffer = BytesMut::with_capacity(256);
        for n in 0..n {
            buffer.clear();
            let Ok(()) = http_sse::encode(token(n), &mut buffer);
            black_box(&buffer);
        }
    }),
    ("decode/token", |n| {
        let wire = format!("data: {TOKEN}\n\n");
        let mut decoder = Decoder::new();
        for _ in 0..n {
            let mut chunk = black_box(wire.as_bytes());
            while let Some(decoded) = decoder.next(&mut chunk).unwrap() {
                black_box(decoded);
            }
        }
    }),
    ("hub/one event per wake", |n| deliver(n, 1)),
    ("hub/8 events per wake", |n| deliver(n, 8)),
    ("hub/64 events per wake", |n| deliver(n, 64)),
];

const SPARSE: &str = "body/token, one per wake";

/// What it is compared with: a sparse stream must not cost more than axum's.
const AXUMS_SPARSE: (&str, Run) = ("axum's body/token, one per wake", |n| {
    let source = one_per_wake(n, |_| sse::Event::default().data(black_box(TOKEN)));
    let sse = sse::Sse::new(source.map(Ok::<_, Infallible>));
    let sse = sse.keep_alive(sse::KeepAlive::default());
    drain(sse.into_response().into_body());
});

fn token(_: u64) -> Event {
    Event::data(black_box(TOKEN))
}

fn ready<T: http_sse::Encode>(n: u64, item: impl Fn(u64) -> T) -> impl Body<Data = Bytes> {
    Sse::new(stream::iter((0..n).map(item))).into_body()
}

/// Yields an item every other time.
fn one_per_wake<T>(n: u64, item: impl Fn(u64) -> T) -> impl Stream<Item = T> {
    let mut polls = 0;
    stream::poll_fn(move |_| {
        polls += 1;
        match polls % 2 {
            0 => Poll::Pending,
            _ if polls / 2 == n => Poll::Ready(None),
            _ => Poll::Ready(Some(item(polls / 2))),
        }
    })
}

fn drain(body: impl Body<Data = Bytes>) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(frame)) => _ = black_box(frame.ok().unwrap()),
            Poll::Ready(None) => return,
            Poll::Pending => {}
        }
    }
}

/// Publishes to a hundred subscribers, and lets each read and wait.
fn deliver(deliveries: u64, burst: u64) {
    const SUBSCRIBERS: u64 = 100;
    let hub = Hub::new();
    let mut subscriptions: Vec<_> = (0..SUBSCRIBERS).map(|_| hub.subscribe(["a"])).collect();
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..deliveries / SUBSCRIBERS / burst {
        for n in 0..burst {
            hub.publish("a", token(n)).unwrap();
        }
        for subscription in &mut subscriptions {
            while let Poll::Ready(events) = Pin::new(&mut *subscription).poll_next(&mut cx) {
                black_box(events);
            }
        }
    }
}

/// Runs a case under callgrind, and tells the instructions that an event costs: those that twice
/// as many events cost more. `None` if there is no callgrind.
fn count(name: &str) -> Option<f64> {
    const EVENTS: u64 = 64_000;
    let [less, more] = [EVENTS, 2 * EVENTS].map(|events| {
        let valgrind = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().unwrap())
            .args(["run", name, &events.to_string()])
            .output();
        let output = match valgrind {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            output => output.unwrap(),
        };
        let report = String::from_utf8(output.stderr).unwrap();
        let collected = report.split("Collected : ").nth(1);
        let collected = collected.unwrap_or_else(|| panic!("{report}"));
        collected
            .split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .ok()
    });
    Some((more? - less?) as f64 / EVENTS as f64)
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [_, name, events] = &arguments[..] {
        let mut cases = OURS.into_iter().chain([AXUMS_SPARSE]);
        let (_, run) = cases.find(|case| case.0 == name).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        run(events.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    const TOLERANCE: f64 = 0.03;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let stored = fs::read_to_string(&path).unwrap_or_default();
    let mut lines = stored.lines();
    let stored_for = lines.next().unwrap_or_default();
    let stored: BTreeMap<&str, f64> = lines
        .filter_map(|line| line.rsplit_once(": "))
        .map(|(name, count)| (name, count.parse().unwrap()))
        .collect();
    let compiler = compiler();
    let same_compiler = stored_for == compiler;
    if !same_compiler {
        println!("{stored_for:?} is what they were stored for, and this is {compiler:?}");
    }
    let (mut all, mut sparse, mut off) = (format!("{compiler}\n"), 0.0, Vec::new());
    for (name, _) in OURS {
        let Some(count) = count(name) else {
            println!("skipped: there is no valgrind");
            assert!(env::var("HTTP_SSE_REAL").is_err(), "it is required");
            return ExitCode::SUCCESS;
        };
        all += &format!("{name}: {count:.1}\n");
        if name == SPARSE {
            sparse = count;
        }
        match stored.get(name) {
            Some(before) => {
                let change = count / before - 1.0;
                println!("{name}: {count:.1} instructions, {:+.1} %", 100.0 * change);
                if same_compiler && change.abs() > TOLERANCE {
                    off.push(name);
                }
            }
            None => println!("{name}: {count:.1} instructions"),
        }
    }
    let axums = count(AXUMS_SPARSE.0).unwrap();
    println!("{}: {axums:.1} instructions", AXUMS_SPARSE.0);
    if sparse > axums {
        off.push(SPARSE);
    }
    if arguments.iter().any(|argument| argument == "--store") {
        fs::write(path, all).unwrap();
    } else if !off.is_empty() {
        println!("not as stored, or more than axum's: {off:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
