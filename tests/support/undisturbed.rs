//! A clock for bounds on what a server does, on a machine that is busy with something else.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    sync::{Mutex, Once, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Measures the time that passes, less the moments in which a thread of this process was ready to
/// run while the machine ran something else. On a quiet machine that is the time that passes.
///
/// The kernel counts the delay of each thread (the second field of `schedstat`), and several may
/// be delayed at once. So the clock is sharp on a quiet machine and lenient on a busy one, and
/// leaves out no more of a moment than there is. Where the kernel does not count it is the time
/// that passes.
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
                    thread::sleep(MOMENT);
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

/// The length of a moment. To read the delays of 200 threads takes about 1 ms.
const MOMENT: Duration = Duration::from_millis(50);

/// The last moment, and what has passed until then undisturbed.
struct Last {
    at: Instant,
    delays: BTreeMap<OsString, Duration>,
    undisturbed: Duration,
}

/// The undisturbed time of this process up to now.
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

/// How long each thread of this process has waited for a processor.
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
