//! The examples behave as their headers say, as programs and in a browser.
//!
//! `cargo test` builds the examples. `cargo test --test examples` uses the programs that are
//! already built.
#![allow(clippy::unwrap_used)]

#[path = "../support/cutting_proxy.rs"]
mod cutting_proxy;
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/http1.rs"]
mod http1;
#[path = "../support/port.rs"]
mod port;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/skip.rs"]
mod skip;
#[path = "../support/webdriver.rs"]
mod webdriver;

#[cfg(unix)]
mod app;
mod browser;
mod cross_origin;
mod filters;
mod generations;
mod programs;
