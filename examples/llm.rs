//! An answer token by token, in the format of language models: JSON deltas, a `finish_reason`, and
//! `[DONE]`.
//!
//! ```text
//! $ cargo run --example llm
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser. Or send a GET, as an `EventSource` does, or a POST, as SDKs do:
//!
//! ```text
//! $ curl -N 'http://127.0.0.1:3000/chat?prompt=Why%3F'
//! $ curl -N http://127.0.0.1:3000/chat --json '{"prompt":"Why?"}'
//! :
//! data: {"choices":[{"delta":{"content":"You "},"index":0}]}
//!
//! data: {"choices":[{"delta":{"content":"asked: "},"index":0}]}
//!
//! (and so on, with a pause of 50 to 80 ms before each)
//! data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}]}
//!
//! data: [DONE]
//!
//! ```
//!
//! The server then prints `finished after 44 tokens`. Ctrl-C in the middle of the answer cancels
//! the generation, and the server prints `cancelled after 12 tokens`, for example.

use std::{env, io, time::Duration};

use axum::{Router, extract::Query, response::Html, routing::get, serve::ListenerExt as _};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{CloseReason, EncodedEvent, Json, Sse};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::sleep};

/// The last event. An `EventSource` must close when it receives this. Otherwise it reconnects.
const DONE: EncodedEvent = EncodedEvent::from_static("data: [DONE]\n\n");

#[derive(Deserialize)]
struct Chat {
    prompt: String,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let by_query = async |Query(chat): Query<Chat>| answer(chat);
    let by_body = async |axum::Json(chat): axum::Json<Chat>| answer(chat);
    let app = Router::new()
        .route("/", get(Html(include_str!("llm.html"))))
        .route("/chat", get(by_query).post(by_body));
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, app).await
}

fn answer(chat: Chat) -> Sse<impl Stream<Item = Json<Value>>> {
    let deltas =
        generate(&chat.prompt).map(|token| json!({ "delta": { "content": token }, "index": 0 }));
    // Without a `finish_reason`, Vercel's AI SDK reports an error after a complete answer.
    let finish = json!({ "delta": {}, "finish_reason": "stop", "index": 0 });
    let choices = deltas.chain(stream::iter([finish]));
    Sse::new(choices.map(|choice| Json(json!({ "choices": [choice] }))))
        .end_with(DONE)
        .on_close(|closed| match closed.reason {
            // The last two events are `finish_reason` and `[DONE]`.
            CloseReason::End => println!("finished after {} tokens", closed.events - 2),
            CloseReason::ClientGone => println!("cancelled after {} tokens", closed.events),
            reason => println!("ended after {} tokens: {reason:?}", closed.events),
        })
}

/// Generates an answer in place of a model. Dropping the stream cancels the generation. This
/// happens when the client disconnects.
fn generate(prompt: &str) -> impl Stream<Item = String> + use<> {
    let answer = format!(
        "You asked: “{prompt}”\n\nI am not a model, but I stream like one: each token is an event, \
         and it is sent as soon as it exists. Press Stop to cancel me. The generation then ends at \
         once, in this page and on the server."
    );
    let tokens: Vec<String> = answer.split_inclusive(' ').map(String::from).collect();
    stream::iter(tokens).then(|token| async {
        sleep(Duration::from_millis(40 + 5 * token.len().min(8) as u64)).await;
        token
    })
}
