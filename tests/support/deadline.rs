//! Deadlines for every wait in the tests. A wait that expires panics and names what it waited for.
//!
//! As a last resort, a watchdog ends a test binary that runs for longer than [`WATCHDOG`]. It
//! prints the tests that were running and what they were waiting for.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{
    collections::BTreeSet,
    fmt::{self, Display},
    future::{Future, IntoFuture},
    io::Write as _,
    panic::{Location, resume_unwind},
    process::{Command, ExitStatus, exit},
    sync::{Mutex, Once, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::{runtime::Handle, task::JoinHandle};

/// The default deadline of a wait. It only limits how long a failure takes, so it leaves room for a
/// busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The time for which a test binary may run, unless `HTTP_SSE_WATCHDOG_SECONDS` is set.
const WATCHDOG: Duration = Duration::from_secs(10 * 60);

/// Waits for a future for at most [`PATIENCE`].
///
/// Under tokio's paused clock, the deadline passes as soon as all tasks are idle.
#[track_caller]
pub(crate) fn within<F: IntoFuture>(
    what: impl Display,
    future: F,
) -> impl Future<Output = F::Output> {
    within_time(PATIENCE, what, future)
}

/// Waits for a future for at most `time`.
#[track_caller]
pub(crate) fn within_time<F: IntoFuture>(
    time: Duration,
    what: impl Display,
    future: F,
) -> impl Future<Output = F::Output> {
    let wait = Wait::new(&what);
    async move {
        match tokio::time::timeout(time, future).await {
            Ok(output) => output,
            Err(_) => wait.expired(time),
        }
    }
}

/// Waits until a condition holds. Checks it every few milliseconds.
#[track_caller]
pub(crate) fn until(
    what: impl Display,
    mut holds: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    within(what, async move {
        while !holds() {
            tokio::time::sleep(POLL).await;
        }
    })
}

/// Like [`until`], for a thread without a runtime.
#[track_caller]
pub(crate) fn until_blocking(what: impl Display, mut holds: impl FnMut() -> bool) {
    let wait = Wait::new(&what);
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > PATIENCE {
            wait.expired(PATIENCE);
        }
        thread::sleep(POLL);
    }
}

/// Waits for a task to end. Propagates its panic.
#[track_caller]
pub(crate) fn finished<T>(what: impl Display, task: JoinHandle<T>) -> impl Future<Output = T> {
    let task_of = what.to_string();
    within(
        what,
        task.map(move |ended| match ended {
            Ok(output) => output,
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(error) => panic!("{task_of}: {error}"),
        }),
    )
}

/// Waits for a thread to end. Propagates its panic.
#[track_caller]
pub(crate) fn joined<T>(what: impl Display, thread: thread::JoinHandle<T>) -> T {
    until_blocking(what, || thread.is_finished());
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Returns the next value from a thread.
#[track_caller]
pub(crate) fn received<T>(what: impl Display, receiver: &mpsc::Receiver<T>) -> T {
    let wait = Wait::new(&what);
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => wait.expired(PATIENCE),
        Err(mpsc::RecvTimeoutError::Disconnected) => panic!("no {what}: the sender was dropped"),
    }
}

/// Waits for a process to end.
#[track_caller]
pub(crate) fn exited(what: impl Display, child: &mut std::process::Child) -> ExitStatus {
    let mut status = None;
    until_blocking(what, || {
        status = child.try_wait().expect("a child process can be awaited");
        status.is_some()
    });
    status.expect("the process has ended")
}

/// A background task of a test, such as a server or a client. Dropping it aborts the task and
/// propagates its panic.
#[derive(Debug)]
#[must_use = "the task is aborted when this is dropped"]
pub(crate) struct Background(Option<JoinHandle<()>>);

impl Background {
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(task)))
    }

    pub(crate) fn spawn_on(
        handle: &Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self(Some(handle.spawn(task)))
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the task to end. Propagates its panic.
    #[track_caller]
    pub(crate) fn finished(mut self, what: impl Display) -> impl Future<Output = ()> {
        finished(what, self.0.take().expect("the task is not taken yet"))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let Some(task) = self.0.take() else { return };
        task.abort();
        let panicked = task.is_finished().then(|| task.now_or_never()).flatten();
        match panicked {
            Some(Err(error)) if error.is_panic() && !thread::panicking() => {
                resume_unwind(error.into_panic())
            }
            _ => {}
        }
    }
}

/// A server thread that runs until the process ends. Dropping it propagates the thread's panic.
#[derive(Debug)]
#[must_use = "dropping this propagates the thread's panic"]
pub(crate) struct Serving(Option<thread::JoinHandle<()>>);

impl Serving {
    pub(crate) fn start(serve: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(thread::spawn(serve)))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let ended = self.0.take().filter(thread::JoinHandle::is_finished);
        match ended.map(thread::JoinHandle::join) {
            Some(Err(panic)) if !thread::panicking() => resume_unwind(panic),
            _ => {}
        }
    }
}

