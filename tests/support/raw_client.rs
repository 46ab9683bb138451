//! An HTTP/1.1 client over a plain socket, for tests of single chunks and of broken connections.
//!
//! Each method has one deadline for everything that it reads, so that keep-alives do not postpone
//! it. A method panics at its deadline. It returns an error if the connection has ended or broken.

// Not every binary that includes this file uses all of it.
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
    /// The request line, for panic messages.
    request: String,
    /// The part of the response that is being read, and its deadline.
    awaited: (String, Instant),
    /// Bytes that were read and not yet parsed.
    buffer: BytesMut,
    /// Contents of chunks that were not yet returned.
    body: BytesMut,
}

impl RawClient {
    /// Sends `GET path` with these header lines. Each of them ends with CRLF.
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

    /// Reads one chunk. Returns `None` for the last chunk, and an error for a broken response.
    pub async fn chunk(&mut self) -> io::Result<Option<String>> {
        assert!(self.body.is_empty());
        self.await_part("a chunk");
        let more = self.another_chunk().await?;
        let chunk = String::from_utf8(self.body.split().into()).unwrap();
        Ok(more.then_some(chunk))
    }

    /// Reads exactly `text`. Returns the number of chunks in which it arrived.
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

    /// Reads a body up to the end that its framing defines (RFC 9112, section 6.3). Panics if only
    /// the end of the connection would end the body.
    pub async fn framed(&mut self, status: StatusCode, headers: &HeaderMap) -> String {
        if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
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

    /// Reads everything until the server closes the connection.
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

    /// Starts the deadline for a part of the response.
    fn await_part(&mut self, part: impl Display) {
        let part = format!("{part} of {:?}", self.request);
        self.awaited = (part, Instant::now() + PATIENCE);
    }

    /// Reads a chunk into the body. Returns `false` for the last chunk.
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

    /// Reads once into the buffer, with room for at least `missing` bytes.
    async fn more(&mut self, missing: usize) -> io::Result<()> {
        let (part, until) = &self.awaited;
        let left = until.saturating_duration_since(Instant::now());
        let part = format!("{part}, with {PATIENCE:?} in total");
        assert!(!left.is_zero(), "waited too long for {part}");
        self.buffer.reserve(missing);
        let read = self.stream.read_buf(&mut self.buffer);
        match within_time(left, part, read).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
