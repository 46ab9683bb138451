//! A stream of numbers, with a status after every fifth and keep-alives in the pause that follows.
//!
//! ```text
//! $ cargo run --example quickstart
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser to see the stream, parsed and raw. Or read it with curl, from 42
//! on. Without the header, it begins with 1.
//!
//! ```text
//! $ curl -N -H 'last-event-id: 41' http://127.0.0.1:3000/events
//! :
//! id: 42
//! data: 42
//!
//! (one per second)
//! id: 45
//! data: 45
//!
//! event: status
//! data: {"uptime":8,"clients":1}
//!
//! : keep-alive
//! : keep-alive
//! id: 46
//! data: 46
//!
//! (and so on)
//! ```

use std::{
    env, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::{Router, extract::State, response::Html, routing::get, serve::ListenerExt as _};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, EventType, KeepAlive, LastEventId, Sse};
use serde::Serialize;
use tokio::{net::TcpListener, time::sleep};

const STATUS: EventType = EventType::from_static("status");

struct Server {
    started: Instant,
    clients: AtomicU64,
}

#[derive(Serialize)]
struct Status {
    uptime: u64, // in seconds
    clients: u64,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let server = Server {
        started: Instant::now(),
        clients: AtomicU64::new(0),
    };
    let app = Router::new()
        .route("/", get(Html(include_str!("quickstart.html"))))
        .route("/events", get(events))
        .with_state(Arc::new(server));
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, app).await
}

async fn events(
    State(server): State<Arc<Server>>,
    last: LastEventId,
) -> Sse<impl Stream<Item = Result<Event, serde_json::Error>>> {
    // A client that reconnects continues after the last number that it received.
    let first = last.parse::<u64>().map_or(1, |last| last.saturating_add(1));

    server.clients.fetch_add(1, Relaxed);
    let at_close = server.clone();
    let source = numbers(first).flat_map(move |number| {
        let event = Ok(Event::data(number.to_string()).id(number));
        let status = (number % 5 == 0).then(|| server.status());
        stream::iter([Some(event), status].into_iter().flatten())
    });
    Sse::new(source)
        .keep_alive(
            KeepAlive::new()
                .interval(Duration::from_secs(2))
                .comment("keep-alive"),
        )
        .on_close(move |_| _ = at_close.clients.fetch_sub(1, Relaxed))
}

/// Counts from `first` on, once per second, with a pause of five seconds after every fifth number.
fn numbers(first: u64) -> impl Stream<Item = u64> {
    stream::iter(first..=u64::MAX).then(move |number| async move {
        if number > first {
            sleep(Duration::from_secs(if number % 5 == 1 { 5 } else { 1 })).await;
        }
        number
    })
}

impl Server {
    fn status(&self) -> Result<Event, serde_json::Error> {
        let uptime = self.started.elapsed().as_secs();
        let clients = self.clients.load(Relaxed);
        Ok(Event::json(&Status { uptime, clients })?.event_type(STATUS))
    }
}
