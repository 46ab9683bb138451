//! The tests that count allocations: their allocator counts those of each thread.
#![allow(clippy::unwrap_used)]

mod allocations;
mod connections_cost;
mod hub_cost;
mod idle_cost;
