//! hyper without a framework: the response is an `http::Response` whose body is an
//! `http_body::Body`.
//!
//! ```text
//! $ cargo run --example hyper
//! listening on http://127.0.0.1:3000
//!
//! $ curl -N http://127.0.0.1:3000/events
//! :
//! id: 1
//! data: 1
//!
//! id: 2
//! data: 2
//!
//! (and so on, once per second)
//! ```
//!
//! The same stream over HTTP/2, from 42 on:
//!
//! ```text
//! $ curl -N --http2-prior-knowledge -H 'last-event-id: 41' http://127.0.0.1:3000/events
//! :
//! id: 42
//! data: 42
//!
//! (and so on)
//! ```

use std::{convert::Infallible, env, io, time::Duration};

use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, LastEventId, Sse, SseBody};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, time::sleep};

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    loop {
        let (tcp, _) = listener.accept().await?;
        tokio::spawn(async move {
            _ = tcp.set_nodelay(true); // small writes must not wait for each other
            let http = auto::Builder::new(TokioExecutor::new()); // HTTP/1.1 or HTTP/2
            let connection = http.serve_connection(TokioIo::new(tcp), service_fn(answer));
            _ = connection.await; // hyper returns an error when a client disconnects
        });
    }
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<SseBody<impl Stream<Item = Event>>>, Infallible> {
    if request.uri().path() != "/events" {
        let mut not_found = Response::<SseBody<_>>::default();
        *not_found.status_mut() = StatusCode::NOT_FOUND;
        return Ok(not_found);
    }
    // A client that reconnects continues after the last number that it received.
    let last = LastEventId::from_request(&request).parse::<u64>();
    let first = last.map_or(1, |last| last.saturating_add(1));
    let sse = Sse::new(numbers(first)).for_method(request.method());
    Ok(sse.into_response())
}

/// Counts from `first` on, once per second.
fn numbers(first: u64) -> impl Stream<Item = Event> {
    stream::iter(first..=u64::MAX).then(move |number| async move {
        if number > first {
            sleep(Duration::from_secs(1)).await;
        }
        Event::data(number.to_string()).id(number)
    })
}
