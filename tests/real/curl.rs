//! curl as a client that shows what comes when it comes.

use std::{path::Path, process::Stdio};

use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStdout, Command},
};

use crate::deadline::within;

/// curl, which prints what it gets as it comes; killed when it is dropped.
pub(crate) struct Curl {
    stdout: ChildStdout,
    /// What was read and not yet looked at.
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

    /// Reads up to and with the first `text`. One deadline is for the whole of it, so that
    /// keep-alives do not put it off.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        within(format!("{text:?} from curl"), self.split_behind(text)).await
    }

    async fn split_behind(&mut self, text: &str) -> String {
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

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> String {
        // has a deadline: it is awaited below
        let end = self.stdout.read_to_end(&mut self.buffer);
        within("the end of a response to curl", end).await.unwrap();
        String::from_utf8(self.buffer).unwrap()
    }
}
