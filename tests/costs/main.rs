//! The tests that count allocations. Their allocator counts those of each thread.
#![allow(clippy::unwrap_used)]

#[path = "../support/deadline.rs"]
mod deadline;

mod allocations;
mod connections_cost;
mod hub_cost;
mod idle_cost;
mod large_events;
mod later_events;
