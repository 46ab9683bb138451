//! axum: a counter that resumes after the last event ID of a client.
//!
//! ```text
//! $ cargo run --example axum
//! listening on http://127.0.0.1:3000
//!
//! $ curl -N -H 'last-event-id: 41' http://127.0.0.1:3000/feed
//! :
//! event: tick
//! id: 42
//! data: 42
//!
//! :
//! event: tick
//! id: 43
//! data: 43
//!
//! (and so on: an event every three seconds, with a keep-alive in between)
//! ```

use std::{env, io, time::Duration};

use axum::{Router, routing::get, serve::ListenerExt as _};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, EventType, KeepAlive, LastEventId, Sse};
use tokio::{net::TcpListener, time::sleep};

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));

    let app = Router::new().route("/feed", get(feed));
    axum::serve(listener, app).await
}

async fn feed(last: LastEventId) -> Sse<impl Stream<Item = Event>> {
    let first = last.parse::<u64>().map_or(1, |last| last.saturating_add(1));
    Sse::new(ticks(first)).keep_alive(KeepAlive::new().interval(Duration::from_secs(2)))
}

fn ticks(first: u64) -> impl Stream<Item = Event> {
    const TICK: EventType = EventType::from_static("tick");
    stream::iter(first..=u64::MAX).then(move |n| async move {
        if n > first {
            sleep(Duration::from_secs(3)).await;
        }
        Event::data(n.to_string()).event_type(TICK).id(n)
    })
}
