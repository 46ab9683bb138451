//! The same event to a thousand real clients, over loopback: what a delivery costs the server, with
//! this crate's hub in a stock `axum::serve`, with each peer over `tokio::sync::broadcast`, and
//! with writes of bytes that were encoded before.
//!
//! ```text
//! cargo bench -p http-sse-peers --bench fanout
//! ```
//!
//! A server is a process of its own with one thread, and its cost is the time that the kernel has
//! seen it run. The next burst is published when every client has the last.

use std::process::Command;

use http_sse_peers::was_server;

use self::{
    clients::Server,
    servers::{AXUM, OURS, RAW, SERVERS},
};

mod clients;
mod servers;

const CLIENTS: u64 = 1_000;

/// What is measured: its name, over HTTP/2 or not, the events per wake, and what is promised: how
/// many times less than axum's, and how many times the raw writes.
const CASES: [(&str, bool, u64, f64, f64); 4] = [
    ("HTTP/1.1, 1 event per wake", false, 1, 1.15, 1.35),
    ("HTTP/1.1, 16", false, 16, 1.9, 1.25),
    ("HTTP/2, 1", true, 1, 1.5, 0.0),
    ("HTTP/2, 16", true, 16, 2.3, 0.0),
];

fn main() {
    if was_server(SERVERS.map(|(name, _, run)| (name, run))) {
        return;
    }
    // A descriptor for each client, in each process; the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // One core for each server, and the other for the clients.
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
    let kept = |kept| if kept { "kept" } else { "NOT kept" };
    for ((case, _, _, than_axum, of_raw), column) in CASES.into_iter().zip(columns) {
        let nanos = |name| {
            let row = SERVERS.iter().position(|server| server.0 == name);
            column[row.unwrap()]
        };
        let ours = nanos(OURS).unwrap();
        let ratio = nanos(AXUM).unwrap() / ours;
        println!(
            "fanout/{case}: {ratio:.2}x less than axum (promised: {than_axum}x, {})",
            kept(ratio >= than_axum),
        );
        if let Some(raw) = nanos(RAW) {
            let ratio = ours / raw;
            println!(
                "fanout/{case}: {ratio:.2} of raw writes (promised: {of_raw}, {})",
                kept(ratio <= of_raw),
            );
        }
    }
}

/// The medians for each server, in nanoseconds per delivery; none where it has no HTTP/2.
fn measure(http2: bool, burst: u64) -> Vec<Option<f64>> {
    /// Of each server, in turns.
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
