//! The server of a framework, and its clients.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use bytes::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{Connections, Event, LastEventId, Sse};
use hyper::{Response, body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{mpsc::UnboundedReceiver, oneshot},
};

use super::{Answer, Answers, Framework, Source};
use crate::{
    deadline::{Background, joined, within},
    raw_client::RawClient,
    serving::{Listener, serving},
};

/// A server that runs until it is dropped.
pub(super) struct Server {
    pub(super) framework: &'static Framework,
    pub(super) address: SocketAddr,
    pub(super) answers: Answers,
    pub(super) paths: AtomicU64,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) thread: Option<JoinHandle<()>>,
}

/// The buffer size of the sockets on both sides, in bytes. It bounds the bytes in flight.
pub(super) const BUFFER: usize = 64 * 1024;

pub(super) async fn value_from<T>(what: &str, receiver: &mut UnboundedReceiver<T>) -> T {
    let next = within(what, receiver.recv()).await;
    next.expect("the sender was dropped")
}

/// Returns the next frame of a body.
pub(super) async fn one_frame(body: &mut Incoming) -> Bytes {
    let frame = within("a frame", body.frame()).await.unwrap();
    frame.unwrap().into_data().unwrap()
}

/// Returns the rest of a body.
pub(super) async fn whole(body: Incoming) -> Bytes {
    let all = within("the end of a body", body.collect()).await;
    all.unwrap().to_bytes()
}

/// The client's side of an HTTP/2 connection.
pub(super) struct Http2 {
    pub(super) sender: SendRequest<Empty<Bytes>>,
    pub(super) _connection: Background,
}

impl Http2 {
    pub(super) async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.ask("GET", path).await
    }

    pub(super) async fn ask(&mut self, method: &str, path: &str) -> Response<Incoming> {
        let uri = format!("http://x{path}");
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(Empty::new()).unwrap();
        let response = self.sender.send_request(request);
        within("a response", response).await.unwrap()
    }
}

impl Server {
    pub(super) fn start(framework: &'static Framework) -> Self {
        let (listener, address) = Listener::open(|socket| {
            socket.set_send_buffer_size(BUFFER).unwrap();
        });
        let answers = Answers {
            by_path: Arc::default(),
            connections: Connections::new().goodbye(Event::data("bye")),
        };
        let (stop, stopped) = oneshot::channel();
        let serve = framework.serve;
        let for_thread = answers.clone();
        let thread = thread::spawn(move || serve(listener, for_thread, stopped));
        Self {
            framework,
            address: address.get(),
            answers,
            paths: AtomicU64::new(0),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Sets an answer, and returns its path.
    pub(super) fn set(
        &self,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> String {
        let key = self.paths.load(Relaxed).to_string();
        self.set_in(&self.answers.connections, &key, respond)
    }

    /// Sets an answer that these connections admit, and returns its path.
    pub(super) fn set_in(
        &self,
        connections: &Connections,
        key: &str,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> String {
        let path = self.paths.fetch_add(1, Relaxed).to_string();
        let url = format!("/answers/{path}");
        let answer = Answer {
            connections: connections.clone(),
            key: key.to_owned(),
            respond: Box::new(respond),
        };
        self.answers.by_path.lock().unwrap().insert(path, answer);
        url
    }

    pub(super) async fn get(
        &self,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> RawClient {
        let path = self.set(respond);
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(BUFFER as u32).unwrap();
        // Segments of the size that networks use. A segment of the loopback interface fills half
        // the buffer. If the buffer has no room for one, the kernel sends it 200 ms later.
        SockRef::from(&socket).set_tcp_mss(1_460).unwrap();
        let stream = within("a connection to the server", socket.connect(self.address)).await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        RawClient::over(stream.unwrap(), request).await
    }

    /// Returns a client that has read the opening.
    pub(super) async fn opened(
        &self,
        respond: impl FnOnce(LastEventId) -> Sse<Source> + Send + 'static,
    ) -> RawClient {
        let mut client = self.get(respond).await;
        client.head().await;
        client.exactly(":\n").await;
        client
    }

    pub(super) async fn http2(&self) -> Http2 {
        // has a deadline: it is awaited below
        let connect = TcpStream::connect(self.address);
        let stream = within("a connection to the server", connect).await.unwrap();
        stream.set_nodelay(true).unwrap(); // small writes are sent at once
        let handshake = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(64 * 1024)
            .initial_connection_window_size(16 * 1024 * 1024)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = within("the handshake", handshake).await.unwrap();
        let connection = Background::spawn(async {
            _ = serving(connection).await; // the server may break it
        });
        Http2 {
            sender,
            _connection: connection,
        }
    }

    /// Returns the number of keep-alives of the newest stream, or `None` if it is closed.
    pub(super) fn keep_alives(&self) -> Option<u64> {
        let snapshot = self.answers.connections.snapshot();
        let last = (self.paths.load(Relaxed) - 1).to_string();
        let last = snapshot.iter().find(|stream| *stream.key == *last);
        last.map(|stream| stream.keep_alives)
    }

    /// Asserts that the headers are those of an event stream.
    ///
    /// The only others are `added`, those that the framework adds to every response, and those of
    /// the transport.
    pub(super) fn assert_headers(&self, headers: &HeaderMap, cache_control: &str, added: &[&str]) {
        assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(headers[header::CACHE_CONTROL], cache_control);
        assert_eq!(headers["x-accel-buffering"], "no");
        let expected = [
            "content-type",
            "cache-control",
            "x-accel-buffering",
            "date",
            "transfer-encoding",
        ];
        for name in headers.keys() {
            let name = name.as_str();
            let known = [&expected[..], added, self.framework.adds]
                .iter()
                .any(|list| list.contains(&name));
            assert!(known, "{name}: {:?}", headers[name]);
            assert_eq!(headers.get_all(name).iter().count(), 1, "{name}");
        }
    }
}

impl Server {
    /// Notifies the server to stop.
    pub(super) fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }

    /// Waits until the server has stopped.
    pub(super) fn wait_until_stopped(&mut self) {
        let thread = self.thread.take();
        _ = thread.map(|thread| joined("the server to stop", thread));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.answers.connections.shutdown();
        self.stop();
        if !thread::panicking() {
            self.wait_until_stopped();
        }
    }
}
