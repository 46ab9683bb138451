//! The examples do what their headers say: as programs, and in a browser.
//!
//! `cargo test` builds them; `cargo test --test examples` alone takes those that are there.
#![allow(clippy::unwrap_used)]

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
mod programs;
