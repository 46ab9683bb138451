//! A child process whose output is read.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
};

use crate::deadline::{PATIENCE, Serving, exited, received, until_blocking};

/// A child process, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    _reader: Serving,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        let reader = Serving::start(move || {
            // Reads on without a receiver, so that the process never blocks on its output.
            for line in stdout.lines() {
                _ = sender.send(line.expect("the output is UTF-8"));
            }
        });
        Self {
            child,
            lines,
            _reader: reader,
        }
    }

    /// Starts an example server on a free port. Returns its address.
    pub(crate) fn serve(name: &str) -> (Self, SocketAddr) {
        Self::serve_with(name, &[])
    }

    /// Like [`serve`](Self::serve), with these environment variables.
    pub(crate) fn serve_with(name: &str, variables: &[(&str, &str)]) -> (Self, SocketAddr) {
        let mut command = Command::new(example(name));
        command.env("PORT", "0").envs(variables.iter().copied());
        let process = Self::start(&mut command);
        let line = process.line("listening on");
        let address = line.strip_prefix("listening on http://").unwrap();
        let address = address.parse().unwrap();
        (process, address)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends SIGSTOP, and waits until the process has stopped.
    pub(crate) fn freeze(&self) {
        self.signal("STOP");
        // On another core, it may run a little longer. Only Linux shows its state in a file.
        let path = format!("/proc/{}/stat", self.child.id());
        until_blocking("a process to stop", || {
            let stat = fs::read_to_string(&path).ok();
            stat.is_none_or(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('T'))
        });
    }

    /// Sends SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        let kill = kill.args(["-s", name, &self.child.id().to_string()]);
        assert!(exited("`kill` to end", &mut kill.spawn().unwrap()).success());
    }

    /// Returns whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the process ends.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        exited("a process to end", &mut self.child)
    }

    /// Waits for the next line. Panics if the line does not contain `text`.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> String {
        let line = received(format!("line with {text:?}"), &self.lines);
        assert!(line.contains(text), "{line:?} does not contain {text:?}");
        line
    }

    /// Waits for the next line. Returns `None` if the process has closed its stdout.
    #[track_caller]
    pub(crate) fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Timeout) => panic!("waited {PATIENCE:?} for a line"),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Waits until the process closes its stdout. Panics if it prints another line.
    #[track_caller]
    pub(crate) fn no_more_lines(&self) {
        if let Some(line) = self.next_line() {
            panic!("one more line: {line:?}");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        // A panic during a panic would abort the test binary.
        if !thread::panicking() {
            exited("a killed process to end", &mut self.child);
        }
    }
}

/// Returns the path of an example. It is in `target/debug/examples` for a test in
/// `target/debug/deps`.
pub(crate) fn example(name: &str) -> PathBuf {
    let mut path = env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.extend(["examples", name]);
    path.set_extension(env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "{path:?}: run `cargo build --workspace --examples` first"
    );
    path
}
