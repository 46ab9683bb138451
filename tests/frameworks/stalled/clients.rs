//! Clients that read little, and checks of their streams and sockets.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http_sse::Connections;
use socket2::{SockRef, Socket};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::sleep,
};

use super::{STALL, streams::Streams};
use crate::{
    deadline::{Serving, within},
    serving::Listener,
};

/// Starts a server in a thread that ends with the process.
pub(super) fn start(
    serve: fn(Listener, Streams),
    set: fn(&Socket),
) -> (Serving, SocketAddr, Streams) {
    let (listener, address) = Listener::open(set);
    let streams = Streams {
        connections: Connections::new(),
        fed: Arc::default(),
    };
    let for_thread = streams.clone();
    let server = Serving::start(move || serve(listener, for_thread));
    (server, address.get(), streams)
}

/// Opens a connection whose client has a small receive buffer.
pub(super) async fn stream_to(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    stream_from(socket, address).await
}

/// Opens a connection with segments of the size that networks use. A segment of the loopback
/// interface is larger than some buffers.
pub(super) async fn stream_from(socket: TcpSocket, address: SocketAddr) -> TcpStream {
    SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
    let stream = within("a connection to the server", socket.connect(address)).await;
    stream.unwrap()
}

pub(super) fn request(key: &str) -> String {
    format!("GET /streams/{key} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// Returns the time since a stream stalled, or `None` if it is not stalled.
pub(super) fn stall(connections: &Connections, key: &str) -> Option<Duration> {
    let snapshot = connections.snapshot();
    let stream = snapshot.iter().find(|stream| &*stream.key == key)?;
    stream.stalled_for.filter(|stalled| *stalled > STALL)
}

/// Waits until a stream is stalled. Returns the time at which it stalled, or slightly earlier.
pub(super) async fn stalls(connections: &Connections, key: &str) -> Instant {
    let mut since = None;
    comes("the stall to be reported", || {
        let now = Instant::now();
        since = stall(connections, key).map(|stalled| now - stalled);
        since.is_some()
    })
    .await;
    since.unwrap()
}

/// Waits until a condition holds. It is checked every 20 ms only, because the check is expensive.
pub(super) async fn comes(what: &str, mut is_so: impl FnMut() -> bool) {
    within(what, async {
        while !is_so() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// Returns whether the kernel still has the server's side of a connection.
pub(super) fn has_socket(server: SocketAddr, client: SocketAddr) -> bool {
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: Option<&str>| {
        let (_, port) = address?.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    // Other tests may have ten thousand sockets, so only matching lines are parsed.
    let of_client = format!(":{:04X}", client.port());
    let mut lines = sockets.lines().filter(|line| line.contains(&of_client));
    lines.any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = (port(fields.next()), port(fields.next()));
        ends == (Some(server.port()), Some(client.port()))
    })
}
