//! Headers, ends and disconnects of streams on a real hyper server.

use std::{convert::Infallible, net::SocketAddr, panic::resume_unwind};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{CloseReason, CloseReport, Event, LastEventId, Sse, SseBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    select,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::{JoinError, JoinSet},
};

use crate::{
    deadline::{Background, within},
    raw_client::RawClient,
};

/// The payload of the panic of `/panics`.
const PANIC: &str = "the source panics";

type Source = stream::BoxStream<'static, Result<Event, &'static str>>;

/// A server, with the close reports of its streams.
struct Server {
    address: SocketAddr,
    closed: UnboundedReceiver<CloseReport>,
    /// The client sides of HTTP/2 connections. They stop before the server does.
    clients: Vec<Background>,
    _serving: Background,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(auto::Builder::new(TokioExecutor::new())).await
    }

    /// Starts a server with these settings of `http`.
    async fn start_with(http: auto::Builder<TokioExecutor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0");
        let listener = within("a port", listener).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, closed) = unbounded_channel();
        let serve = async move {
            let mut connections = JoinSet::new();
            loop {
                // waits for good: the test aborts the server
                let socket = select! {
                    accepted = within("a connection", listener.accept()) => accepted.unwrap().0,
                    Some(ended) = connections.join_next() => {
                        ended.unwrap_or_else(ignore_the_panic_of_a_source);
                        continue;
                    }
                };
                let sender = sender.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let sender = sender.clone();
                    // The receiver is dropped if the test has ended.
                    let on_close = move |closed| _ = sender.send(closed);
                    async move { Ok::<_, Infallible>(respond(&request, on_close)) }
                });
                let connection = http.serve_connection(TokioIo::new(socket), service);
                // The connection fails if its client resets it or its source fails.
                connections.spawn(connection.into_owned().map(drop));
            }
        };
        Self {
            address,
            closed,
            clients: Vec::new(),
            _serving: Background::spawn(serve),
        }
    }

    /// Waits for the next close report.
    async fn next_end(&mut self) -> CloseReport {
        within("the end of a stream", self.closed.recv())
            .await
            .expect("the server stopped")
    }

    /// Asserts that both events of this path arrive over HTTP/1.1, and that the response then breaks
    /// off.
    async fn assert_events_and_failure(&mut self, path: &str) {
        let mut client = RawClient::get(self.address, path, "").await;
        client.head().await;
        let events = client.chunk().await.unwrap().unwrap();
        assert_eq!(events, ":\ndata: a\n\ndata: b\n\n");
        assert!(client.chunk().await.is_err());
        assert_eq!(self.next_end().await.reason, CloseReason::Error);
    }

    /// Sends a request over HTTP/2.
    async fn h2(&mut self, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        // has a deadline: it is awaited below
        let socket = TcpStream::connect(self.address);
        let socket = TokioIo::new(within("a connection", socket).await.unwrap());
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), socket);
        let (mut sender, connection) = within("the handshake", handshake).await.unwrap();
        let connection = Background::spawn(connection.map(Result::unwrap));
        self.clients.push(connection);
        within("the response", sender.send_request(request))
            .await
            .unwrap()
    }
}

/// Propagates the panic of a connection unless it is that of `/panics`.
fn ignore_the_panic_of_a_source(ended: JoinError) {
    let panic = ended.into_panic();
    if panic.downcast_ref() != Some(&PANIC) {
        resume_unwind(panic);
    }
}

fn respond(
    request: &Request<Incoming>,
    on_close: impl FnOnce(CloseReport) + Send + 'static,
) -> Response<SseBody<Source>> {
    let a_and_b = stream::iter(["a", "b"]).map(|data| Ok(Event::data(data)));
    let source = match request.uri().path() {
        "/silent" => stream::pending().boxed(),
        "/ends" => a_and_b.boxed(),
        "/fails" => a_and_b
            .chain(stream::iter([Err("the source failed")]))
            .boxed(),
        "/panics" => a_and_b
            .chain(stream::once(async { resume_unwind(Box::new(PANIC)) }))
            .boxed(),
        "/last" => {
            let last = LastEventId::from_request(request);
            stream::iter([Ok(Event::data(format!("{:?}", last.as_str())))]).boxed()
        }
        _ => return Sse::stop().into_response(),
    };
    Sse::new(source)
        .keep_alive(None)
        .on_close(on_close)
        .for_method(request.method())
        .into_response()
}

