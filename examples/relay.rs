//! A relay between browsers and an upstream that streams, such as a provider of language models.
//!
//! The relay forwards events, and sends keep-alives while the upstream is silent. It reports a
//! failure of the upstream to the browser. When the browser disconnects, it cancels the request to
//! the upstream.
//!
//! ```text
//! $ cargo run --example relay
//! listening on http://127.0.0.1:3000
//! ```
//!
//! Open that address in a browser, or run:
//!
//! ```text
//! $ curl -N 'http://127.0.0.1:3000/chat?prompt=Why%3F'
//! :
//! data: {"choices":[{"delta":{"content":"You "},"index":0}]}
//!
//! (and so on)
//! data: {"choices":[{"delta":{"content":"think. "},"index":0}]}
//!
//! : keep-alive
//! : keep-alive
//! data: {"choices":[{"delta":{"content":"Because."},"index":0}]}
//!
//! data: {"choices":[{"delta":{},"finish_reason":"stop","index":0}]}
//!
//! data: [DONE]
//!
//! ```
//!
//! The server then prints `upstream ended`. After Ctrl-C in the pause, it prints
//! `upstream cancelled`. If the prompt contains `fail`, the upstream breaks off after the pause,
//! and the stream ends with this event:
//!
//! ```text
//! event: failed
//! data: {"error":{"message":"the upstream broke off"}}
//!
//! ```
//!
//! The upstream is a stub on its own port. It splits its answer inside a character and inside a
//! CRLF, and sends comments. None of this reaches the browser.

use std::{env, error::Error, future, io, net::SocketAddr, time::Duration, vec};

use axum::{
    Json, Router,
    body::Body,
    extract::Query,
    response::{Html, IntoResponse},
    routing::{get, post},
    serve::ListenerExt as _,
};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http_body_util::BodyDataStream;
use http_sse::{
    EncodedEvent, Event, EventType, KeepAlive, Sse,
    decode::{Decoder, events},
};
use hyper::{
    Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

const DONE: EncodedEvent = EncodedEvent::from_static("data: [DONE]\n\n");
/// The type of the event that reports a failure. An `EventSource` could not distinguish an event of
/// the type `error` from a lost connection.
const FAILED: EventType = EventType::from_static("failed");

#[derive(Deserialize)]
struct Chat {
    prompt: String,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let stub = TcpListener::bind("127.0.0.1:0").await?;
    let upstream = stub.local_addr()?;
    let completions = Router::new().route("/v1/chat/completions", post(completions));
    tokio::spawn(async { axum::serve(stub, completions).await });

    let port = env::var("PORT").unwrap_or_else(|_| "3000".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let by_query = async move |Query(chat): Query<Chat>| relay(upstream, chat).await;
    let by_body = async move |Json(chat): Json<Chat>| relay(upstream, chat).await;
    let app = Router::new()
        .route("/", get(Html(include_str!("relay.html"))))
        .route("/chat", get(by_query).post(by_body));
    // Small writes must not wait for each other.
    let listener = listener.tap_io(|tcp| _ = tcp.set_nodelay(true));
    axum::serve(listener, app).await
}

async fn relay(
    upstream: SocketAddr,
    chat: Chat,
) -> Result<Sse<impl Stream<Item = Result<Event, &'static str>>>, (StatusCode, String)> {
    let body = ask(upstream, chat)
        .await
        .map_err(|error| (StatusCode::BAD_GATEWAY, error.to_string()))?;
    let source = events(BodyDataStream::new(body), Decoder::new())
        .inspect_err(|error| eprintln!("upstream: {error}")) // details are for the log only
        .map_err(|_| "the upstream broke off")
        .chain(stream::once(future::ready(Err("the upstream ended early"))))
        .try_take_while(|event| future::ready(Ok(event.as_data() != Some("[DONE]"))));
    let keep_alive = KeepAlive::new().comment("keep-alive");
    Ok(Sse::new(source)
        .keep_alive(keep_alive.interval(Duration::from_secs(1)))
        .end_with(DONE)
        .on_error(|why| {
            let error = json!({ "error": { "message": why } }); // the format of OpenAI's API
            Event::data(error.to_string()).event_type(FAILED)
        }))
}

/// Sends a request to the upstream. Dropping the body closes the connection, which cancels the
/// request.
async fn ask(upstream: SocketAddr, chat: Chat) -> Result<Incoming, Box<dyn Error + Send + Sync>> {
    let tcp = TokioIo::new(TcpStream::connect(upstream).await?);
    let (mut client, connection) = http1::handshake(tcp).await?;
    tokio::spawn(connection);
    let messages = json!([{ "role": "user", "content": chat.prompt }]);
    let request = Request::post("/v1/chat/completions")
        .header(HOST, upstream.to_string())
        .header(CONTENT_TYPE, "application/json")
        .body(json!({ "stream": true, "messages": messages }).to_string())?;
    let response = client.send_request(request).await?;
    if response.status() != StatusCode::OK {
        return Err(format!("the upstream answered {}", response.status()).into());
    }
    Ok(response.into_body())
}

/// Answers as the upstream, in pieces that are hard to decode.
async fn completions(Json(request): Json<Value>) -> Result<impl IntoResponse, StatusCode> {
    let prompt = request["messages"][0]["content"].as_str();
    let prompt = prompt.filter(|prompt| !prompt.is_empty());
    let prompt = prompt.ok_or(StatusCode::BAD_REQUEST)?;
    let event = |choice| format!("data: {}\r\n\r\n", json!({ "choices": [choice] }));
    let delta = |token| event(json!({ "delta": { "content": token }, "index": 0 }));
    let thought = format!("You asked: “{prompt}” Let me think. ");
    let thought = thought.split_inclusive(' ').map(delta).collect::<String>();
    let answer = format!(": thinking\r\n{thought}");
    let finish = event(json!({ "delta": {}, "finish_reason": "stop", "index": 0 }));
    let last = format!("{}{finish}data: [DONE]\r\n\r\n", delta("Because."));

    let in_crlf = answer.find("}\r\n").map_or(0, |at| at + 2); // after the CR
    let in_quote = answer.find('“').map_or(0, |at| at + 1); // after the first of three bytes
    let chunk = |bytes| Ok(Bytes::copy_from_slice(bytes));
    let mut chunks = vec![
        (0, chunk(&answer.as_bytes()[..in_crlf])),
        (100, chunk(&answer.as_bytes()[in_crlf..in_quote])),
        (100, chunk(&answer.as_bytes()[in_quote..])),
        (2_500, chunk(last.as_bytes())),
    ];
    if prompt.contains("fail") {
        chunks[3].1 = Err(io::Error::other("failed"));
    } else if prompt.contains("short") {
        chunks.truncate(3);
    }
    let body = stream::unfold(Chunks(chunks.into_iter()), async |mut chunks| {
        let (pause, _) = chunks.0.as_slice().first()?;
        sleep(Duration::from_millis(*pause)).await;
        chunks.0.next().map(|(_, chunk)| (chunk, chunks))
    });
    let content_type = [(CONTENT_TYPE, "text/event-stream")];
    Ok((content_type, Body::from_stream(body)))
}

/// The remaining chunks of the stub's answer, each with the pause before it in milliseconds.
struct Chunks(vec::IntoIter<(u64, io::Result<Bytes>)>);

impl Drop for Chunks {
    fn drop(&mut self) {
        let all_sent = self.0.len() == 0;
        println!("upstream {}", if all_sent { "ended" } else { "cancelled" });
    }
}
