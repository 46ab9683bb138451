//! An answer of a language model that survives its connection. A POST starts a generation. Clients
//! follow it from the start, or from the event that they received last.
//!
//! ```text
//! $ cargo run --example llm
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser and press Start. Then reload the page, open its address in a
//! second tab, or cut the network: every page shows the same text. Stop cancels the generation for
//! all pages. Or run:
//!
//! ```text
//! $ curl http://127.0.0.1:3000/generations --json '{"prompt":"Why?"}'
//! {"id":"b40711a88c7039756fb8a73827eabe2c"}
//! $ curl -N http://127.0.0.1:3000/generations/b40711a88c7039756fb8a73827eabe2c
//! :
//! retry: 500
//! event: prompt
//! data: Why?
//! id: 1795243200000000-1
//!
//! data: {"choices":[{"delta":{"content":"You "},"index":0}]}
//! id: 1795243200000000-2
//!
//! (and so on, with a pause of 50 to 80 ms before each)
//! data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}]}
//! id: 1795243200000000-66
//!
//! data: [DONE]
//! id: 1795243200000000-67
//!
//! ```
//!
//! The server then prints `finished after 64 tokens`. With `-H 'last-event-id: 1795243200000000-66'`
//! the same request gets only the last event. With `-X DELETE` it cancels the generation: the
//! `finish_reason` is then `cancelled`, and the server prints `cancelled after 12 tokens`, for
//! example.
//!
//! A generation without a listener is cancelled after 30 s (`ABANDONED_AFTER_MS`). A finished one is
//! available for 5 minutes (`FINISHED_FOR_MS`). After that the response is `204`, which stops an
//! `EventSource`.
//!
//! SDKs stream the answer in the response to a POST, and end it with the connection:
//!
//! ```text
//! $ curl -N 'http://127.0.0.1:3000/chat?prompt=Why%3F'
//! $ curl -N http://127.0.0.1:3000/chat --json '{"prompt":"Why?"}'
//! :
//! data: {"choices":[{"delta":{"content":"You "},"index":0}]}
//!
//! (and so on)
//! ```

use std::{
    collections::HashMap,
    convert::Infallible,
    env,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{StatusCode, header::LOCATION},
    response::{Html, IntoResponse},
    routing::{get, post},
    serve::ListenerExt as _,
};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{
    CloseReason, EncodedEvent, Event, EventType, Hub, LastEventId, Retry, Sse, Subscription,
    hub::{DemandChange, PublishError},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, time::sleep};

/// The last event. An `EventSource` must close when it receives this. Otherwise it reconnects.
const DONE: EncodedEvent = EncodedEvent::from_static("data: [DONE]\n\n");
/// The type of the first event of a generation, which contains the prompt.
const PROMPT: EventType = EventType::from_static("prompt");
/// The time after which a client reconnects.
const RETRY: Retry = Retry::from_millis(500);
const MAX_TOKENS: usize = 4096;
const MAX_REQUEST_BYTES: usize = 16 << 10;

#[derive(Clone)]
struct Server {
    hub: Hub,
    /// The running generations by id. The id is also the topic.
    running: Arc<Mutex<HashMap<String, Running>>>,
}

/// A running generation. Dropping this cancels it.
struct Running {
    _cancel: oneshot::Sender<Infallible>,
    /// A subscription that is never read. It lets the hub report the demand for a generation that
    /// nobody ever listens to.
    first: Option<Subscription>,
}

#[derive(Deserialize)]
struct Chat {
    prompt: String,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    // The history holds the longest answer. With the prompt and the delimiters of 4,096 tokens, it
    // is less than 1 MiB.
    let hub = Hub::builder()
        .history(MAX_TOKENS + 3) // the prompt, `finish_reason` and `[DONE]`
        .history_bytes(1 << 20)
        .finished_for(millis("FINISHED_FOR_MS", 5 * 60 * 1000))
        .build();
    let running = Arc::default();
    let server = Server { hub, running };
    let abandoned_after = millis("ABANDONED_AFTER_MS", 30 * 1000);
    tokio::spawn(cancel_abandoned(server.clone(), abandoned_after));

    let by_query = async |Query(chat): Query<Chat>| answer(chat);
    let by_body = async |Json(chat): Json<Chat>| answer(chat);
    let app = Router::new()
        .route("/", get(Html(include_str!("llm.html"))))
        .route("/generations", post(start))
        .route("/generations/{id}", get(listen).delete(cancel))
        .route("/chat", get(by_query).post(by_body))
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(server);
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, app).await
}

