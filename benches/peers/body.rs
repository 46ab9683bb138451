//! Compares every peer from a stream that is always ready to the bytes of a body.
//!
//! `cargo bench -p http-sse-peers --bench body` prints tables in nanoseconds per event. It then
//! prints the ratios to axum, to the best peer and to a copy of the bytes, with their bounds.
//! The cases are timed in turns.

use std::{hint::black_box, time::Instant};

use http_sse_peers::{
    ActixWebLab, Axum, Copy, HttpSse, HttpSseConstant, HttpSseEncode, HttpSseEncoded, Payload,
    Peer, Poem, Rocket, Salvo, SseStream, Warp, assert_same_events, ceiling_label, floor_label,
    in_runtime,
};

const ROUNDS: usize = 31;

/// The floors of a payload: times less than axum, and times less than the best peer.
const FLOORS: [(&str, f64, f64); 7] = [
    ("tick", 10.0, 3.0),
    ("token", 10.0, 3.0),
    ("token+id+event", 7.5, 2.3),
    ("json1k", 6.0, 2.3),
    ("text16k", 1.25, 1.25),
    ("line64k", 1.0, 1.0),
    ("line64k, JSON", 1.8, 1.8),
];

/// The ceilings of the rows that are compared with a copy of the bytes, for `token`.
const CEILINGS: [(&str, f64); 3] = [
    (HttpSseEncoded::NAME, 2.0),
    (HttpSseConstant::NAME, 2.0),
    (HttpSseEncode::NAME, 4.0),
];

/// The payloads of one printed table.
const COLUMNS: usize = 4;

struct Case {
    name: &'static str,
    run: fn(Payload) -> usize,
    is_peer: bool,
}

fn case<P: Peer>(is_peer: bool) -> Case {
    Case {
        name: P::NAME,
        run: |payload| {
            let mut bytes = 0;
            P::run(payload, |frame| bytes += black_box(frame).len());
            bytes
        },
        is_peer,
    }
}

fn main() {
    let cases = [
        case::<HttpSse>(false),
        case::<HttpSseEncoded>(false),
        case::<HttpSseConstant>(false),
        case::<HttpSseEncode>(false),
        case::<Copy>(false),
        case::<Axum>(true),
        case::<ActixWebLab>(true),
        case::<SseStream>(true),
        case::<Warp>(true),
        case::<Poem>(true),
        case::<Salvo>(true),
        case::<Rocket>(true),
    ];
    in_runtime(|| {
        assert_same_events();
        let columns: Vec<Vec<f64>> = Payload::all()
            .iter()
            .map(|payload| nanos(&cases, *payload))
            .collect();
        print_tables(&cases, &columns);
        print_ratios(&cases, &columns);
    });
}

/// Returns the medians in nanoseconds per event.
///
/// The median is infinite if a case does not support the payload.
fn nanos(cases: &[Case], payload: Payload) -> Vec<f64> {
    let plain = !payload.all_fields && !payload.owned && payload.json.is_none();
    let applies = |case: &Case| match case.name {
        HttpSseEncoded::NAME | HttpSseConstant::NAME | HttpSseEncode::NAME | Copy::NAME => plain,
        _ => true,
    };
    let mut times = vec![Vec::new(); cases.len()];
    for _ in 0..ROUNDS {
        for (case, times) in cases.iter().zip(&mut times) {
            if applies(case) {
                let start = Instant::now();
                black_box((case.run)(payload));
                times.push(start.elapsed());
            }
        }
    }
    let per_event = times.into_iter().map(|mut times| {
        times.sort();
        let median = times.get(ROUNDS / 2);
        median.map_or(f64::INFINITY, |time| {
            time.as_nanos() as f64 / payload.events as f64
        })
    });
    per_event.collect()
}

fn print_tables(cases: &[Case], columns: &[Vec<f64>]) {
    let number = |nanos: f64| match nanos {
        nanos if nanos.is_infinite() => String::new(),
        nanos if nanos < 100.0 => format!("{nanos:.1}"),
        nanos => format!("{nanos:.0}"),
    };
    let payloads = Payload::all();
    for (names, columns) in payloads.chunks(COLUMNS).zip(columns.chunks(COLUMNS)) {
        let names: Vec<_> = names.iter().map(|payload| payload.name).collect();
        println!("| ns per event | {} |", names.join(" | "));
        println!("|---|{}", "---:|".repeat(names.len()));
        for (row, case) in cases.iter().enumerate() {
            let cells: Vec<_> = columns.iter().map(|column| number(column[row])).collect();
            println!("| {} | {} |", case.name, cells.join(" | "));
        }
        println!();
    }
}

fn print_ratios(cases: &[Case], columns: &[Vec<f64>]) {
    let row = |name| cases.iter().position(|case| case.name == name).unwrap();
    let (ours, axum, copy) = (row(HttpSse::NAME), row(Axum::NAME), row(Copy::NAME));
    for (name, than_axum, than_best) in FLOORS {
        let payload = Payload::all()
            .iter()
            .position(|payload| payload.name == name);
        let column = &columns[payload.unwrap()];
        let peers = cases.iter().zip(column).filter(|(case, _)| case.is_peer);
        let (best, nanos) = peers.min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        for (peer, nanos, floor) in [
            ("axum".to_owned(), column[axum], than_axum),
            (format!("the best peer, {}", best.name), *nanos, than_best),
        ] {
            let ratio = nanos / column[ours];
            let label = floor_label(ratio, floor);
            println!("body/{name}: {ratio:.2}x less than {peer}{label}");
        }
        if name == "token" {
            for (name, ceiling) in CEILINGS {
                let ratio = column[row(name)] / column[copy];
                let label = ceiling_label(ratio, ceiling);
                println!("body/token, {name}: {ratio:.2} of a copy{label}");
            }
        }
    }
}
