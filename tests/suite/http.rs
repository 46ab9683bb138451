//! On a real hyper server: what a client sees of an end, and the server of a client that leaves.

use std::{
    convert::Infallible,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::raw_client::RawClient;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{CloseReason, Closed, Event, LastEventId, Sse, SseBody, stop};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

type Source = stream::BoxStream<'static, Result<Event, &'static str>>;

/// A server, and the ends of its streams.
struct Server {
    address: SocketAddr,
    closed: UnboundedReceiver<Closed>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, closed) = unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let sender = sender.clone();
                    let on_close = move |closed| sender.send(closed).unwrap();
                    async move { Ok::<_, Infallible>(respond(&request, on_close)) }
                });
                tokio::spawn(async move {
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Self { address, closed }
    }

    /// The next end of a stream, and how long it took to come.
    async fn closed(&mut self) -> (Closed, Duration) {
        let start = Instant::now();
        let closed = timeout(Duration::from_secs(10), self.closed.recv()).await;
        (closed.unwrap().unwrap(), start.elapsed())
    }

    /// Asks over HTTP/2.
    async fn h2(&self, request: Request<Empty<Bytes>>) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }
}

fn respond(
    request: &Request<Incoming>,
    on_close: impl FnOnce(Closed) + Send + 'static,
) -> Response<SseBody<Source>> {
    let a_and_b = stream::iter(["a", "b"]).map(|data| Ok(Event::data(data)));
    let source = match request.uri().path() {
        "/silent" => stream::pending().boxed(),
        "/ends" => a_and_b.boxed(),
        "/fails" => a_and_b
            .chain(stream::iter([Err("the source failed")]))
            .boxed(),
        "/last" => {
            let last = LastEventId::from_request(request);
            stream::iter([Ok(Event::data(format!("{:?}", last.as_str())))]).boxed()
        }
        _ => return stop().into_response(),
    };
    Sse::new(source)
        .keep_alive(None)
        .on_close(on_close)
        .for_method(request.method())
        .into_response()
}

#[tokio::test]
async fn the_response_is_that_of_an_event_stream() {
    let server = Server::start().await;
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
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ":\ndata: a\n\ndata: b\n\n");
}

#[tokio::test]
async fn a_client_that_closes_is_noticed_at_once() {
    let mut server = Server::start().await;
    for leave in [RawClient::close, RawClient::reset] {
        let mut client = RawClient::get(server.address, "/silent", "").await;
        client.head().await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), ":\n");
        leave(client);
        let (closed, took) = server.closed().await;
        assert_eq!((closed.reason, closed.bytes), (CloseReason::ClientGone, 2));
        assert!(took < Duration::from_millis(100), "{took:?}");
    }
}

#[tokio::test]
async fn a_clean_end_is_a_clean_end() {
    let mut server = Server::start().await;
    let mut client = RawClient::get(server.address, "/ends", "").await;
    client.head().await;
    assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\ndata: b\n\n");
    assert_eq!(server.closed().await.0.reason, CloseReason::End);

    // The connection goes on: it is the same as after any other response.
    let twice = "GET /ends HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    let mut client = RawClient::send(server.address, &twice).await;
    for _ in 0..2 {
        client.head().await;
        assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\ndata: b\n\n");
    }
}

#[tokio::test]
async fn an_error_of_the_source_is_a_broken_response() {
    let mut server = Server::start().await;
    let mut client = RawClient::get(server.address, "/fails", "").await;
    client.head().await;
    assert_eq!(
        client.chunk().await.unwrap().unwrap(),
        ":\ndata: a\n\ndata: b\n\n"
    );
    assert!(client.chunk().await.is_err());
    assert_eq!(server.closed().await.0.reason, CloseReason::Error);

    let response = server
        .h2(Request::get("http://x/fails").body(Empty::new()).unwrap())
        .await;
    let mut body = response.into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), ":\ndata: a\n\ndata: b\n\n");
    // RST_STREAM
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("reset") || format!("{error:?}").contains("Reset"),
        "{error:?}"
    );
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
    let (closed, _) = server.closed().await;
    assert_eq!((closed.reason, closed.bytes), (CloseReason::End, 0));

    let response = server
        .h2(Request::head("http://x/ends").body(Empty::new()).unwrap())
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
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
async fn the_last_event_id_is_what_was_sent() {
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
