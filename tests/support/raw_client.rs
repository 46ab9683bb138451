//! A client that sees every byte: HTTP/1.1 over a socket, with nothing in between.

// Not every test that includes it needs all of it.
#![allow(unreachable_pub, dead_code)]

use std::{io, net::SocketAddr, time::Duration};

use bytes::{Buf as _, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct RawClient {
    stream: TcpStream,
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
        Self::over(TcpStream::connect(address).await.unwrap(), request).await
    }

    pub async fn over(mut stream: TcpStream, request: impl AsRef<[u8]>) -> Self {
        stream.write_all(request.as_ref()).await.unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
            body: BytesMut::new(),
        }
    }

    /// Reads the status and the headers.
    pub async fn head(&mut self) -> (StatusCode, HeaderMap) {
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
        let more = self.read_chunk().await?;
        let chunk = String::from_utf8(self.body.split().into()).unwrap();
        Ok(more.then_some(chunk))
    }

    /// Reads exactly `text`, and tells in how many chunks it came.
    pub async fn exactly(&mut self, text: &str) -> usize {
        let mut chunks = 0;
        while self.body.len() < text.len() {
            assert!(self.read_chunk().await.unwrap(), "ended before {text:?}");
            chunks += 1;
        }
        assert_eq!(self.body.split(), text);
        chunks
    }

    /// Reads the next `length` bytes of the body.
    pub async fn take(&mut self, length: usize) -> BytesMut {
        while self.body.len() < length {
            assert!(self.read_chunk().await.unwrap());
        }
        self.body.split_to(length)
    }

    /// Reads chunks to the end of the body.
    pub async fn rest(&mut self) -> io::Result<String> {
        while self.read_chunk().await? {}
        Ok(String::from_utf8(self.body.split().into()).unwrap())
    }

    /// Reads all that comes until the server closes the connection.
    pub async fn until_close(&mut self) -> BytesMut {
        while self.read().await.is_ok() {}
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

    /// Reads a chunk into the body; `false` is the one that ends it.
    async fn read_chunk(&mut self) -> io::Result<bool> {
        let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
        while self.buffer.len() < size + 2 {
            self.read().await?;
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
            self.read().await?;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await??;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}
