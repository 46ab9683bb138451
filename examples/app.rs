//! A small complete server: limits, a hub, typed JSON, resumption, a graceful stop, and tests.
//!
//! ```text
//! $ cargo run --example app
//! listening on http://127.0.0.1:3000
//!
//! $ curl -N http://127.0.0.1:3000/orders
//! :
//!
//! (in another terminal: curl http://127.0.0.1:3000/orders --json '{"number":7,"item":"tea"}')
//! data: {"number":7,"item":"tea"}
//! id: 1795243200000000-1
//!
//! (after ctrl-c in the first terminal)
//! event: goodbye
//! data: the server restarts
//!
//! ```
//!
//! A client that reconnects with its last event ID receives the orders that it missed. The tests
//! at the end of this file need no socket: `cargo test -p http-sse --example app`.

use std::{env, io, net::SocketAddr, time::Duration};

use axum::{
    Json, Router,
    extract::{ConnectInfo, State},
    http::StatusCode,
    routing::get,
    serve::ListenerExt as _,
};
use futures_util::FutureExt as _;
use http_sse::{AdmitError, Connections, Event, EventType, Hub, LastEventId, Sse, Subscription};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, time::sleep};

const GOODBYE: EventType = EventType::from_static("goodbye");

#[derive(Clone)]
struct Server {
    hub: Hub,
    connections: Connections,
}

#[derive(Deserialize, Serialize)]
struct Order {
    number: u64,
    item: String,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));

    let hub = Hub::new();
    let connections = Connections::new()
        .max(10_000)
        .max_per_key(20)
        .goodbye(Event::data("the server restarts").event_type(GOODBYE));
    let stopped = stopped(connections.clone()).shared();
    let app = app(Server { hub, connections }).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(stopped.clone());
    tokio::select! {
        result = serving.into_future() => result,
        // A client that does not read cannot hold the server for longer.
        () = stopped.then(|()| sleep(Duration::from_secs(5))) => Ok(()),
    }
}

fn app(server: Server) -> Router {
    let orders = get(subscribe).post(publish);
    Router::new().route("/orders", orders).with_state(server)
}

async fn subscribe(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    last: LastEventId,
) -> Result<Sse<Subscription>, AdmitError> {
    // Behind a proxy, use the address in a header that it sets. With a login, use the user.
    let permit = server.connections.admit(peer.ip().to_string())?;
    let orders = server.hub.subscribe(["orders"]).after(last);
    Ok(Sse::new(orders).permit(permit))
}

async fn publish(
    State(server): State<Server>,
    Json(order): Json<Order>,
) -> Result<StatusCode, StatusCode> {
    let event = Event::json(&order).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let published = server.hub.publish("orders", event);
    published.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Waits for ctrl-c or SIGTERM, and then ends all streams.
async fn stopped(connections: Connections) {
    let ctrl_c = tokio::signal::ctrl_c().map(drop);
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("a runtime with IO");
        terminate.recv().await;
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending();
    tokio::select! { () = ctrl_c => {}, () = terminated => {} }
    connections.shutdown();
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body, extract::connect_info::MockConnectInfo, http::Request, response::Response,
    };
    use http_body_util::BodyExt as _;
    use tokio::time::timeout;
    use tower::ServiceExt as _;

    use super::*;

    fn server(connections: Connections) -> Server {
        let hub = Hub::new();
        Server { hub, connections }
    }

    async fn respond(server: &Server, request: Request<Body>) -> Response {
        let peer = MockConnectInfo(SocketAddr::from(([127, 0, 0, 1], 50_000)));
        let response = app(server.clone()).layer(peer).oneshot(request);
        response.await.unwrap()
    }

    async fn get(server: &Server, last_event_id: &str) -> Response {
        let request = Request::get("/orders").header("last-event-id", last_event_id);
        respond(server, request.body(Body::empty()).unwrap()).await
    }

    async fn post(server: &Server, order: &'static str) -> StatusCode {
        let request = Request::post("/orders").header("content-type", "application/json");
        let response = respond(server, request.body(order.into()).unwrap()).await;
        response.status()
    }

    /// Reads the next frame of a stream.
    async fn frame(body: &mut Body) -> String {
        let frame = timeout(Duration::from_secs(5), body.frame()).await;
        let frame = frame.expect("waited 5 s for the next frame");
        let bytes = frame.expect("the stream has ended").unwrap().into_data();
        String::from_utf8(bytes.unwrap().into()).unwrap()
    }

    #[tokio::test]
    async fn an_order_reaches_an_open_stream() {
        let server = server(Connections::new());
        let response = get(&server, "").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut body = response.into_body();
        assert_eq!(frame(&mut body).await, ":\n");

        let status = post(&server, r#"{ "number": 7, "item": "tea" }"#).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        let id = server.hub.head();
        let event = format!("data: {{\"number\":7,\"item\":\"tea\"}}\nid: {id}\n\n");
        assert_eq!(frame(&mut body).await, event);
    }

    #[tokio::test]
    async fn a_client_that_reconnects_receives_what_it_missed() {
        let server = server(Connections::new());
        post(&server, r#"{"number":1,"item":"tea"}"#).await;
        let last = server.hub.head().to_string();
        post(&server, r#"{"number":2,"item":"jam"}"#).await;
        let id = server.hub.head();

        let mut body = get(&server, &last).await.into_body();
        let missed = format!(":\ndata: {{\"number\":2,\"item\":\"jam\"}}\nid: {id}\n\n");
        assert_eq!(frame(&mut body).await, missed);
    }

    #[tokio::test]
    async fn a_second_stream_of_an_address_is_refused() {
        let server = server(Connections::new().max_per_key(1));
        let first = get(&server, "").await;
        let refused = get(&server, "").await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.headers()["retry-after"], "5");

        drop(first);
        assert_eq!(get(&server, "").await.status(), StatusCode::OK);
    }
}
