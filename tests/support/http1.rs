//! The least HTTP/1.1 client: a request per connection, and the answer as it arrives.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An answer whose body is still arriving. To drop it is to leave.
pub(crate) struct Answer {
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    /// The part of the body that has arrived.
    pub(crate) body: String,
    rest: BufReader<TcpStream>,
}

impl Answer {
    /// Sends a request, `headers` with CRLF behind each, and reads the head of the answer.
    pub(crate) fn to(server: SocketAddr, request: &str, headers: &str, body: &str) -> Self {
        let mut tcp = TcpStream::connect(server).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nhost: {server}\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        tcp.write_all(request.as_bytes()).unwrap();

        let mut rest = BufReader::new(tcp);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(
                rest.read_line(&mut head).unwrap(),
                0,
                "ended in the head: {head:?}"
            );
        }
        head.make_ascii_lowercase();
        let body = String::new();
        Self { head, body, rest }
    }

    /// Waits for the next part of the body, or tells that it has ended.
    pub(crate) fn read_on(&mut self) -> bool {
        let length = self.head.split("\r\ncontent-length:").nth(1);
        let length = length.and_then(|rest| rest.lines().next());
        let part = match length {
            Some(length) => length.trim().parse::<usize>().unwrap() - self.body.len(),
            None => {
                let mut size = String::new();
                self.rest.read_line(&mut size).unwrap();
                usize::from_str_radix(size.trim_end(), 16).unwrap()
            }
        };
        let mut bytes = vec![0; part];
        self.rest.read_exact(&mut bytes).unwrap();
        self.body += std::str::from_utf8(&bytes).unwrap();
        if length.is_none() {
            self.rest.read_exact(&mut [0; 2]).unwrap(); // the CRLF behind the chunk
        }
        part > 0
    }

    /// Waits for the end, and tells the whole body.
    pub(crate) fn read_to_end(mut self) -> String {
        while self.read_on() {}
        self.body
    }
}
