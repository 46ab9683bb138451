//! actix-web: a counter that resumes after the last event ID of a client.
//!
//! ```text
//! $ cargo run -p http-sse-frameworks --example actix_web
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

use std::{env, io, net::TcpListener, time::Duration};

use actix_web::{App, HttpServer, web};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, EventType, KeepAlive, LastEventId, Sse};
use tokio::time::sleep;

#[actix_web::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("listening on http://{}", listener.local_addr()?);

    HttpServer::new(|| App::new().route("/feed", web::get().to(feed)))
        .h1_allow_half_closed(false) // a client that closes its half has left
        .tcp_nodelay(true) // small writes must not wait for each other
        .listen_auto_h2c(listener)?
        .run()
        .await
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
