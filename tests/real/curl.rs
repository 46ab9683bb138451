//! curl as a client that prints bytes as they arrive.

use std::{path::Path, process::Stdio};

use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
};

use crate::deadline::within;

/// A curl process that prints bytes as they arrive. Dropping it kills the process.
pub(crate) struct Curl {
    stdout: ChildStdout,
    /// Bytes that were read and not yet returned.
    buffer: Vec<u8>,
    _child: Child,
}

impl Curl {
    pub(crate) fn get(curl: &Path, options: &[&str], url: &str) -> Self {
        let mut child = Command::new(curl)
            .args(["--silent", "--no-buffer", "--include"])
            .args(options)
            .arg(url)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            stdout: child.stdout.take().unwrap(),
            buffer: Vec::new(),
            _child: child,
        }
    }

    /// Reads up to and including the first `text`. One deadline applies to the whole read, so that
    /// keep-alives do not postpone it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        within(format!("{text:?} from curl"), self.split_after(text)).await
    }

    async fn split_after(&mut self, text: &str) -> String {
        loop {
            let mut windows = self.buffer.windows(text.len());
            if let Some(start) = windows.position(|window| window == text.as_bytes()) {
                let read = self.buffer.drain(..start + text.len()).collect();
                return String::from_utf8(read).unwrap();
            }
            let read = within("more from curl", self.stdout.read_buf(&mut self.buffer)).await;
            assert_ne!(read.unwrap(), 0, "ended before {text:?}");
        }
    }

    /// Reads to the end of the output.
    pub(crate) async fn rest(mut self) -> String {
        // has a deadline: it is awaited below
        let end = self.stdout.read_to_end(&mut self.buffer);
        within("the end of a response to curl", end).await.unwrap();
        String::from_utf8(self.buffer).unwrap()
    }
}
