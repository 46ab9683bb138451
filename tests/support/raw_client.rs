//! A client that sees every byte: HTTP/1.1 over a socket, with nothing in between.
//!
//! Each method has one deadline for all that it reads, so that keep-alives do not prolong it. At
//! the deadline the method panics. An error stands for a connection that has ended or broken.

// Not every test that includes it needs all of it.
#![allow(unreachable_pub, dead_code)]

use std::{fmt::Display, io, net::SocketAddr};

use bytes::{Buf as _, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::deadline::{PATIENCE, within, within_time};

pub struct RawClient {
    stream: TcpStream,
    /// The line that asked.
    request: String,
    /// The part of the answer that is read, and until when.
    awaited: (String, Instant),
    /// What was read and not yet looked at.
    buffer: BytesMut,
    /// What chunks carried and was not yet taken.
    body: BytesMut,
}

impl RawClient {
    /// Sends `GET path`, with header lines that each end with CRLF.
    pub async fn get(address: SocketAddr, path: &str, headers: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
        Self::send(address, request).await
    }

    pub async fn send(address: SocketAddr, request: impl AsRef<[u8]>) -> Self {
        let stream = within("a connection to the server", TcpStream::connect(address)).await;
        Self::over(stream.unwrap(), request).await
    }

    pub async fn over(mut stream: TcpStream, request: impl AsRef<[u8]>) -> Self {
        let request = request.as_ref();
        let sent = within("the server to take a request", stream.write_all(request)).await;
        sent.unwrap();
        let line = request.split(|byte| *byte == b'\r').next();
        Self {
            stream,
            request: String::from_utf8_lossy(line.unwrap_or_default()).into_owned(),
            awaited: (String::new(), Instant::now()),
            buffer: BytesMut::new(),
            body: BytesMut::new(),
        }
    }

    /// Reads the status and the headers.
    pub async fn head(&mut self) -> (StatusCode, HeaderMap) {
        self.await_part("the head");
        let status = self.line().await.unwrap();
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line().await.unwrap();
            if line.is_empty() {
                return (status, headers);
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.append(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value.trim()).unwrap(),
            );
        }
    }

    /// Reads one chunk: `None` is the chunk that ends the body, an error a broken response.
    pub async fn chunk(&mut self) -> io::Result<Option<String>> {
        assert!(self.body.is_empty());
        self.await_part("a chunk");
        let more = self.another_chunk().await?;
        let chunk = String::from_utf8(self.body.split().into()).unwrap();
        Ok(more.then_some(chunk))
    }

    /// Reads exactly `text`, and returns in how many chunks it came.
    pub async fn exactly(&mut self, text: &str) -> usize {
        self.await_part(format_args!("{text:?}"));
        let mut chunks = 0;
        while self.body.len() < text.len() {
            assert!(self.another_chunk().await.unwrap(), "ended before {text:?}");
            chunks += 1;
        }
        assert_eq!(self.body.split(), text);
        chunks
    }

    /// Reads the next `length` bytes of the body.
    pub async fn take(&mut self, length: usize) -> BytesMut {
        self.await_part(format_args!("{length} bytes"));
        while self.body.len() < length {
            assert!(self.another_chunk().await.unwrap());
        }
        self.body.split_to(length)
    }

    /// Reads chunks to the end of the body.
    pub async fn rest(&mut self) -> io::Result<String> {
        self.await_part("the end of the body");
        while self.another_chunk().await? {}
        Ok(String::from_utf8(self.body.split().into()).unwrap())
    }

    /// Reads the body whose end its framing says (RFC 9112, section 6.3). Fails if only the end of
    /// the connection would.
    pub async fn framed(&mut self, status: StatusCode, headers: &HeaderMap) -> String {
        if status == StatusCode::NO_CONTENT {
            assert!(!headers.contains_key(TRANSFER_ENCODING), "{headers:?}");
            return String::new();
        }
        let Some(length) = headers.get(CONTENT_LENGTH) else {
            assert_eq!(headers[TRANSFER_ENCODING], "chunked");
            return self.rest().await.unwrap();
        };
        assert!(!headers.contains_key(TRANSFER_ENCODING), "{headers:?}");
        let length: usize = length.to_str().unwrap().parse().unwrap();
        self.await_part(format_args!("{length} bytes"));
        while self.buffer.len() < length {
            self.more(length).await.unwrap();
        }
        String::from_utf8(self.buffer.split_to(length).into()).unwrap()
    }

    /// Reads all that comes until the server closes the connection.
    pub async fn until_close(&mut self) -> BytesMut {
        self.await_part("the end of the connection");
        while self.more(1).await.is_ok() {}
        self.buffer.split()
    }

    /// Closes with FIN.
    pub fn close(self) {
        drop(self.stream);
    }

    /// Closes with RST.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
        drop(self.stream);
    }

    /// Begins to read a part of the answer.
    fn await_part(&mut self, part: impl Display) {
        let part = format!("{part} of {:?}", self.request);
        self.awaited = (part, Instant::now() + PATIENCE);
    }

    /// Reads a chunk into the body; `false` is the one that ends it.
    async fn another_chunk(&mut self) -> io::Result<bool> {
        let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
        while self.buffer.len() < size + 2 {
            self.more(size + 2 - self.buffer.len()).await?;
        }
        self.body.unsplit(self.buffer.split_to(size));
        self.buffer.advance(2);
        Ok(size > 0)
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(String::from_utf8(line.into()).unwrap());
            }
            self.more(1).await?;
        }
    }

    /// Reads what has arrived, with room for as much as is missing.
    async fn more(&mut self, missing: usize) -> io::Result<()> {
        let (part, until) = &self.awaited;
        let left = until.saturating_duration_since(Instant::now());
        let part = format!("{part}, which has {PATIENCE:?} in all");
        assert!(!left.is_zero(), "waited too long for {part}");
        self.buffer.reserve(missing);
        let read = self.stream.read_buf(&mut self.buffer);
        match within_time(left, part, read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