#[tokio::test]
async fn the_response_has_the_headers_of_an_event_stream() {
    let mut server = Server::start().await;
    let mut client = RawClient::get(server.address, "/silent", "").await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-cache, no-transform");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert!(!headers.contains_key("connection"));
    assert_eq!(client.chunk().await.unwrap().unwrap(), ":\n");

    let response = server
        .h2(Request::get("http://x/ends").body(Empty::new()).unwrap())
        .await;
    assert!(!response.headers().contains_key("connection"));
    let body = within("the end of the body", response.into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes(), ":\ndata: a\n\ndata: b\n\n");
}

/// Nothing is written and no timer is set, so only the disconnect can wake the server.
#[tokio::test]
async fn a_client_that_leaves_a_silent_stream_is_noticed() {
    let mut server = Server::start().await;
    for leave in [RawClient::close, RawClient::reset] {
        let mut client = RawClient::get(server.address, "/silent", "").await;
        client.head().await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), ":\n");
        leave(client);
        let closed = server.next_end().await;
        assert_eq!((closed.reason, closed.bytes), (CloseReason::ClientGone, 2));
        assert_eq!(closed.keep_alives, 0);
    }
}

#[tokio::test]
async fn a_response_ends_cleanly_with_its_source() {
    let mut server = Server::start().await;
    let mut client = RawClient::get(server.address, "/ends", "").await;
    client.head().await;
    assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\ndata: b\n\n");
    assert_eq!(server.next_end().await.reason, CloseReason::End);

    // The connection stays usable, as after any other response.
    let twice = "GET /ends HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    let mut client = RawClient::send(server.address, &twice).await;
    for _ in 0..2 {
        client.head().await;
        assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\ndata: b\n\n");
    }
}

#[tokio::test]
async fn an_error_of_the_source_breaks_the_response() {
    let mut server = Server::start().await;
    server.assert_events_and_failure("/fails").await;

    let response = server
        .h2(Request::get("http://x/fails").body(Empty::new()).unwrap())
        .await;
    let mut body = response.into_body();
    let frame = within("the events", body.frame()).await.unwrap();
    let frame = frame.unwrap().into_data().unwrap();
    assert_eq!(frame, ":\ndata: a\n\ndata: b\n\n");
    // RST_STREAM
    let error = within("the error", body.frame()).await.unwrap();
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("reset") || format!("{error:?}").contains("Reset"),
        "{error:?}"
    );
}

/// Without vectored writes, hyper copies each frame and drops it before it writes the copy.
#[tokio::test]
async fn events_before_an_error_arrive_if_the_connection_copies_frames() {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().writev(false);
    let mut server = Server::start_with(http).await;
    server.assert_events_and_failure("/fails").await;
}

#[tokio::test]
async fn events_before_a_panic_of_the_source_arrive() {
    let mut server = Server::start().await;
    server.assert_events_and_failure("/panics").await;
}

#[tokio::test]
async fn head_gets_the_headers_and_no_stream() {
    let mut server = Server::start().await;
    let request = "HEAD /ends HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut client = RawClient::send(server.address, request).await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["x-accel-buffering"], "no");
    assert_eq!(client.until_close().await, "");
    let closed = server.next_end().await;
    assert_eq!((closed.reason, closed.bytes), (CloseReason::End, 0));

    let response = server
        .h2(Request::head("http://x/ends").body(Empty::new()).unwrap())
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let body = within("the end of the body", response.into_body().collect()).await;
    assert_eq!(body.unwrap().to_bytes(), "");
}

#[tokio::test]
async fn stop_is_an_empty_204() {
    let server = Server::start().await;
    let mut client = RawClient::get(server.address, "/", "connection: close\r\n").await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 204);
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(client.until_close().await, "");
}

#[tokio::test]
async fn the_last_event_id_reaches_the_handler() {
    let server = Server::start().await;
    for (path, headers, last) in [
        ("/last", "", "None"),
        ("/last", "last-event-id: 7-3\r\n", "Some(\"7-3\")"),
        ("/last", "Last-Event-ID: é☃\r\n", "Some(\"é☃\")"),
        ("/last?lastEventId=a%20b", "", "Some(\"a b\")"),
    ] {
        let mut client = RawClient::get(server.address, path, headers).await;
        client.head().await;
        assert_eq!(client.rest().await.unwrap(), format!(":\ndata: {last}\n\n"));
    }
}
