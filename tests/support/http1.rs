//! A minimal HTTP/1.1 client: one request per connection, and the response as it arrives.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{
    fmt::Display,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use crate::deadline::PATIENCE;

/// A response whose body is still arriving. Dropping it closes the connection.
pub(crate) struct Answer {
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    /// The part of the body that has arrived.
    pub(crate) body: String,
    rest: BufReader<Until>,
}

impl Answer {
    /// Sends a request and reads the head of the response. Each line of `headers` ends with CRLF.
    ///
    /// One deadline of [`PATIENCE`] applies to the whole response, so that keep-alives do not
    /// postpone it.
    #[track_caller]
    pub(crate) fn to(server: SocketAddr, request: &str, headers: &str, body: &str) -> Self {
        let deadline = Instant::now() + PATIENCE;
        let mut tcp = TcpStream::connect_timeout(&server, PATIENCE)
            .unwrap_or_else(|error| panic!("{request}: no connection to {server}: {error}"));
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let message = format!(
            "{request} HTTP/1.1\r\nhost: {server}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        tcp.write_all(message.as_bytes())
            .unwrap_or_else(|error| panic!("{request}: cannot be sent: {error}"));

        let request = request.to_owned();
        let mut answer = Self {
            head: String::new(),
            body: String::new(),
            rest: BufReader::new(Until {
                tcp,
                deadline,
                request,
            }),
        };
        while !answer.head.ends_with("\r\n\r\n") {
            let line = answer.rest.read_line(&mut answer.head);
            let length = line.unwrap_or_else(|error| answer.failed(error, "the head"));
            assert_ne!(
                length, 0,
                "the response ended in its head: {:?}",
                answer.head
            );
        }
        answer.head.make_ascii_lowercase();
        answer
    }

    /// Waits for the next part of the body. Returns `false` if the body has ended.
    #[track_caller]
    pub(crate) fn read_on(&mut self) -> bool {
        let part = self.next_part();
        let part = part.unwrap_or_else(|error| self.failed(error, "the next part of the body"));
        self.body += std::str::from_utf8(&part).unwrap();
        !part.is_empty()
    }

    /// Waits until the body contains `text`.
    #[track_caller]
    pub(crate) fn read_until(&mut self, text: &str) {
        while !self.body.contains(text) {
            let part = self.next_part();
            let part = part.unwrap_or_else(|error| self.failed(error, format_args!("{text:?}")));
            assert!(!part.is_empty(), "no {text:?} in {:?}", self.body);
            self.body += std::str::from_utf8(&part).unwrap();
        }
    }

    /// Waits for the end of the body, and returns all of it.
    #[track_caller]
    pub(crate) fn read_to_end(mut self) -> String {
        loop {
            let part = self.next_part();
            let part = part.unwrap_or_else(|error| self.failed(error, "the end"));
            if part.is_empty() {
                return self.body;
            }
            self.body += std::str::from_utf8(&part).unwrap();
        }
    }

    fn next_part(&mut self) -> io::Result<Vec<u8>> {
        let length = self.head.split("\r\ncontent-length:").nth(1);
        let length = length.and_then(|rest| rest.lines().next());
        let part = match length {
            Some(length) => length.trim().parse::<usize>().unwrap() - self.body.len(),
            None => {
                let mut size = String::new();
                self.rest.read_line(&mut size)?;
                usize::from_str_radix(size.trim_end(), 16)
                    .map_err(|error| io::Error::other(format!("a chunk of {size:?}: {error}")))?
            }
        };
        let mut bytes = vec![0; part];
        self.rest.read_exact(&mut bytes)?;
        if length.is_none() {
            self.rest.read_exact(&mut [0; 2])?; // the CRLF after the chunk
        }
        Ok(bytes)
    }

    #[track_caller]
    fn failed(&self, error: io::Error, awaited: impl Display) -> ! {
        let Self { head, body, rest } = self;
        let request = &rest.get_ref().request;
        panic!("{request}: {error} while waiting for {awaited}, after {head:?} and {body:?}");
    }
}

/// A connection whose reads fail after a deadline.
struct Until {
    tcp: TcpStream,
    deadline: Instant,
    request: String,
}

impl io::Read for Until {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let over = || io::Error::new(io::ErrorKind::TimedOut, format!("{PATIENCE:?} have passed"));
        if left.is_zero() {
            return Err(over());
        }
        self.tcp.set_read_timeout(Some(left))?;
        self.tcp.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => over(),
            _ => error,
        })
    }
}
