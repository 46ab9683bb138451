//! A client that sees every byte: HTTP/1.1 over a socket, with nothing in between.

#![allow(unreachable_pub)]

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
    buffer: BytesMut,
}

impl RawClient {
    /// Sends `GET path`, with header lines that each end with CRLF.
    pub async fn get(address: SocketAddr, path: &str, headers: &str) -> Self {
        Self::send(
            address,
            &format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n"),
        )
        .await
    }

    pub async fn send(address: SocketAddr, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
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
        let size = usize::from_str_radix(&self.line().await?, 16).unwrap();
        while self.buffer.len() < size + 2 {
            self.read().await?;
        }
        let chunk = String::from_utf8(self.buffer.split_to(size).into()).unwrap();
        self.buffer.advance(2);
        Ok((size > 0).then_some(chunk))
    }

    /// Reads chunks to the end of the body.
    pub async fn rest(&mut self) -> io::Result<String> {
        let mut rest = String::new();
        while let Some(chunk) = self.chunk().await? {
            rest.push_str(&chunk);
        }
        Ok(rest)
    }

    /// Reads all that comes until the server closes the connection.
    pub async fn until_close(&mut self) -> BytesMut {
        while self.read().await.is_ok() {}
        std::mem::take(&mut self.buffer)
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
