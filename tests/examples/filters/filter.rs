//! A process of an example that reads stdin and writes stdout.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    thread,
    time::Duration,
};

use crate::{
    deadline::{exited, joined},
    process::example,
};

/// An example that reads stdin and writes stdout. It is killed when this is dropped, which also
/// ends whoever waits for its pipes.
pub(super) struct Filter {
    pub(super) child: Child,
    /// Both are closed when they are taken and dropped.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<BufReader<ChildStdout>>,
}

impl Filter {
    pub(super) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(example(name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        Self {
            stdin: child.stdin.take(),
            stdout,
            child,
        }
    }

    /// Writes to its stdin, which stays open.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        // has a deadline: a pipe takes the few lines that there are
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Reads the next line of its stdout.
    #[track_caller]
    pub(super) fn line(&mut self) -> String {
        let mut stdout = self.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut line = String::new();
            // has a deadline: that of the thread
            stdout.read_line(&mut line).unwrap();
            (stdout, line)
        });
        let (stdout, line) = joined("a line of a filter", reader);
        self.stdout = Some(stdout);
        line
    }

    /// Writes all of its stdin, closes it, and waits for the end.
    #[track_caller]
    pub(super) fn run(mut self, input: &[u8]) -> Output {
        let mut stdin = self.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = thread::spawn(move || _ = stdin.write_all(&input)); // it may end before
        let output = self.rest();
        joined("the input to be taken", writer);
        output
    }

    /// Closes the reading end of its stdout and writes this line, over and over, until it has
    /// ended, while stdin is open still.
    ///
    /// Once is not enough: a process that another test starts holds a copy of the reading end
    /// until it executes its program, and meanwhile the filter can write.
    #[track_caller]
    pub(super) fn run_with_nobody_reading(mut self, line: &'static [u8]) -> Output {
        drop(self.stdout.take());
        let mut stdin = self.stdin.take().unwrap();
        let writer = thread::spawn(move || {
            // has a deadline: that of the thread
            while stdin.write_all(line).is_ok() {
                thread::sleep(Duration::from_millis(2));
            }
        });
        let output = self.rest();
        joined("the writing to fail", writer);
        output
    }

    /// Returns everything that it writes until it ends.
    #[track_caller]
    pub(super) fn rest(&mut self) -> Output {
        let stdout = self.stdout.take();
        let stdout = thread::spawn(move || {
            let mut bytes = Vec::new();
            // has a deadline: that of the thread
            stdout.map(|mut stdout| stdout.read_to_end(&mut bytes).unwrap());
            bytes
        });
        let mut stderr = self.child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut bytes = Vec::new();
            // has a deadline: that of the thread
            stderr.read_to_end(&mut bytes).unwrap();
            bytes
        });
        Output {
            status: exited("a filter to end", &mut self.child),
            stdout: joined("the end of its stdout", stdout),
            stderr: joined("the end of its stderr", stderr),
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        _ = self.child.kill();
        // A test that has failed must not fail again here.
        if !thread::panicking() {
            exited("a killed filter to end", &mut self.child);
        }
    }
}
