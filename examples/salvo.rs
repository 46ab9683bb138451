//! salvo: a counter that resumes after the last event ID of a client.
//!
//! ```text
//! $ cargo run -p http-sse-frameworks --example salvo
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

use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, EventType, KeepAlive, LastEventId, Sse};
use salvo::{Router, Server, Writer, conn::tcp::TcpAcceptor, handler};
use tokio::{net::TcpSocket, time::sleep};

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").map_or(3000, |port| port.parse().expect("PORT is a number"));
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?; // small writes must not wait for each other
    socket.bind(([127, 0, 0, 1], port).into())?;
    let listener = socket.listen(1024)?;
    println!("listening on http://{}", listener.local_addr()?);

    let router = Router::with_path("feed").get(feed);
    let acceptor = TcpAcceptor::try_from(listener)?;
    Server::new(acceptor).try_serve(router).await
}

#[handler]
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
