//! Cases of request and response headers.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_sse::{CloseReason, LastEventId, Sse};
use tokio::sync::mpsc::unbounded_channel;

use super::{
    Source,
    server::{Server, value_from, whole},
    sources::events,
};
use crate::raw_client::RawClient;

pub(super) async fn the_response_has_these_headers(server: &Server) {
    let mut client = server.get(|_| Sse::new(events(["a"]))).await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    server.assert_headers(&headers, "no-cache, no-transform", &[]);
    assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\n");

    let mut client = server
        .get(|_| {
            let no_store = HeaderValue::from_static("no-store");
            Sse::new(events(["a"]))
                .header(header::CACHE_CONTROL, no_store)
                .header(
                    HeaderName::from_static("x-mine"),
                    HeaderValue::from_static("1"),
                )
        })
        .await;
    let (_, headers) = client.head().await;
    server.assert_headers(&headers, "no-store", &["x-mine"]);
    assert_eq!(headers["x-mine"], "1");
}

pub(super) async fn head_has_the_headers_and_no_body(server: &Server) {
    let (closes, mut closed) = unbounded_channel();
    let path = server.set(|_| {
        let sse = Sse::new(events(["a"]));
        sse.on_close(move |closed| closes.send(closed.reason).unwrap())
    });
    let request = format!("HEAD {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut client = RawClient::send(server.address, request).await;
    let (status, headers) = client.head().await;
    assert_eq!(status, 200);
    assert_eq!(headers[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(headers["x-accel-buffering"], "no");
    // The response to GET has no length, so the response to HEAD must not state one.
    assert!(!headers.contains_key(header::CONTENT_LENGTH), "{headers:?}");
    assert_eq!(client.until_close().await, "");
    let reason = value_from("the close report", &mut closed).await;
    assert_eq!(reason, CloseReason::End);
}

pub(super) async fn a_status_and_repeated_headers_arrive(server: &Server) {
    fn respond(_: LastEventId) -> Sse<Source> {
        let cookie = HeaderValue::from_static;
        Sse::new(events(["a"]))
            .append_header(header::SET_COOKIE, cookie("a=1"))
            .append_header(header::SET_COOKIE, cookie("b=2"))
            .status(StatusCode::ACCEPTED)
    }

    let assert_arrived = |status: StatusCode, headers: &HeaderMap| {
        assert_eq!(status, StatusCode::ACCEPTED);
        let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    };
    let mut client = server.get(respond).await;
    let (status, headers) = client.head().await;
    assert_arrived(status, &headers);
    assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\n");
    if server.framework.http2 {
        let response = server.http2().await.get(&server.set(respond)).await;
        assert_arrived(response.status(), response.headers());
    }
}

pub(super) async fn http2_has_no_connection_header(server: &Server) {
    let mut sender = server.http2().await;
    let path = server.set(|_| Sse::new(events(["a"])));
    let response = sender.get(&path).await;
    assert_eq!(response.status(), 200);
    server.assert_headers(response.headers(), "no-cache, no-transform", &[]);
    assert!(!response.headers().contains_key(header::CONNECTION));
    assert_eq!(whole(response.into_body()).await, ":\ndata: a\n\n");

    let path = server.set(|_| Sse::new(events(["a"])));
    let response = sender.ask("HEAD", &path).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    assert_eq!(whole(response.into_body()).await, "");
}

pub(super) async fn the_last_event_id_reaches_the_handler(server: &Server) {
    let long = "x".repeat(8 * 1024);
    let utf8 = "é☃🦀".as_bytes();
    let cases: [(&[u8], &str, &[u8]); 12] = [
        (b"7-3", "", b"7-3"),
        (utf8, "", utf8),
        (long.as_bytes(), "", long.as_bytes()),
        (b"", "", b""),
        (b"", "?lastEventId=7-3", b"7-3"),
        (b"", "?a=b&lastEventId=%C3%A9+%26", "é &".as_bytes()),
        (b"", "?lastEventId=", b""),
        (b"", "?lastEventId=%", b"%"),
        (b"", "?lastEventId=%00%ff", b"\0\xff"),
        (b"", "?lastEventId", b""),
        (b"7", "?lastEventId=8", b"7"),
        (b"\xff\xfe", "", b"\xff\xfe"),
    ];
    for (header, query, expected) in cases {
        let (sender, mut received) = unbounded_channel();
        let path = server.set(move |last| {
            sender.send(last).unwrap();
            Sse::new(events(["a"]))
        });
        let mut request = format!("GET {path}{query} HTTP/1.1\r\nhost: x\r\n").into_bytes();
        if !header.is_empty() {
            request.extend_from_slice(&[b"last-event-id: ", header, b"\r\n"].concat());
        }
        request.extend_from_slice(b"\r\n");
        let mut client = RawClient::send(server.address, request).await;
        assert_eq!(client.head().await.0, 200, "{query}");
        let dropped = std::str::from_utf8(header).is_err() && !server.framework.raw_headers;
        let expected = if dropped { b"" } else { expected };
        assert_eq!(
            value_from("the handler", &mut received).await.as_bytes(),
            expected,
            "{query}"
        );
    }
}
