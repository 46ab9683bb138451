//! A page that reads an event stream from another origin, with the user's cookie: CORS with
//! credentials.
//!
//! ```text
//! $ cargo run --example cross_origin
//! listening on http://127.0.0.1:3000
//! events at http://127.0.0.1:3001/events
//! ```
//!
//! Open the first address in a browser. The page sets a cookie and shows the events of the other
//! port, which are for `ada`. Then open `http://localhost:3000`. It is the same page, but its
//! origin is not allowed. The page shows `closed` and no event, and the server prints
//! `refused http://localhost:3000`. Or send the headers of a browser with curl:
//!
//! ```text
//! $ curl -iN -H 'origin: http://127.0.0.1:3000' -H 'cookie: user=ada' http://127.0.0.1:3001/events
//! HTTP/1.1 200 OK
//! (some headers)
//! access-control-allow-origin: http://127.0.0.1:3000
//! access-control-allow-credentials: true
//! vary: origin
//! (more headers)
//!
//! :
//! retry: 1000
//! id: 1
//! data: 1 for ada
//!
//! (one per second)
//! id: 3
//! data: 3 for ada
//!
//! ```
//!
//! The stream ends after three events, and the browser reconnects with its last event ID. An
//! `EventSource` sends no preflight request, not even when it reconnects. `fetch` sends one if the
//! page sets a header such as `last-event-id`, so a server for `fetch` must also answer `OPTIONS`.
//!
//! The browser sends the cookie because both origins belong to one site: only their ports differ.
//! A stream on another site needs a cookie with `SameSite=None; Secure`, which some browsers block.

use std::{env, io, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, COOKIE, ORIGIN,
            SET_COOKIE, VARY,
        },
    },
    response::{Html, IntoResponse},
    routing::get,
    serve::ListenerExt as _,
};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, LastEventId, Retry, Sse};
use tokio::{net::TcpListener, time::sleep, try_join};

#[tokio::main]
async fn main() -> io::Result<()> {
    let pages = listen("PORT", "3000").await?;
    let streams = listen("STREAM_PORT", "3001").await?;
    let origin = format!("http://{}", pages.local_addr()?);
    let url = format!("http://{}/events", streams.local_addr()?);
    println!("listening on {origin}");
    println!("events at {url}");

    let page = include_str!("cross_origin.html").replace("{url}", &url);
    // A login would set a session here. Scripts cannot read it, but an `EventSource` sends it.
    let cookie = [(SET_COOKIE, "user=ada; HttpOnly; SameSite=Lax")];
    let pages_app = Router::new().route("/", get((cookie, Html(page))));
    let allowed = HeaderValue::try_from(origin).map_err(io::Error::other)?;
    let streams_app = Router::new()
        .route("/events", get(events))
        .with_state(allowed);
    // Small writes must not wait for each other.
    let streams = streams.tap_io(|tcp| _ = tcp.set_nodelay(true));
    try_join!(
        axum::serve(pages, pages_app).into_future(),
        axum::serve(streams, streams_app).into_future(),
    )?;
    Ok(())
}

async fn listen(variable: &str, default: &str) -> io::Result<TcpListener> {
    let port = env::var(variable).unwrap_or_else(|_| default.into());
    TcpListener::bind(format!("127.0.0.1:{port}")).await
}

async fn events(
    State(allowed): State<HeaderValue>,
    headers: HeaderMap,
    last: LastEventId,
) -> impl IntoResponse {
    // All answers vary by origin, so that a cache does not serve one to another origin.
    ([(VARY, "origin")], answer(allowed, &headers, last))
}

/// Refuses every origin except the allowed one. A request without an origin gets no CORS headers,
/// so no page of another origin can read the answer.
fn answer(
    allowed: HeaderValue,
    headers: &HeaderMap,
    last: LastEventId,
) -> Result<Sse<impl Stream<Item = Event> + use<>>, StatusCode> {
    let origin = headers.get(ORIGIN);
    if let Some(other) = origin.filter(|origin| *origin != allowed) {
        println!("refused {}", String::from_utf8_lossy(other.as_bytes()));
        return Err(StatusCode::FORBIDDEN);
    }
    let first = last.parse::<u64>().map_or(1, |last| last.saturating_add(1));
    let user = user(headers).unwrap_or("a stranger").to_owned();
    let sse = Sse::new(numbers(first, user)).retry(Retry::from_millis(1_000));
    if origin.is_none() {
        return Ok(sse);
    }
    // With credentials, browsers accept only the exact origin, not `*`.
    let credentials = HeaderValue::from_static("true");
    Ok(sse
        .header(ACCESS_CONTROL_ALLOW_ORIGIN, allowed)
        .header(ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials))
}

/// Returns the user that the cookie names.
fn user(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter();
    cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split("; "))
        .find_map(|cookie| cookie.strip_prefix("user="))
}

/// Yields three numbers from `first` on, one per second.
fn numbers(first: u64, user: String) -> impl Stream<Item = Event> {
    stream::iter((first..=u64::MAX).take(3)).then(move |n| {
        let event = Event::data(format!("{n} for {user}")).id(n);
        async move {
            if n > first {
                sleep(Duration::from_secs(1)).await;
            }
            event
        }
    })
}
