//! Fifty prices over one connection, with a topic per price. A thousand updates per second arrive
//! in batches, one every 50 ms. A button kills the connection, to show that no update is lost.
//!
//! ```text
//! $ cargo run --example ticker
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser. The page counts missing and duplicate updates. Or read the
//! updates after any id with curl:
//!
//! ```text
//! $ curl -N -H 'last-event-id: 1795243200000000-41' http://127.0.0.1:3000/events
//! :
//! retry: 200
//! data: {"symbol":"S41","number":1,"price":100.24}
//! id: 1795243200000000-42
//!
//! (and so on)
//! $ curl -X POST http://127.0.0.1:3000/kill
//! closed 1
//! ```

use std::{env, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    response::Html,
    routing::{get, post},
    serve::ListenerExt as _,
};
use http_sse::{
    AdmitError, Connections, Event, Hub, LastEventId, Retry, Sse, Subscription,
    hub::{OnLag, PublishError},
};
use serde::Serialize;
use tokio::{net::TcpListener, time::interval};

const SYMBOLS: usize = 50;
/// The time between two updates.
const PACE: Duration = Duration::from_millis(1);
/// The time for which updates are held back, to be sent together.
const LINGER: Duration = Duration::from_millis(50);
/// The time after which a client reconnects.
const RETRY: Retry = Retry::from_millis(200);

#[derive(Clone)]
struct Server {
    hub: Hub,
    connections: Connections,
    symbols: Arc<[String]>,
}

#[derive(Serialize)]
struct Price<'a> {
    symbol: &'a str,
    /// The number of updates of this price so far.
    number: u64,
    price: f64,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let server = Server {
        hub: Hub::new(), // keeps 1,024 updates per price, which are 50 s
        connections: Connections::new(),
        symbols: (0..SYMBOLS).map(|n| format!("S{n:02}")).collect(),
    };
    tokio::spawn(publish(server.hub.clone(), server.symbols.clone()));
    let app = Router::new()
        .route("/", get(Html(include_str!("ticker.html"))))
        .route("/events", get(events))
        .route("/kill", post(kill))
        .with_state(server);
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, app).await
}

async fn events(
    State(server): State<Server>,
    last: LastEventId,
) -> Result<Sse<Subscription>, AdmitError> {
    let permit = server.connections.admit("page")?;
    // A client that reconnects in time receives every update that it missed. A client that
    // reconnects too late or reads too slowly receives only the last update of each price.
    let prices = server.hub.subscribe(&server.symbols[..]);
    let prices = prices.after(last).on_lag(OnLag::Latest);
    Ok(Sse::new(prices).retry(RETRY).linger(LINGER).permit(permit))
}

/// Closes every stream, like a failure of the network.
async fn kill(State(server): State<Server>) -> String {
    format!("closed {}\n", server.connections.close_where(|_| true))
}

/// Publishes updates of all prices in turn, until the hub is closed.
async fn publish(hub: Hub, symbols: Arc<[String]>) -> Result<(), PublishError<serde_json::Error>> {
    let mut pace = interval(PACE);
    let mut number = 0_u64;
    loop {
        number += 1;
        // A price that goes up and down, without random numbers.
        let price = 100.0 + (number as f64 / 700.0).sin() + (number as f64).sin();
        for symbol in &symbols[..] {
            pace.tick().await;
            let price = Price {
                symbol,
                number,
                price: (price * 100.0).round() / 100.0,
            };
            let price = Event::json(&price).map_err(PublishError::Encode)?;
            hub.publish(symbol, price)
                .map_err(|_| PublishError::Closed)?;
        }
    }
}
