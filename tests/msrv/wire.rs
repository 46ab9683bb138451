//! The wire tests of the suite, for the oldest supported compiler.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)] // the suite uses more of it
#[path = "../support/deadline.rs"]
mod deadline;
#[path = "../suite/wire.rs"]
mod wire;
#[allow(dead_code)] // the suite reads all of the table
#[path = "../suite/wire_rules.rs"]
mod wire_rules;
