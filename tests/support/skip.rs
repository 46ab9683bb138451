//! Tests that need a program which this machine may not have.

use std::{
    env,
    io::{self, Write as _},
    thread,
};

/// Reports that the running test is skipped. Under `HTTP_SSE_REAL=required` it fails instead.
pub(crate) fn skipped(missing: &str) {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    assert!(!required, "{missing} is not installed");
    let test = thread::current();
    let test = test.name().unwrap_or("a test");
    // Past the capture, which keeps what a passing test prints to itself.
    let line = format!("skipped {test}: {missing} is not installed\n");
    // has a deadline: a terminal takes a line
    _ = io::stderr().write_all(line.as_bytes());
}
