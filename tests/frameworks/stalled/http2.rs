//! A client on HTTP/2 that stops reading.

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::sleep};

use super::{
    SLACK, WRITE_TIMEOUT,
    clients::{comes, stall, stalls, start},
    servers::serve_hyper,
    user_timeout,
};
use crate::{
    deadline::{Background, within},
    serving::{runtime, serving},
    undisturbed::Undisturbed,
};

/// An HTTP/2 client that stops granting window does not fill the socket. The server notices it by
/// an unanswered ping.
#[test]
fn hyper_on_http2_with_pings() {
    let (_server, address, streams) = start(serve_hyper, user_timeout);
    let connections = &streams.connections;
    // Tasks of this runtime run only during `block_on`.
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let unread = client.block_on(async {
        let unread = http2(address, "stalled").await;
        stalls(connections, "stalled").await;
        // While the client reads the connection, nothing ends the stream that it does not read.
        // `close_where` does not end it either.
        assert_eq!(connections.close_where(|it| &*it.key == "stalled"), 1);
        sleep(2 * WRITE_TIMEOUT).await;
        let open = stall(connections, "stalled");
        assert!(open > Some(WRITE_TIMEOUT), "{open:?}");
        unread
    });

    // From here on the client reads nothing.
    let (start, clock) = (Instant::now(), Undisturbed::now());
    let is_closed = || connections.totals().open == 0;
    runtime(1).block_on(comes("the stream to be closed", is_closed));
    let (closed, undisturbed) = (start.elapsed(), clock.elapsed());
    println!("hyper, HTTP/2 pings: closed after {closed:?}");
    assert!(
        undisturbed < WRITE_TIMEOUT + SLACK,
        "closed after {closed:?}, {undisturbed:?} of it undisturbed"
    );
    drop((client, unread));
}

/// Sends a request over HTTP/2. Returns the connection and the unread body of the response.
async fn http2(address: SocketAddr, key: &str) -> (impl Sized, hyper::body::Incoming) {
    let stream = within("a connection to the server", TcpStream::connect(address)).await;
    let stream = TokioIo::new(stream.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream);
    let (mut sender, connection) = within("the handshake", handshake).await.unwrap();
    let connection = Background::spawn(async {
        _ = serving(connection).await; // the server breaks it
    });
    let request = Request::get(format!("http://x/streams/{key}"));
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let response = within("the response", sender.send_request(request)).await;
    ((sender, connection), response.unwrap().into_body())
}
