//! The crate against software that was not written here: browsers, client libraries, proxies.
//!
//! Nothing is installed by these tests; `.ci/run` does that. If something is missing, they print
//! that they are skipped, and pass. With `HTTP_SSE_REAL=required` they fail instead. What they
//! measure is compared with `results.md`; with `HTTP_SSE_BLESS=1` it is written there.
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
