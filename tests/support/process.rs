//! A child process whose output is read.

// Not every test that includes it needs all of it.
#![allow(dead_code)]

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// A child process, killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            // Reads on when nobody listens, so that the process never waits for its reader.
            for line in stdout.lines().map_while(Result::ok) {
                _ = sender.send(line);
            }
        });
        Self { child, lines }
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
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }

    /// Waits until it ends.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Waits for the next line, which has `text` in it.
    pub(crate) fn line(&self, text: &str) -> String {
        let line = self
            .lines
            .recv_timeout(Duration::from_secs(20))
            .unwrap_or_else(|error| panic!("no line with {text:?}: {error}"));
        assert!(line.contains(text), "{line:?} has no {text:?}");
        line
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
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
        "{path:?}: run `cargo build --examples` first"
    );
    path
}
