//! Cases of the framing of finite responses.

use std::time::Duration;

use http::{StatusCode, header};
use http_sse::{Connections, LastEventId, Sse};

use super::{
    Source,
    server::{Server, whole},
    sources::{INTERVAL, events, every, silence},
};
use crate::{deadline::within, raw_client::RawClient};

pub(super) async fn stop_is_an_empty_204(server: &Server) {
    let mut client = RawClient::get(server.address, "/answers/none", "connection: close\r\n").await;
    let (status, headers) = client.head().await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert!(!headers.contains_key(header::CONTENT_TYPE));
    assert!(client.until_close().await.is_empty());
}

/// The client of a finite response knows its end at once, and the connection stays usable. The
/// server answers a second, pipelined request.
pub(super) async fn finite_responses_are_delimited(server: &Server) {
    let full = Connections::new().max(0);
    let full_key = Connections::new().max_per_key(0);
    let never = |_| Sse::new(silence());
    let ended = |_| Sse::new(events(["a"]));
    let own = &server.answers.connections;
    for (method, connections, respond, status, body) in [
        (
            "GET",
            &full,
            never as fn(LastEventId) -> Sse<Source>,
            503,
            "",
        ),
        ("GET", &full_key, never, 429, ""),
        ("GET", own, |_| Sse::stop(), 204, ""),
        ("GET", own, without_content::<204>, 204, ""),
        ("GET", own, without_content::<304>, 304, ""),
        ("GET", own, ended, 200, ":\ndata: a\n\n"),
        ("HEAD", own, ended, 200, ""),
        ("HEAD", own, |_| Sse::stop(), 204, ""),
        ("HEAD", &full, never, 503, ""),
        ("HEAD", &full_key, never, 429, ""),
    ] {
        let first = server.set_in(connections, "first", respond);
        let second = server.set(|_| Sse::new(events(["second"])));
        let requests = format!(
            "{method} {first} HTTP/1.1\r\nhost: x\r\n\r\nGET {second} HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let what = format!("{}: {status} to {method}", server.framework.name);
        let mut client = RawClient::send(server.address, requests).await;
        let (found, headers) = client.head().await;
        assert_eq!(found, status, "{what}");
        if method == "GET" {
            assert_eq!(client.framed(found, &headers).await, body, "{what}");
        }
        let (found, headers) = client.head().await;
        assert_eq!(found, 200, "{what}, second response");
        let second = client.framed(found, &headers).await;
        assert_eq!(second, ":\ndata: second\n\n", "{what}, second response");
        client.close();

        // HTTP/1.0 has no chunks, so the body ends with the connection.
        let path = server.set_in(connections, "first", respond);
        let request = format!("{method} {path} HTTP/1.0\r\nhost: x\r\n\r\n");
        let mut client = RawClient::send(server.address, request).await;
        let (found, headers) = client.head().await;
        assert_eq!(found, status, "{what} on HTTP/1.0");
        let is_chunked = headers.contains_key(header::TRANSFER_ENCODING);
        let chunks = server.framework.chunks_on_http_1_0 && !body.is_empty();
        assert_eq!(is_chunked, chunks, "{what} on HTTP/1.0: {headers:?}");
        if is_chunked {
            assert_eq!(client.rest().await.unwrap(), body, "{what} on HTTP/1.0");
        } else {
            assert_eq!(client.until_close().await, body, "{what} on HTTP/1.0");
        }

        if server.framework.http2 {
            let mut sender = server.http2().await;
            let path = server.set_in(connections, "first", respond);
            let response = sender.ask(method, &path).await;
            assert_eq!(response.status(), status, "{what} on HTTP/2");
            assert_eq!(whole(response.into_body()).await, body, "{what} on HTTP/2");
            let path = server.set(|_| Sse::new(events(["second"])));
            let second = whole(sender.get(&path).await.into_body()).await;
            assert_eq!(second, ":\ndata: second\n\n", "{what} on HTTP/2");
        }
    }
}

/// Returns a response with a status that allows no content, although it has a source.
fn without_content<const STATUS: u16>(_: LastEventId) -> Sse<Source> {
    Sse::new(silence()).status(StatusCode::from_u16(STATUS).unwrap())
}

/// The server answers `503` if it is full, and `429` if a key is. A client that leaves frees its
/// place.
pub(super) async fn a_rejected_client_gets_429_or_503(server: &Server) {
    let connections = Connections::new().max(2).max_per_key(1);
    let connections = connections.retry_after(Duration::from_secs(10));
    let ask = async |key| {
        let path = server.set_in(&connections, key, |_| {
            Sse::new(silence()).keep_alive(every(INTERVAL))
        });
        let mut client = RawClient::get(server.address, &path, "connection: close\r\n").await;
        let (status, headers) = client.head().await;
        (status, headers, client)
    };
    let (status, _, mut first) = ask("a").await;
    assert_eq!(status, 200);
    first.exactly(":\n").await;

    let refused = async |key, expected: StatusCode| {
        let (status, headers, mut client) = ask(key).await;
        assert_eq!(status, expected);
        assert_eq!(headers[header::RETRY_AFTER], "10");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert!(!headers.contains_key(header::CONTENT_TYPE));
        let body = client.until_close().await;
        // The body has the length 0, or it is the last chunk.
        assert!(matches!(&*body, b"" | b"0\r\n\r\n"), "{body:?}");
    };
    refused("a", StatusCode::TOO_MANY_REQUESTS).await;
    let (status, _, mut second) = ask("b").await;
    assert_eq!(status, 200);
    second.exactly(":\n").await;
    refused("c", StatusCode::SERVICE_UNAVAILABLE).await;

    first.close();
    second.close();
    within("those who left to make room", connections.closed()).await;
    let (status, _, again) = ask("a").await;
    assert_eq!(status, 200);
    again.close();
    within("those who left to make room", connections.closed()).await;
}
