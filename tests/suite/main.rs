//! The tests that share a process: they sleep, wait and compute side by side.
#![allow(clippy::unwrap_used)]

#[path = "../support/chance.rs"]
mod chance;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/raw_client.rs"]
mod raw_client;

mod axum;
mod body;
mod body_model;
mod callbacks;
mod chaos;
mod conformance;
mod connections;
mod failures_http2;
mod http;
mod hub;
mod hub_log;
mod hub_model;
mod hub_stall;
mod layering;
mod log_model;
mod memory_log_model;
mod prose;
mod roundtrip;
mod status;
mod values;
mod waits;
mod wire;
mod wire_rules;
mod writes;
