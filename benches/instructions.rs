//! Counts instructions per event with callgrind, which does not depend on the load of the machine.
//!
//! `instructions.txt` has the counts per compiler. The benchmark fails if a count differs from the
//! stored one by more than 3 %. If none is stored for the compiler, it warns and compares with
//! those of the nearest version. It then fails if a difference is greater than 15 %.
//!
//! `cargo bench --bench instructions` prints and checks the counts. With `-- --store` it stores
//! them for this compiler instead.
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
use http_sse::{Connections, EncodedEvent, Event, EventType, Hub, Sse, decode::Decoder};

const TICK: &str = "1234567890.12345";
/// A chunk of an LLM's response, for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;
/// The greatest difference from the stored count of the same compiler.
const TOLERANCE: f64 = 0.03;
/// The greatest difference from the stored count of another compiler.
const OTHER_COMPILER_TOLERANCE: f64 = 0.15;

const DELTA: EventType = EventType::from_static("delta");

/// A case, which takes the number of events or deliveries.
type Run = fn(u64);

const OURS: [(&str, Run); 11] = [
    ("body/tick", |n| {
        drain(ready(n, |_| Event::data(black_box(TICK))))
    }),
    ("body/token", |n| drain(ready(n, token))),
    ("body/token, id, event type", |n| {
        drain(ready(n, |n| token(n).event_type(DELTA).id(n)));
    }),
    ("body/token, pre-encoded", |n| {
        let event = EncodedEvent::from(token(0));
        drain(ready(n, move |_| event.clone()));
    }),
    ("body/token, with a permit", |n| {
        let connections = Connections::new();
        let permit = connections.admit("a").unwrap();
        let source = stream::iter((0..n).map(token));
        drain(Sse::new(source).permit(permit).into_body());
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
            while let Some(decoded) = decoder.decode(&mut chunk).unwrap() {
                black_box(decoded);
            }
        }
    }),
    ("hub/one event per wake", |n| deliver(n, 1)),
    ("hub/8 events per wake", |n| deliver(n, 8)),
    ("hub/64 events per wake", |n| deliver(n, 64)),
];

const SPARSE: &str = "body/token, one per wake";

/// The same with axum. A sparse stream must not take more instructions than this.
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

/// Returns a stream that yields an item at every other poll.
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

/// Publishes bursts to a hundred subscribers, and polls each until it is pending.
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

/// Runs a case under callgrind and returns the instructions per event.
///
/// The result is the difference between two runs, of which one has twice as many events. That
/// leaves out everything that happens once. Returns `None` if valgrind is not installed.
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
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.txt");
    let mut stored = Stored::read(&path);
    let compiler = compiler();
    let Some((known, before)) = stored.nearest(&compiler) else {
        panic!("{path:?} has no counts");
    };
    let same_compiler = known == compiler;
    let tolerance = if same_compiler {
        TOLERANCE
    } else {
        OTHER_COMPILER_TOLERANCE
    };
    let warning = format!(
        "WARNING: no counts are stored for {compiler}. The counts are compared with those of \
         {known}, within {} % instead of {} %. `cargo bench --bench instructions -- --store` stores them.",
        100.0 * OTHER_COMPILER_TOLERANCE,
        100.0 * TOLERANCE,
    );
    if !same_compiler {
        println!("{warning}");
    }
    let (mut counts, mut off) = (Counts::new(), Vec::new());
    for (name, _) in OURS {
        let Some(count) = count(name) else {
            println!("skipped: valgrind is not installed");
            assert!(env::var("HTTP_SSE_REAL").is_err(), "valgrind is required");
            return ExitCode::SUCCESS;
        };
        counts.insert(name.to_owned(), count);
        match before.get(name) {
            Some(before) => {
                let change = count / before - 1.0;
                println!("{name}: {count:.1} instructions, {:+.1} %", 100.0 * change);
                if change.abs() > tolerance {
                    off.push(name);
                }
            }
            None => {
                println!("{name}: {count:.1} instructions, no stored count");
                off.push(name);
            }
        }
    }
    let axums = count(AXUMS_SPARSE.0).unwrap();
    println!("{}: {axums:.1} instructions", AXUMS_SPARSE.0);
    if counts[SPARSE] > axums {
        off.push(SPARSE);
    }
    if arguments.iter().any(|argument| argument == "--store") {
        stored.0.insert(compiler, counts);
        stored.write(&path);
        return ExitCode::SUCCESS;
    }
    if !same_compiler {
        println!("{warning}");
    }
    if !off.is_empty() {
        println!("different from the stored count, or more than axum: {off:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Instructions per event for each case, by name.
type Counts = BTreeMap<String, f64>;

/// The counts of each compiler. The key is the output of `rustc --version`.
struct Stored(BTreeMap<String, Counts>);

impl Stored {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        let mut stored = BTreeMap::<String, Counts>::new();
        let mut compiler = "";
        for line in text.lines().filter(|line| !line.is_empty()) {
            match line.rsplit_once(": ") {
                None => compiler = line,
                Some((name, count)) => {
                    let counts = stored.entry(compiler.to_owned()).or_default();
                    counts.insert(name.to_owned(), count.parse().unwrap());
                }
            }
        }
        Self(stored)
    }

    fn write(&self, path: &Path) {
        let sections = self.0.iter().map(|(compiler, counts)| {
            let count = |name| {
                counts
                    .get(name)
                    .map(|count| format!("{name}: {count:.1}\n"))
            };
            let lines: String = OURS.iter().filter_map(|(name, _)| count(*name)).collect();
            format!("{compiler}\n{lines}")
        });
        fs::write(path, sections.collect::<Vec<_>>().join("\n")).unwrap();
    }

    /// Returns the counts of this compiler, or of the one with the nearest version.
    fn nearest(&self, compiler: &str) -> Option<(String, Counts)> {
        let distance = |known: &str| (known != compiler, minor(known).abs_diff(minor(compiler)));
        let nearest = self.0.iter().min_by_key(|(known, _)| distance(known));
        nearest.map(|(known, counts)| (known.clone(), counts.clone()))
    }
}

/// Returns 95 for `rustc 1.95.0 (59807616e 2026-04-14)`.
fn minor(compiler: &str) -> u32 {
    let minor = compiler.split('.').nth(1);
    minor.and_then(|minor| minor.parse().ok()).unwrap()
}
