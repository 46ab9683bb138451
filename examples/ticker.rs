//! Fifty prices over one connection: a topic for each, a thousand updates a second, which arrive
//! together every 50 ms; and a button that kills the connection, to see that nothing is lost.
//!
//! ```text
//! $ cargo run --example ticker
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that in a browser: the page counts what is missing and what came twice. Or read on behind
//! any id, such as the last that you have:
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
/// Between two updates, of any price.
const PACE: Duration = Duration::from_millis(1);
/// How long updates wait for others, to be sent together.
const LINGER: Duration = Duration::from_millis(50);
/// How soon a client comes back.
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
    /// Counts the updates of this price.
    number: u64,
    price: f64,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let server = Server {
        hub: Hub::new(), // 1,024 updates of each price are 50 s
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
    // Who comes back in time gets every update that it missed; who is too late, or slower than
    // the prices change, the last of each price.
    let prices = server.hub.subscribe(&server.symbols[..]);
    let prices = prices.after(last).on_lag(OnLag::Latest);
    Ok(Sse::new(prices).retry(RETRY).linger(LINGER).permit(permit))
}

/// Closes every stream, as a network that fails does.
async fn kill(State(server): State<Server>) -> String {
    format!("closed {}\n", server.connections.close_where(|_| true))
}

/// Publishes an update of the next price, and so on.
async fn publish(hub: Hub, symbols: Arc<[String]>) -> Result<(), PublishError<serde_json::Error>> {
    let mut pace = interval(PACE);
    let mut number = 0_u64;
    loop {
        number += 1;
        // Some way up and down that needs no dice.
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
