//! Measures the CPU time that a server spends to deliver an event to each of a thousand clients.
//!
//! `cargo bench -p http-sse-peers --bench fanout` compares three kinds of server over loopback:
//!
//! - this crate's hub on a stock `axum::serve`,
//! - each peer with a `tokio::sync::broadcast` channel,
//! - a loop of raw writes of pre-encoded bytes.
//!
//! A server is a process of its own with one thread. Its cost is the CPU time that the kernel
//! counts. A burst is published after every client has received the previous one.

use std::process::Command;

use http_sse_peers::{ceiling_label, floor_label, was_server};

use self::{
    clients::Server,
    servers::{AXUM, OURS, RAW, SERVERS},
};

mod clients;
mod servers;

const CLIENTS: u64 = 1_000;

/// One column: its name, whether it uses HTTP/2, the events per wake, and its bounds.
///
/// The bounds are the floor (times less than axum) and the ceiling (relative to raw writes).
type Case = (&'static str, bool, u64, f64, Option<f64>);

/// There are no raw writes over HTTP/2, and so no ceiling.
const CASES: [Case; 4] = [
    ("HTTP/1.1, 1 event per wake", false, 1, 1.15, Some(1.35)),
    ("HTTP/1.1, 16", false, 16, 1.9, Some(1.25)),
    ("HTTP/2, 1", true, 1, 1.5, None),
    ("HTTP/2, 16", true, 16, 2.3, None),
];

fn main() {
    if was_server(SERVERS.map(|(name, _, run)| (name, run))) {
        return;
    }
    // Each process needs a descriptor per client. The soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // The servers run on core 0, and the clients on core 1.
    let this = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", "1", &this]).output();
    assert!(pinned.unwrap().status.success());

    let columns = CASES.map(|(_, http2, burst, ..)| measure(http2, burst));
    let names = CASES.map(|(name, ..)| name);
    println!("| ns of server CPU per delivery | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(CASES.len()));
    for (row, (name, ..)) in SERVERS.iter().enumerate() {
        let cells = columns.each_ref().map(|column| match column[row] {
            Some(nanos) => format!("{nanos:.0}"),
            None => String::new(),
        });
        println!("| {name} | {} |", cells.join(" | "));
    }
    for ((case, _, _, floor, ceiling), column) in CASES.into_iter().zip(columns) {
        let nanos = |name| {
            let row = SERVERS.iter().position(|server| server.0 == name);
            column[row.unwrap()]
        };
        let ours = nanos(OURS).unwrap();
        let ratio = nanos(AXUM).unwrap() / ours;
        let label = floor_label(ratio, floor);
        println!("fanout/{case}: {ratio:.2}x less than axum{label}");
        if let (Some(raw), Some(ceiling)) = (nanos(RAW), ceiling) {
            let ratio = ours / raw;
            let label = ceiling_label(ratio, ceiling);
            println!("fanout/{case}: {ratio:.2} of raw writes{label}");
        }
    }
}

/// Returns the median of each server, in nanoseconds per delivery.
///
/// Returns `None` for a server without HTTP/2 if `http2` is set.
fn measure(http2: bool, burst: u64) -> Vec<Option<f64>> {
    /// Measurements of each server, taken in turns.
    const ROUNDS: usize = 7;
    let bursts = if burst == 1 { 50 } else { 20 };
    let mut servers: Vec<_> = SERVERS
        .iter()
        .map(|(name, has_http2, _)| (*has_http2 || !http2).then(|| Server::start(name, http2)))
        .collect();
    let mut nanos = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (server, nanos) in servers.iter_mut().zip(&mut nanos) {
            if let Some(server) = server {
                nanos.push(server.nanos_per_delivery(bursts, burst));
            }
        }
    }
    let medians = nanos.into_iter().map(|mut nanos| {
        nanos.sort_by(f64::total_cmp);
        nanos.get(ROUNDS / 2).copied()
    });
    medians.collect()
}
