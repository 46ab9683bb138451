//! axum: `Sse` as the return type of a handler, `LastEventId` as an extractor, and both handlers of
//! the guide's table.

use std::{convert::Infallible, sync::mpsc, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use http_sse::{Event, Json, KeepAlive, LastEventId, Sse};
use tower::ServiceExt as _;

use crate::deadline::within;

async fn echo(last: LastEventId) -> Sse<impl Stream<Item = Event>> {
    let text = last.as_str().unwrap_or("none").to_owned();
    Sse::new(stream::iter([Event::data(text)]))
}

async fn tokens(prompt: String) -> Sse<impl Stream<Item = Json<String>>> {
    let words: Vec<_> = prompt
        .split(' ')
        .map(|word| Json(word.to_owned()))
        .collect();
    Sse::new(stream::iter(words)).end_with(Event::data("[DONE]"))
}

async fn fails() -> Sse<impl Stream<Item = Result<Event, std::io::Error>>> {
    Sse::new(stream::iter([
        Ok(Event::data("a")),
        Err(std::io::Error::other("no more")),
    ]))
}

async fn maybe(last: LastEventId) -> Sse<impl Stream<Item = Event>> {
    match last.parse::<u64>() {
        Some(99) => Sse::stop(),
        _ => Sse::new(stream::empty()),
    }
}

fn app() -> Router {
    Router::new()
        .route("/echo", get(echo))
        .route("/tokens", post(tokens))
        .route("/fails", get(fails))
        .route("/maybe", get(maybe))
}

async fn ask(request: http::request::Builder, body: &'static str) -> Response {
    let response = app().oneshot(request.body(Body::from(body)).unwrap());
    within("the response", response).await.unwrap()
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect();
    let body = within("the end of the body", body).await.unwrap();
    String::from_utf8(body.to_bytes().into()).unwrap()
}

#[tokio::test]
async fn a_handler_returns_an_event_stream() {
    let response = ask(Request::get("/echo"), "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(
        response.headers()["cache-control"],
        "no-cache, no-transform"
    );
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert_eq!(response.headers().len(), 3);
    assert_eq!(text(response).await, ":\ndata: none\n\n");
}

#[tokio::test]
async fn extracting_the_last_event_id_never_fails() {
    let response = ask(Request::get("/echo").header("last-event-id", "7"), "").await;
    assert_eq!(text(response).await, ":\ndata: 7\n\n");
    let response = ask(Request::get("/echo?lastEventId=8"), "").await;
    assert_eq!(text(response).await, ":\ndata: 8\n\n");
    let garbage = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
    let response = ask(Request::get("/echo").header("last-event-id", garbage), "").await;
    assert_eq!(text(response).await, ":\ndata: none\n\n");
}

#[tokio::test]
async fn a_post_returns_a_stream() {
    let response = ask(Request::post("/tokens"), "why \"not\"").await;
    assert_eq!(
        text(response).await,
        ":\ndata: \"why\"\n\ndata: \"\\\"not\\\"\"\n\ndata: [DONE]\n\n"
    );
}

#[tokio::test]
async fn head_returns_the_headers_and_no_stream() {
    let response = ask(Request::head("/echo"), "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn an_error_fails_the_body() {
    let mut body = ask(Request::get("/fails"), "").await.into_body();
    let frame = within("the frame", body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), ":\ndata: a\n\n");
    let error = within("the error", body.frame()).await.unwrap();
    assert_eq!(error.unwrap_err().to_string(), "no more");
    assert!(within("the end", body.frame()).await.is_none());
}

#[tokio::test]
async fn a_handler_returns_stop() {
    let response = ask(Request::get("/maybe").header("last-event-id", "99"), "").await;
    assert_eq!(response.status(), 204);
    let response = ask(Request::get("/maybe"), "").await;
    assert_eq!(response.status(), 200);
}

/// Drops the response, as axum does when the client leaves.
#[tokio::test]
async fn dropping_the_response_drops_the_source() {
    let (sender, closed) = mpsc::channel();
    let sse =
        Sse::new(stream::pending::<Event>()).on_close(move |closed| sender.send(closed).unwrap());
    drop(axum::response::IntoResponse::into_response(sse));
    closed.try_recv().unwrap();
}

/// Shows the bytes of axum's own `Event` that the guide mentions.
#[tokio::test]
async fn axums_own_event_doubles_a_crlf_and_drops_empty_data() {
    use axum::response::sse;

    let events = ["a\r\nb", ""].map(|data| Ok::<_, Infallible>(sse::Event::default().data(data)));
    let response = sse::Sse::new(stream::iter(events)).into_response();
    assert_eq!(text(response).await, "data: a\rdata: \ndata: b\n\n\n");

    let response = Sse::new(stream::iter(["a\r\nb", ""].map(Event::data)));
    let response = axum::response::IntoResponse::into_response(response);
    assert_eq!(text(response).await, ":\ndata: a\ndata: b\n\ndata: \n\n");
}

/// The left column of the guide's table.
mod before {
    use axum::response::sse::{Event, KeepAlive, Sse};

    use super::*;

    pub(super) async fn handler(
        name: String,
    ) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
        let source = stream::iter([
            Event::default().data("a"),
            Event::default().data(&name).event("status").id("7"),
            Event::default().json_data([1, 2]).unwrap(),
            Event::default().retry(Duration::from_secs(3)).data("b"),
            Event::default().comment("c"),
        ]);
        Sse::new(source.map(Ok)).keep_alive(
            KeepAlive::new()
                .interval(Duration::from_secs(5))
                .text("idle"),
        )
    }
}

/// The right column of the guide's table.
mod after {
    use http_sse::{EventType, Retry};

    use super::*;

    const STATUS: EventType = EventType::from_static("status");

    pub(super) async fn handler(
        name: String,
    ) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
        let source = stream::iter([
            Event::data("a"),
            Event::data(name).event_type(STATUS).id(7),
            Event::json(&[1, 2]).unwrap(),
            Event::data("b").retry(Retry::from_millis(3_000)),
            Event::new().comment("c"),
        ]);
        Sse::new(source.map(Ok)).keep_alive(
            KeepAlive::new()
                .interval(Duration::from_secs(5))
                .comment("idle"),
        )
    }
}

#[tokio::test]
async fn a_migrated_handler_sends_the_same_events() {
    let before = before::handler("n".into()).await.into_response();
    let after = axum::response::IntoResponse::into_response(after::handler("n".into()).await);
    assert_eq!(
        text(before).await,
        "data: a\n\ndata: n\nevent: status\nid: 7\n\ndata: [1,2]\n\nretry: 3000\ndata: b\n\n: c\n\n"
    );
    assert_eq!(
        text(after).await,
        ":\ndata: a\n\nevent: status\nid: 7\ndata: n\n\ndata: [1,2]\n\nretry: 3000\ndata: b\n\n: c\n"
    );
}
