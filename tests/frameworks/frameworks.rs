//! What needs the servers of all frameworks.
#![allow(clippy::unwrap_used)]

#[path = "../support/http1.rs"]
mod http1;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/raw_client.rs"]
mod raw_client;

mod contract;
mod servers;
mod shutdown;
mod stalled;
