//! The rate of appends, compared with that of `XADD` with the same payload.

use std::{cell::Cell, time::Instant};

use futures_util::future::LocalBoxFuture;
use http_sse::{
    EncodedEvent, Event,
    hub::{EventLog as _, Record, RedisLog},
};

use crate::{PAYLOAD, median, repeat, runtime, server::Server};

/// The measurements of each competitor, taken in turns.
const ROUNDS: usize = 9;

/// The appends at once, and the appends of one measurement.
const CASES: [(&str, usize, usize); 2] =
    [("one at a time", 1, 2_000), ("64 in flight", 64, 50_000)];

const NAMES: [&str; 3] = ["http-sse", "http-sse, with an idempotency key", "`XADD`"];

/// Appends an event.
type Append<'a> = Box<dyn Fn() -> LocalBoxFuture<'a, ()> + 'a>;

pub(crate) fn run(server: &Server) {
    println!(
        "| | {} | us of Redis CPU |",
        CASES.map(|case| case.0).join(" | ")
    );
    println!("|---|---:|---:|---:|");
    let [one, many] = CASES.map(|(_, at_once, count)| measure(server, at_once, count));
    for (row, name) in NAMES.iter().enumerate() {
        let (one, (many, cpu)) = (one[row].0, many[row]);
        println!("| {name} | {one:.0} | {many:.0} | {cpu:.1} |");
    }
    for ((case, ..), rates) in CASES.into_iter().zip([one, many]) {
        for row in 0..2 {
            let ratio = rates[row].0 / rates[2].0;
            println!(
                "append/{case}: {} {ratio:.2}x as fast as `XADD`",
                NAMES[row]
            );
        }
    }
}

/// Returns the appends per second of each competitor, and the CPU time of Redis for each append.
fn measure(server: &Server, at_once: usize, count: usize) -> [(f64, f64); 3] {
    runtime().block_on(async {
        let log = RedisLog::connect(&server.url).await.unwrap();
        let connection = server.connect().await;
        let keys = Cell::new(0);
        let record = Record::Event {
            event: EncodedEvent::new(Event::data(&**PAYLOAD)).unwrap(),
            coalesce: None,
        };
        let append = async |key: Option<&str>| {
            log.append("topic", record.clone(), key).await.unwrap();
        };
        let competitors: [Append<'_>; 3] = [
            Box::new(|| Box::pin(append(None))),
            Box::new(|| {
                keys.set(keys.get() + 1);
                let key = keys.get().to_string();
                Box::pin(async move { append(Some(&key)).await })
            }),
            Box::new(|| {
                let mut connection = connection.clone();
                let mut add = redis::cmd("XADD");
                add.arg(&["bare", "MAXLEN", "~", "100000", "*", "d", &PAYLOAD]);
                Box::pin(async move { add.exec_async(&mut connection).await.unwrap() })
            }),
        ];
        let mut figures = [const { (Vec::new(), Vec::new()) }; 3];
        for _ in 0..ROUNDS {
            for (append, (rates, cpus)) in competitors.iter().zip(&mut figures) {
                let append = async || append().await;
                server.clear().await;
                repeat(at_once, at_once, &append).await;
                let (cpu, start) = (server.cpu().await, Instant::now());
                repeat(count, at_once, append).await;
                rates.push(count as f64 / start.elapsed().as_secs_f64());
                cpus.push((server.cpu().await - cpu) / count as f64);
            }
        }
        figures.map(|(rates, cpus)| (median(rates), median(cpus)))
    })
}
