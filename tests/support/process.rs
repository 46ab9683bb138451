//! A child process whose output is read.

// Not every test that includes it needs all of it.
#![allow(dead_code)]

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
};

use crate::deadline::{PATIENCE, Serving, exited, received};

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
            // Reads on when nobody listens, so that the process never waits for its reader.
            for line in stdout.lines() {
                _ = sender.send(line.expect("it writes UTF-8"));
            }
        });
        Self {
            child,
            lines,
            _reader: reader,
        }
    }

    /// Starts an example that serves, on a free port, and tells where.
    pub(crate) fn serve(name: &str) -> (Self, SocketAddr) {
        Self::serve_with(name, &[])
    }

    /// The same, with these variables in its environment.
    pub(crate) fn serve_with(name: &str, variables: &[(&str, &str)]) -> (Self, SocketAddr) {
        let mut command = Command::new(example(name));
        command.env("PORT", "0").envs(variables.iter().copied());
        let process = Self::start(&mut command);
        let line = process.line("listening on");
        let address = line.strip_prefix("listening on http://").unwrap();
        let address = address.parse().unwrap();
        (process, address)
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let mut kill = Command::new("kill").arg(pid).spawn().unwrap();
        assert!(exited("`kill` to end", &mut kill).success());
    }

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        exited("a process to end", &mut self.child)
    }

    /// Waits for the next line, which contains `text`.
    #[track_caller]
    pub(crate) fn line(&self, text: &str) -> String {
        let line = received(format!("line with {text:?}"), &self.lines);
        assert!(line.contains(text), "{line:?} has no {text:?}");
        line
    }

    /// Asserts that it prints nothing more. Waits until it closes its stdout.
    #[track_caller]
    pub(crate) fn no_more_lines(&self) {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => panic!("one more line: {line:?}"),
            Err(RecvTimeoutError::Timeout) => panic!("waited {PATIENCE:?} for the end of stdout"),
            Err(RecvTimeoutError::Disconnected) => {}
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        // A test that has failed must not fail again here.
        if !thread::panicking() {
            exited("a killed process to end", &mut self.child);
        }
    }
}

/// Where cargo puts an example: `target/debug/examples`, for a test in `target/debug/deps`.
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
