//! Compares the hub with `tokio::sync::broadcast`, and measures how its costs grow: with its
//! subscribers, its topics, and the topics of a subscription. There are no sockets.
//!
//! `cargo bench --bench hub`, or `cargo bench --bench hub -- longest` for one part.
#![allow(clippy::unwrap_used)]

use std::env;

mod fanout;
mod longest;
#[path = "../support/ratio.rs"]
mod ratio;
mod topics;

fn main() {
    let parts: [(&str, fn()); 3] = [
        ("fanout", fanout::run),
        ("topics", topics::run),
        ("longest", longest::run),
    ];
    let wanted: Vec<String> = env::args().skip(1).collect();
    let is_all = !parts
        .iter()
        .any(|(name, _)| wanted.iter().any(|part| part == name));
    for (name, run) in parts {
        if is_all || wanted.iter().any(|part| part == name) {
            run();
        }
    }
}
