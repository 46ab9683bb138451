//! A clock for upper bounds on the time that a server takes, on a machine that may be busy.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    sync::{Mutex, Once, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// A stopwatch that leaves out the time in which a thread of this process was ready to run but had
/// no processor. On an idle machine it leaves out nothing.
///
/// The kernel counts the delay of each thread, in the second field of `schedstat`. Several threads
/// may be delayed at once, so the sum of their delays can exceed the time between two readings. All
/// of that time is left out then. If the kernel does not count delays, nothing is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undisturbed {
    start: Duration,
}

impl Undisturbed {
    pub(crate) fn now() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            thread::spawn(|| {
                loop {
                    undisturbed();
                    thread::sleep(INTERVAL);
                }
            });
        });
        Self {
            start: undisturbed(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        undisturbed() - self.start
    }
}

/// The interval at which the delays are read. Reading those of 200 threads takes about 1 ms.
const INTERVAL: Duration = Duration::from_millis(50);

/// The last reading of the delays, and the undisturbed time up to it.
struct Last {
    at: Instant,
    delays: BTreeMap<OsString, Duration>,
    undisturbed: Duration,
}

/// Returns the undisturbed time of this process up to now.
fn undisturbed() -> Duration {
    static LAST: Mutex<Option<Last>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let delays = delays();
    let at = Instant::now();
    let undisturbed = last.as_ref().map_or(Duration::ZERO, |last| {
        let delayed = delays.iter().map(|(thread, delay)| {
            let before = last.delays.get(thread).copied().unwrap_or_default();
            delay.saturating_sub(before)
        });
        last.undisturbed + (at - last.at).saturating_sub(delayed.sum())
    });
    *last = Some(Last {
        at,
        delays,
        undisturbed,
    });
    undisturbed
}

/// Returns the time for which each thread of this process has waited for a processor.
fn delays() -> BTreeMap<OsString, Duration> {
    let threads = fs::read_dir("/proc/self/task");
    let delays = threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| {
            let stat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            let delay = stat.split_whitespace().nth(1)?.parse().ok()?;
            Some((thread.file_name(), Duration::from_nanos(delay)))
        });
    delays.collect()
}
