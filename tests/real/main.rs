//! The crate with third-party software: browsers, client libraries and proxies.
//!
//! The tests install nothing; `.ci/run` does. If a program is missing, a test prints that it is
//! skipped, and passes. With `HTTP_SSE_REAL=required` it fails instead. The tests compare their
//! results with `results.md`. With `HTTP_SSE_BLESS=1` they write them there.
#![allow(clippy::unwrap_used)]

#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/skip.rs"]
mod skip;

mod browser;
mod browsers;
mod client;
mod clients;
mod connections;
mod curl;
mod proxies;
mod proxy;
mod results;
mod script;
mod server;
mod tools;