/// The interval at which a condition is checked.
const POLL: Duration = Duration::from_millis(2);

/// A wait in progress. The watchdog knows it until it is dropped.
struct Wait {
    /// The index in [`WAITS`], or `None` if all places were taken.
    place: Option<usize>,
    what: String,
    location: &'static Location<'static>,
}

/// Current waits, each with the name of its thread.
///
/// The table has a fixed size. A map that grows in one thread and shrinks in another would look
/// like a leak to a test that counts the allocations of its thread.
static WAITS: Mutex<[Option<Running>; 1024]> = Mutex::new([const { None }; 1024]);

/// A wait, as the watchdog prints it.
struct Running {
    thread: String,
    what: String,
    location: &'static Location<'static>,
}

impl Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            thread,
            what,
            location,
        } = self;
        write!(f, "{thread}: {what}, at {location}")
    }
}

impl Wait {
    #[track_caller]
    fn new(what: &impl Display) -> Self {
        watch();
        let what = what.to_string();
        let location = Location::caller();
        let running = Running {
            thread: thread::current().name().unwrap_or("a thread").to_owned(),
            what: what.clone(),
            location,
        };
        let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
        let place = waits.iter().position(Option::is_none);
        if let Some(place) = place {
            waits[place] = Some(running);
        }
        Self {
            place,
            what,
            location,
        }
    }

    fn expired(&self, time: Duration) -> ! {
        panic!("waited {time:?} for {}, at {}", self.what, self.location);
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = self.place {
            waits[place] = None;
        }
    }
}

/// Starts the watchdog, once per process. Every wait calls this, and so does a test of each binary.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = std::env::var("HTTP_SSE_WATCHDOG_SECONDS").ok();
        let limit = limit.map_or(WATCHDOG, |limit| {
            Duration::from_secs(limit.parse().expect("a number of seconds"))
        });
        let watchdog = move || {
            thread::sleep(limit);
            let waits = WAITS.lock().unwrap_or_else(PoisonError::into_inner);
            let waits = waits.iter().flatten();
            let known = waits.clone().map(|wait| wait.thread.as_str());
            let running = Vec::from_iter(running(known.collect())).join("\n  ");
            let waits: Vec<_> = waits.map(Running::to_string).collect();
            let waits = waits.join("\n  ");
            // `eprint!` would be captured as output of the test that started the watchdog.
            _ = write!(
                std::io::stderr(),
                "\nwatchdog: ended after {limit:?}\nrunning:\n  {running}\nwaiting:\n  {waits}\n"
            );
            kill_descendants();
            exit(101);
        };
        thread::Builder::new()
            .name("watchdog".into())
            .spawn(watchdog)
            .expect("a thread can be started");
    });
}

/// Starts the watchdog also in a binary whose tests never wait.
#[test]
fn every_test_binary_has_a_watchdog() {
    watch();
}

/// Returns the names of the running tests, from the waits and from the names of the threads. Linux
/// truncates thread names to 15 bytes, so all tests with a common prefix are listed.
fn running(known: BTreeSet<&str>) -> BTreeSet<String> {
    let tests = std::env::current_exe().and_then(|this| Command::new(this).arg("--list").output());
    let tests = tests.map_or_else(|_| Vec::new(), |tests| tests.stdout);
    let tests = String::from_utf8_lossy(&tests);
    let tests: BTreeSet<_> = tests
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    let is_thread_of =
        |thread: &str, test: &str| thread == test || thread.len() == 15 && test.starts_with(thread);
    let threads = std::fs::read_dir("/proc/self/task");
    let threads = (threads.into_iter().flatten().flatten())
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| !known.iter().any(|test| is_thread_of(name, test)));
    let threads: BTreeSet<_> = threads.collect();
    tests
        .iter()
        .filter(|test| {
            known.contains(*test) || threads.iter().any(|thread| is_thread_of(thread, test))
        })
        .map(ToString::to_string)
        .collect()
}

/// Kills all descendants of this process. They would otherwise keep its output open.
fn kill_descendants() {
    let parent = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_whitespace().nth(1).map(str::to_owned)
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let parents: Vec<_> = processes
        .filter_map(|pid| Some((parent(&pid)?, pid)))
        .collect();
    let mut descendants = vec![std::process::id().to_string()];
    let mut next = 0;
    while let Some(pid) = descendants.get(next).cloned() {
        let children = parents.iter().filter(|(parent, _)| *parent == pid);
        descendants.extend(children.map(|(_, child)| child.clone()));
        next += 1;
    }
    if descendants.len() > 1 {
        _ = Command::new("kill")
            .arg("-KILL")
            .args(&descendants[1..])
            .status();
    }
}
