//! A proxy before a server, which counts, slows down or swallows what passes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};

use crate::{
    deadline::{Background, within},
    redis_server::RedisServer,
};

/// A proxy before a server, which counts what the clients send.
pub(crate) struct Proxy {
    pub(crate) url: String,
    traffic: Arc<Traffic>,
    _serves: Background,
}

#[derive(Default)]
struct Traffic {
    /// The packets of connections that read a tail, and of all others.
    packets: Mutex<[u64; 2]>,
    /// The number of connections.
    connections: AtomicUsize,
    /// The number of the first connection that is not silent.
    silent: AtomicUsize,
    /// The bytes per millisecond that each connection gets, or 0 for no limit.
    rate: AtomicUsize,
}

impl Proxy {
    pub(crate) async fn start(server: &RedisServer) -> Self {
        let listener = within("a port", TcpListener::bind("127.0.0.1:0")).await;
        let listener = listener.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let traffic = Arc::new(Traffic::default());
        let (port, shared) = (server.port(), traffic.clone());
        let _serves = Background::spawn(async move {
            let mut connections = Vec::new();
            // has a deadline: the task is dropped with the proxy
            while let Ok((client, _)) = listener.accept().await {
                connections.push(Background::spawn(serve(client, port, shared.clone())));
            }
        });
        Self {
            url,
            traffic,
            _serves,
        }
    }

    /// Returns the packets of tails, and all others, since the last call.
    pub(crate) fn take(&self) -> [u64; 2] {
        std::mem::take(&mut *self.traffic.packets.lock().unwrap())
    }

    /// Swallows everything that the present connections send, without closing them.
    pub(crate) fn silence(&self) {
        let connections = self.traffic.connections.load(SeqCst);
        self.traffic.silent.store(connections, SeqCst);
    }

    /// Limits what each connection gets, in bytes per millisecond.
    pub(crate) fn limit(&self, rate: usize) {
        self.traffic.rate.store(rate, SeqCst);
    }
}

/// Forwards the packets of a client. Each is one call of the client, because it sends all of it at once.
async fn serve(client: TcpStream, port: u16, traffic: Arc<Traffic>) {
    let number = traffic.connections.fetch_add(1, SeqCst);
    let connected = within("the server", TcpStream::connect(("127.0.0.1", port))).await;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = connected.unwrap().into_split();
    let shared = traffic.clone();
    let _answers = Background::spawn(async move {
        let mut packet = vec![0; 1 << 14];
        // has a deadline: the task is dropped with the connection
        while let Ok(read @ 1..) = from_server.read(&mut packet).await {
            let rate = shared.rate.load(SeqCst);
            let micros = (1_000 * read).checked_div(rate).unwrap_or_default();
            let time = Duration::from_micros(micros as u64);
            within("the slow link", sleep(time)).await;
            // has a deadline: the task is dropped with the connection
            if to_client.write_all(&packet[..read]).await.is_err() {
                break;
            }
        }
    });
    let mut packet = vec![0; 1 << 16];
    // has a deadline: the task is dropped with the proxy
    while let Ok(read @ 1..) = from_client.read(&mut packet).await {
        if number < traffic.silent.load(SeqCst) {
            continue;
        }
        let text = String::from_utf8_lossy(&packet[..read]);
        // Not the check of the permissions, which does not wait.
        let is_tail = text.contains("XREAD") && text.contains("BLOCK");
        traffic.packets.lock().unwrap()[usize::from(!is_tail)] += 1;
        let written = within("the server to read", to_server.write_all(&packet[..read])).await;
        if written.is_err() {
            break;
        }
    }
}
