//! Compares a hub on several servers with the commands of Redis that it uses, and with what a server
//! would use instead.
//!
//! `cargo bench -p http-sse-redis-benches` starts a Redis server that stores nothing on disk. With
//! `-- append`, `-- latency` or `-- nodes` it runs one part. Redis runs on core 0, and everything
//! else in one thread on core 1. The competitors run in turns, and the results are medians. All parts
//! together take about two minutes.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    process::{self, Command},
    sync::LazyLock,
};

use futures_util::{StreamExt as _, future::ready, stream};
use tokio::runtime::{Builder, Runtime};

use self::server::Server;

mod append;
mod latency;
mod nodes;
mod server;

/// A part of the benchmark: its name, and the function that runs it.
type Part = (&'static str, fn(&Server));

fn main() {
    let Some(server) = Server::start() else {
        println!("skipped: redis-server is not installed");
        return;
    };
    let this = process::id().to_string();
    let pinned = Command::new("taskset").args(["-cp", "1", &this]).output();
    assert!(pinned.unwrap().status.success());

    let parts: [Part; 3] = [
        ("append", append::run),
        ("latency", latency::run),
        ("nodes", nodes::run),
    ];
    let wanted: Vec<String> = env::args().skip(1).collect();
    let is_wanted = |name: &str| wanted.iter().any(|part| part == name);
    let is_all = !parts.iter().any(|(name, _)| is_wanted(name));
    for (name, run) in parts {
        if is_all || is_wanted(name) {
            run(&server);
        }
    }
}

/// The data of every event, of 200 bytes. It contains `~` once, and clients count these.
static PAYLOAD: LazyLock<String> = LazyLock::new(|| format!("{:-<199}~", ""));

/// Returns a new runtime with one thread. Dropping it ends its tasks and connections.
fn runtime() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

/// Calls a function `count` times, with this number of calls at once.
async fn repeat(count: usize, at_once: usize, call: impl AsyncFn()) {
    let calls = stream::iter(0..count).map(async |_| call().await);
    calls.buffer_unordered(at_once).for_each(ready).await;
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
