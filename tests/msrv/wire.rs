//! The wire tests of the suite, for the oldest supported compiler.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // only the suite uses all functions
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../suite/wire.rs"]
mod wire;
#[allow(dead_code)] // only the suite uses the whole table
#[path = "../suite/wire_rules.rs"]
mod wire_rules;
