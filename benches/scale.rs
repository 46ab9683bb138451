//! Measures costs as numbers grow: per event, per delivery to a subscriber, and per idle stream.
//!
//! `cargo bench --bench scale` prints tables and writes a plot of them to `benches/scale.svg`.
#![allow(clippy::unwrap_used)]

use std::{
    fmt::Write as _,
    fs,
    hint::black_box,
    path::Path,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Instant,
};

use allocation_counter::measure;
use futures_util::{Stream as _, stream};
use http_body::Body;
use http_sse::{Connections, Event, Hub, Sse};

/// A chunk of an LLM's response, for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;
const ROUNDS: usize = 9;

/// The deviation from its middle that a flat curve may have, in percent.
const MAX_DEVIATION: f64 = 20.0;

/// A cost as a function of a number.
struct Curve {
    /// The cost and its unit.
    title: &'static str,
    /// The things that are counted.
    of: &'static str,
    /// The curve must be flat from this number on.
    flat_from: u64,
    points: Vec<(u64, f64)>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the time of a body of this many events, in nanoseconds.
fn body(events: u64) -> f64 {
    let start = Instant::now();
    let source = stream::iter((0..events).map(|_| Event::data(black_box(TOKEN))));
    let mut body = pin!(Sse::new(source).into_body());
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
        black_box(frame.unwrap());
    }
    start.elapsed().as_nanos() as f64
}

/// Measures the time per event, without the cost of a body of one event.
fn per_event() -> Curve {
    let point = |events: u64| {
        let repeat = (1_000_000 / events).max(1);
        let times = |events| (0..repeat).map(|_| body(events)).sum::<f64>() / repeat as f64;
        let rounds = (0..ROUNDS).map(|_| (times(events) - times(1)) / (events - 1) as f64);
        (events, median(rounds.collect()))
    };
    Curve {
        title: "ns per event",
        of: "events of one stream",
        flat_from: 10,
        points: (1..=7).map(|digits| point(10_u64.pow(digits))).collect(),
    }
}

/// Measures the time per delivery, publishing included.
///
/// Each subscription is polled until it is pending, as a task would.
fn per_delivery() -> Curve {
    let point = |subscribers: u64| {
        let hub = Hub::new();
        let mut all: Vec<_> = (0..subscribers).map(|_| hub.subscribe(["a"])).collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut publish = || {
            hub.publish("a", Event::data(TOKEN)).unwrap();
            for subscription in &mut all {
                while let Poll::Ready(events) = Pin::new(&mut *subscription).poll_next(&mut cx) {
                    black_box(events);
                }
            }
        };
        publish();
        let repeat = (500_000 / subscribers).max(1);
        let rounds = (0..ROUNDS).map(|_| {
            let start = Instant::now();
            (0..repeat).for_each(|_| publish());
            start.elapsed().as_nanos() as f64 / (repeat * subscribers) as f64
        });
        (subscribers, median(rounds.collect()))
    };
    Curve {
        title: "ns per delivery",
        of: "subscribers of one topic",
        flat_from: 100,
        points: (0..=5).map(|digits| point(10_u64.pow(digits))).collect(),
    }
}

/// Measures the heap per idle stream of a hub, with its permit and timer, without a socket.
fn per_connection() -> Curve {
    let point = |streams: u64| {
        let hub = Hub::new();
        let connections = Connections::new();
        let mut bodies = Vec::with_capacity(streams as usize);
        let mut cx = Context::from_waker(Waker::noop());
        let heap = measure(|| {
            for _ in 0..streams {
                let permit = connections.admit("a").unwrap();
                let events = hub.subscribe(["a"]);
                let mut body = Box::pin(Sse::new(events).permit(permit).into_body());
                while body.as_mut().poll_frame(&mut cx).is_ready() {}
                bodies.push(body);
            }
        });
        (streams, heap.bytes_current as f64 / streams as f64)
    };
    let counts = [1, 10, 100, 1_000, 10_000, 50_000];
    Curve {
        title: "bytes of heap per stream",
        of: "idle streams of a hub",
        flat_from: 100,
        points: counts.map(point).to_vec(),
    }
}

/// Draws the curves side by side: the number on a logarithmic scale, the cost on a linear one.
fn svg(curves: &[Curve]) -> String {
    const WIDTH: f64 = 320.0;
    const HEIGHT: f64 = 220.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#666b73\">\n",
        WIDTH * curves.len() as f64,
    );
    for (curve, left) in curves.iter().zip(0..) {
        let left = f64::from(left) * WIDTH;
        let most = curve.points.iter().map(|point| point.1).fold(0.0, f64::max) * 1.25;
        let last = (curve.points.last().unwrap().0 as f64).log10().max(1.0);
        let x = |count: u64| left + 40.0 + (count as f64).log10() / last * (WIDTH - 70.0);
        let y = |cost: f64| HEIGHT - 40.0 - cost / most * (HEIGHT - 80.0);
        let (bottom, right) = (y(0.0), left + WIDTH - 30.0);
        let start = left + 40.0;
        writeln!(
            svg,
            "<text x=\"{start}\" y=\"24\" font-size=\"13\">{}</text>",
            curve.title
        )
        .unwrap();
        writeln!(
            svg,
            "<path d=\"M{start} 36V{bottom}H{right}\" fill=\"none\" stroke=\"#9aa0a8\"/>"
        )
        .unwrap();
        writeln!(
            svg,
            "<text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            HEIGHT - 6.0,
            curve.of
        )
        .unwrap();
        let line: Vec<String> = curve
            .points
            .iter()
            .map(|(count, cost)| format!("{:.1},{:.1}", x(*count), y(*cost)))
            .collect();
        writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#2457b5\" stroke-width=\"2\"/>",
            line.join(" ")
        )
        .unwrap();
        for (count, cost) in &curve.points {
            let (x, y) = (x(*count), y(*cost));
            writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#2457b5\"/>"
            )
            .unwrap();
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{cost:.0}</text>",
                y - 8.0
            )
            .unwrap();
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 14.0,
                short(*count)
            )
            .unwrap();
        }
    }
    svg + "</svg>\n"
}

fn short(count: u64) -> String {
    match count {
        1_000_000.. => format!("{}M", count / 1_000_000),
        1_000.. => format!("{}k", count / 1_000),
        _ => count.to_string(),
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let curves = [per_event(), per_delivery(), per_connection()];
    for curve in &curves {
        let counts: Vec<_> = curve.points.iter().map(|point| short(point.0)).collect();
        let costs: Vec<_> = curve
            .points
            .iter()
            .map(|point| format!("{:.1}", point.1))
            .collect();
        println!("| {} | {} |", curve.of, counts.join(" | "));
        println!("|---|{}", "---:|".repeat(counts.len()));
        println!("| {} | {} |", curve.title, costs.join(" | "));
        let flat = curve
            .points
            .iter()
            .filter(|point| point.0 >= curve.flat_from);
        let costs = flat.map(|point| point.1);
        let (least, most) = (
            costs.clone().fold(f64::INFINITY, f64::min),
            costs.fold(0.0, f64::max),
        );
        let middle = (least + most) / 2.0;
        let off = 100.0 * (most / middle - 1.0);
        let label = if off <= MAX_DEVIATION {
            format!(" (ceiling {MAX_DEVIATION} %)")
        } else {
            format!(", above the ceiling of {MAX_DEVIATION} %")
        };
        println!(
            "\nFlat within {off:.0} % from {} on{label}\n",
            short(curve.flat_from)
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scale.svg");
    fs::write(path, svg(&curves)).unwrap();
}
