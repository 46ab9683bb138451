//! A clock for bounds on what a server does, on a machine that is busy with something else.

use std::{
    fs,
    time::{Duration, Instant},
};

/// Measures the time that passes, less what the threads of this process spent ready to run while
/// the machine ran something else. On a quiet machine that is the time that passes.
///
/// The kernel counts the delay of each thread (the second field of `schedstat`), and one wait for
/// a processor may be counted for several threads at once. So the bound is sharp on a quiet
/// machine and lenient on a busy one. Where the kernel does not count it is the time that passes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undisturbed {
    start: Instant,
    delayed: Duration,
}

impl Undisturbed {
    pub(crate) fn now() -> Self {
        Self {
            start: Instant::now(),
            delayed: delayed(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let delayed = delayed().saturating_sub(self.delayed);
        self.start.elapsed().saturating_sub(delayed)
    }
}

/// How long the threads of this process have waited for a processor, all together.
fn delayed() -> Duration {
    let threads = fs::read_dir("/proc/self/task");
    let nanos = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            stat.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
    Duration::from_nanos(nanos.sum())
}
