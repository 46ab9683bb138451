//! The crate with Redis and Valkey servers, which the tests start themselves, and the example
//! `cluster`.
//!
//! If a program is missing, a test prints that it is skipped, and passes. With
//! `HTTP_SSE_REAL=required` it fails instead, unless the program is Valkey. `HTTP_SSE_VALKEY` is
//! the absolute path of a `valkey-server` outside of `PATH`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

#[path = "../support/chance.rs"]
mod chance;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/http1.rs"]
mod http1;
#[path = "../suite/log_model/mod.rs"]
mod log_model;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/raw_client.rs"]
mod raw_client;
#[path = "../support/redis_server.rs"]
mod redis_server;
#[path = "../support/sentinels.rs"]
mod sentinels;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/webdriver.rs"]
mod webdriver;

mod chaos;
mod cluster;
mod errors;
mod failover;
mod hangs;
mod log;
mod proxy;
mod redis_log_model;
mod round_trips;
mod server;
mod storm;
