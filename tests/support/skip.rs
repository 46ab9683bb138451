//! Skips tests whose programs are not installed.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{
    env,
    io::{self, Write as _},
    thread,
};

/// Reports that the running test is skipped. Panics instead if `HTTP_SSE_REAL=required` is set.
pub(crate) fn skipped(missing: &str) {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    assert!(!required, "{missing} is not installed");
    skipped_always(missing);
}

/// Reports that the running test is skipped, also if `HTTP_SSE_REAL=required` is set. It is for
/// programs of which Debian has no package.
pub(crate) fn skipped_always(missing: &str) {
    let test = thread::current();
    let test = test.name().unwrap_or("a test");
    // `eprint!` would be captured, and the output of a passing test is not shown.
    let line = format!("skipped {test}: {missing} is not installed\n");
    // has a deadline: a terminal or pipe has room for a line
    _ = io::stderr().write_all(line.as_bytes());
}