impl Server {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start(
    State(server): State<Server>,
    Json(chat): Json<Chat>,
) -> Result<impl IntoResponse, StatusCode> {
    let id = new_id();
    // The first event creates the topic, so a client can listen as soon as it has the id.
    let prompt = Event::data(chat.prompt.clone()).event_type(PROMPT);
    let published = server.hub.publish(&id, prompt);
    published.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let (cancel, cancelled) = oneshot::channel();
    {
        // Locked before the subscription, so `cancel_abandoned` finds the generation.
        let mut running = server.running();
        let generation = Running {
            _cancel: cancel,
            first: Some(server.hub.subscribe([&id])),
        };
        running.insert(id.clone(), generation);
    }
    tokio::spawn(run(server, id.clone(), chat, cancelled));
    let location = [(LOCATION, format!("/generations/{id}"))];
    let body = Json(json!({ "id": id }));
    Ok((StatusCode::CREATED, location, body))
}

/// Publishes the answer, whoever listens, until it ends or is cancelled.
async fn run(
    server: Server,
    id: String,
    chat: Chat,
    cancelled: oneshot::Receiver<Infallible>,
) -> Result<(), PublishError> {
    let mut tokens = Box::pin(generate(&chat.prompt)).take_until(cancelled);
    let mut count = 0;
    while let Some(token) = tokens.next().await {
        server.hub.publish(&id, delta(&token))?;
        count += 1;
    }
    let is_cancelled = tokens.take_result().is_some();
    let (reason, outcome) = if is_cancelled {
        ("cancelled", "cancelled")
    } else {
        ("stop", "finished")
    };
    server.hub.publish(&id, finish(reason))?;
    server.hub.publish(&id, DONE)?;
    server.hub.finish(&id)?;
    server.running().remove(&id);
    println!("{outcome} after {count} tokens");
    Ok(())
}

async fn listen(
    State(server): State<Server>,
    Path(id): Path<String>,
    last: LastEventId,
) -> Result<Sse<Subscription>, StatusCode> {
    // A subscription would create the topic of an unknown id.
    server.hub.topic(&id).ok_or(StatusCode::NOT_FOUND)?;
    let events = server.hub.subscribe([id]).from_start().after(last);
    let is_over = events.is_over();
    Ok(Sse::new(events).retry(RETRY).stop_if(is_over))
}

async fn cancel(State(server): State<Server>, Path(id): Path<String>) -> StatusCode {
    match server.running().remove(&id) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

/// Cancels each generation that has had no listener for some time.
async fn cancel_abandoned(server: Server, after: Duration) {
    let mut demand = server.hub.demand(after);
    while let Some(change) = demand.next().await {
        match change {
            DemandChange::Wanted(id) => {
                if let Some(generation) = server.running().get_mut(&*id) {
                    generation.first = None; // from now on, only clients count
                }
            }
            DemandChange::Unwanted(id) => drop(server.running().remove(&*id)),
            _ => {}
        }
    }
}

/// Answers in the response to the request. The connection's end cancels the generation.
fn answer(chat: Chat) -> Sse<impl Stream<Item = Event>> {
    let deltas = generate(&chat.prompt).map(|token| delta(&token));
    let events = deltas.chain(stream::iter([finish("stop")]));
    Sse::new(events)
        .end_with(DONE)
        .on_close(|closed| match closed.reason {
            // The last two events are `finish_reason` and `[DONE]`.
            CloseReason::End => println!("finished after {} tokens", closed.events - 2),
            CloseReason::ClientGone => println!("cancelled after {} tokens", closed.events),
            reason => println!("ended after {} tokens: {reason:?}", closed.events),
        })
}

fn delta(token: &str) -> Event {
    chunk(json!({ "delta": { "content": token }, "index": 0 }))
}

/// Returns the event after the last token. Without it, Vercel's AI SDK reports an error after a
/// complete answer.
fn finish(reason: &str) -> Event {
    chunk(json!({ "delta": {}, "finish_reason": reason, "index": 0 }))
}

fn chunk(choice: Value) -> Event {
    Event::data(json!({ "choices": [choice] }).to_string())
}

/// Generates an answer in place of a model. Dropping the stream cancels the generation.
fn generate(prompt: &str) -> impl Stream<Item = String> + use<> {
    let answer = format!(
        "You asked: “{prompt}”\n\nI am not a model, but I stream like one: each token is an event, \
         and it is sent as soon as it exists. Reload this page, open its address in a second tab, \
         or cut the network: my text continues without a gap. Press Stop to cancel me. The \
         generation then ends at once, in every tab and on the server."
    );
    let tokens: Vec<String> = answer.split_inclusive(' ').map(String::from).collect();
    let tokens = stream::iter(tokens).then(|token| async {
        sleep(Duration::from_millis(40 + 5 * token.len().min(8) as u64)).await;
        token
    });
    tokens.take(MAX_TOKENS)
}

/// Returns an id that cannot be guessed. Each hasher has a secret key from the operating system's
/// random numbers.
fn new_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}

/// Returns the time in an environment variable, in milliseconds.
fn millis(variable: &str, default: u64) -> Duration {
    let value = env::var(variable).ok().and_then(|value| value.parse().ok());
    Duration::from_millis(value.unwrap_or(default))
}
