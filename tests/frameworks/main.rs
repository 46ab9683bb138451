//! Tests with the servers of all frameworks.
#![allow(clippy::unwrap_used)]

#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../support/http1.rs"]
mod http1;
#[path = "../support/process.rs"]
mod process;
#[path = "../support/raw_client.rs"]
mod raw_client;
#[path = "../support/undisturbed.rs"]
mod undisturbed;

mod accept;
mod contract;
mod examples;
mod lambda;
mod newest;
mod servers;
mod serving;
mod shutdown;
mod stalled;
