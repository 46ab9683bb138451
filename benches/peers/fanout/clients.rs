//! A server's process and its clients.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use http_sse_peers::Process;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::Notify,
};

use crate::CLIENTS;

/// A server process and its clients.
pub(crate) struct Server {
    process: Process,
    _clients: Runtime,
    seen: Arc<AtomicU64>,
    all_received: Arc<Notify>,
    runtime: Runtime,
}

impl Server {
    /// Starts the server and waits until all clients have the head of their response.
    pub(crate) fn start(name: &str, http2: bool) -> Self {
        let process = Process::start(["serve", name]);
        let address = process.address;
        let seen = Arc::new(AtomicU64::new(0));
        let all_received = Arc::new(Notify::new());
        let opened = Arc::new(AtomicU64::new(0));
        let clients = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let count = Count {
            seen: seen.clone(),
            all_received: all_received.clone(),
            opened: opened.clone(),
        };
        if http2 {
            for _ in 0..CLIENTS / 100 {
                clients.spawn(http2_clients(address, count.clone()));
            }
        } else {
            for _ in 0..CLIENTS {
                clients.spawn(http1_client(address, count.clone()));
            }
        }
        while opened.load(Relaxed) < CLIENTS {
            thread::sleep(Duration::from_millis(10));
        }
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            process,
            _clients: clients,
            seen,
            all_received,
            runtime,
        }
    }

    /// Publishes the bursts one after another and returns the server's CPU time per delivery.
    pub(crate) fn nanos_per_delivery(&mut self, bursts: u64, burst: u64) -> f64 {
        let before = self.process.cpu();
        for _ in 0..bursts {
            let wanted = self.seen.load(Relaxed) + burst * CLIENTS;
            writeln!(self.process.input, "{burst}").unwrap();
            self.runtime.block_on(async {
                loop {
                    let all_received = self.all_received.notified();
                    if self.seen.load(Relaxed) >= wanted {
                        return;
                    }
                    all_received.await;
                }
            });
        }
        let took = self.process.cpu() - before;
        took as f64 / (bursts * burst * CLIENTS) as f64
    }
}

/// The counters that all clients of a server share.
#[derive(Clone)]
struct Count {
    /// Events received by all clients together.
    seen: Arc<AtomicU64>,
    /// Notified when `seen` is a multiple of the number of clients.
    all_received: Arc<Notify>,
    /// Clients that have the head of their response.
    opened: Arc<AtomicU64>,
}

impl Count {
    fn add(&self, bytes: &[u8]) {
        let events = memchr::memchr_iter(b'~', bytes).count() as u64;
        let seen = self.seen.fetch_add(events, Relaxed) + events;
        if seen.is_multiple_of(CLIENTS) {
            self.all_received.notify_waiters();
        }
    }
}

async fn http1_client(address: SocketAddr, count: Count) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut buffer = vec![0; 16 * 1024];
    assert_ne!(stream.read(&mut buffer).await.unwrap(), 0); // the headers
    count.opened.fetch_add(1, Relaxed);
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => count.add(&buffer[..read]),
        }
    }
}

async fn http2_clients(address: SocketAddr, count: Count) {
    let stream = TcpStream::connect(address).await.unwrap();
    let http = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (sender, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..100 {
        let (mut sender, count) = (sender.clone(), count.clone());
        tokio::spawn(async move {
            let request = http::Request::get("http://x/events").body(Empty::<bytes::Bytes>::new());
            let response = sender.send_request(request.unwrap()).await.unwrap();
            count.opened.fetch_add(1, Relaxed);
            let mut body = response.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                count.add(frame.data_ref().unwrap());
            }
        });
    }
}
