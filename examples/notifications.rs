//! Notifications for each user, with a topic per user. A page loads its list once, and events keep
//! the list up to date.
//!
//! ```text
//! $ cargo run --example notifications
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser, or run:
//!
//! ```text
//! $ curl http://127.0.0.1:3000/notifications/ada
//! {"position":"1795243200000000-0","notifications":[]}
//! $ curl -N 'http://127.0.0.1:3000/events/ada?lastEventId=1795243200000000-0'
//! :
//!
//! (until, in another terminal: curl http://127.0.0.1:3000/notifications/ada -d 'Lunch?')
//! data: Lunch?
//! id: 1795243200000000-1
//!
//! ```
//!
//! A client that reconnects with its last event ID receives the events that it missed. After a
//! restart, the server does not know these events. It sends a `reset` event, and the client loads
//! its list again.

use std::{
    collections::HashMap,
    env, io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::Html,
    routing::get,
    serve::ListenerExt as _,
};
use http_sse::{AdmitError, Connections, Event, Hub, LastEventId, Sse, Subscription};
use serde::Serialize;
use tokio::net::TcpListener;

#[derive(Clone)]
struct Server {
    hub: Hub,
    connections: Connections,
    /// Notifications by user, in place of a database.
    lists: Arc<Mutex<HashMap<String, Vec<String>>>>,
}

/// The initial content of a page.
#[derive(Serialize)]
struct List {
    /// Events up to this position are in the list.
    position: String,
    notifications: Vec<String>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let server = Server {
        hub: Hub::new(),
        connections: Connections::new().max_per_key(20),
        lists: Arc::default(),
    };
    // In production, take the user from a session instead of the path.
    let app = Router::new()
        .route("/", get(Html(include_str!("notifications.html"))))
        .route("/notifications/{user}", get(list).post(notify))
        .route("/events/{user}", get(events))
        .with_state(server);
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, app).await
}

async fn list(State(server): State<Server>, Path(user): Path<String>) -> Json<List> {
    // Nothing is published while the lock is held, so the list and the position agree.
    let lists = server.lists.lock().unwrap_or_else(PoisonError::into_inner);
    Json(List {
        position: server.hub.head().to_string(),
        notifications: lists.get(&user).cloned().unwrap_or_default(),
    })
}

async fn notify(
    State(server): State<Server>,
    Path(user): Path<String>,
    text: String,
) -> Result<StatusCode, StatusCode> {
    let mut lists = server.lists.lock().unwrap_or_else(PoisonError::into_inner);
    server
        .hub
        .publish(&user, Event::data(text.clone()))
        .map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    lists.entry(user).or_default().push(text);
    Ok(StatusCode::NO_CONTENT)
}

async fn events(
    State(server): State<Server>,
    Path(user): Path<String>,
    last: LastEventId,
) -> Result<Sse<Subscription>, AdmitError> {
    let permit = server.connections.admit(&*user)?;
    let events = server.hub.subscribe([user]).after(last);
    Ok(Sse::new(events).permit(permit))
}
