//! Server-Sent Events for any Rust web server. A stream of events becomes a response that proxies
//! do not buffer, that ends with its client or its server, and that a client can resume.
//!
//! ```
//! use futures_util::{Stream, stream};
//! use http_sse::{Event, Sse};
//!
//! async fn greetings() -> Sse<impl Stream<Item = Event>> {
//!     Sse::new(stream::iter([Event::data("hello"), Event::data("world")]))
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # use http_body_util::BodyExt as _;
//! # let body = greetings().await.into_body().collect().await.unwrap().to_bytes();
//! # assert_eq!(body, ":\ndata: hello\n\ndata: world\n\n");
//! # }
//! ```
//!
//! This is a handler of axum, and of any other framework that has a feature here. A client reads:
//!
//! ```text
//! $ curl -N http://localhost:3000/greetings
//! :
//! data: hello
//!
//! data: world
//!
//! ```
//!
//! # Installation
//!
//! ```toml
//! [dependencies]
//! http-sse = { version = "0.1", features = ["axum"] }
//! axum = "0.8"
//! futures-util = "0.3"
//! tokio = { version = "1", features = ["full"] }
//! ```
//!
//! # Many clients
//!
//! A [`Hub`] sends each published event to all subscribers of its topic. A client that reconnects
//! receives exactly what it missed, or a reset if the history no longer reaches back that far.
//!
#![cfg_attr(feature = "hub", doc = "```")]
#![cfg_attr(not(feature = "hub"), doc = "```ignore")]
//! # use http_sse::{Event, Hub, LastEventId, Sse, Subscription};
//! async fn prices(hub: Hub, last: LastEventId) -> Sse<Subscription> {
//!     Sse::new(hub.subscribe(["prices", "news"]).after(last))
//! }
//! # let hub = Hub::new();
//! hub.publish("prices", Event::data("100"))?;
//! # Ok::<(), http_sse::hub::PublishError>(())
//! ```
//!
//! # Where to go from here
//!
//! | to | see |
//! |---|---|
//! | return streams from a handler | [`Sse`], and [sources](crate::guide::sources) for what to pass to it |
//! | build events | [`Event`], [`EventType`], [`EventId`], [`Retry`], [`Json`], or [`Encode`] for types of your own |
//! | limit, close and count streams, and stop a server | [`Connections`] |
//! | publish to many clients | [`Hub`], [`Subscription`], and [topics of a hub](crate::guide::hub) |
//! | read an event stream | the module [`decode`] |
//! | use another framework | [frameworks](crate::guide::frameworks) |
//! | move from axum's own `Sse` | [the table](crate::guide::from_axum) |
//! | stream tokens of a language model | [language models](crate::guide::llm) |
//! | know what browsers, SDKs and proxies do | [clients and proxies](crate::guide::clients_and_proxies) |
//! | deal with clients that do not read | [slow clients](crate::guide::slow_clients) |
//! | run several servers | [scaling out](crate::guide::scaling_out) |
//!
//! # What happens when
//!
//! | when | then |
//! |---|---|
//! | several events are ready | they leave together, in a frame that is sent once it holds 32 KiB |
//! | nothing is ready | the poll is pending, and the connection sleeps |
//! | nothing was sent for 15 s | a comment is sent ([`KeepAlive`]) |
//! | the client reads slowly | the source is not polled, and nothing accumulates |
//! | the client leaves | the body is dropped, and the source with it |
//! | the source ends | the response ends, and an `EventSource` reconnects with its last event ID |
//! | the source fails or panics | the response breaks off after everything encoded so far. With rocket it ends ([`Sse::break_off_with`]) |
//! | the stream reaches its [maximum age](Sse::max_age) | the response ends, even if the source is always ready |
//! | a topic of a [`Hub`] is finished | its streams end after the last event. So do streams that resume later |
//! | a client of a [`Hub`] reads too slowly | it gets a reset, or the newest events, or its stream ends |
//! | the server [shuts down](Connections::shutdown) | the response ends, after a goodbye if there is one |
//!
//! [`Sse::on_close`] is called exactly once, with the reason.
//!
//! # Features
//!
//! Features are additive. Only `hub` is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `hub` | [`Hub`]. No further dependency. |
//! | `redis` | [`hub::RedisLog`], a hub on several servers, with the crate `redis`. Needs Rust 1.88. |
//! | `redis-tls` | TLS for it, with rustls and ring |
//! | `json` | [`Json`], [`Event::json`], [`Encoder::json`] |
//! | `base64` | [`Event::base64`] |
//! | `metrics` | counters and gauges of [`Connections`] and [`Hub`] for a recorder of the crate `metrics` |
//! | `tracing` | a span for each stream of [`Connections`] |
//! | `simdutf8` | a faster check of UTF-8 in [`decode::Decoder`] |
//! | `actix-web`, `axum`, `poem`, `rocket`, `salvo`, `warp` | [`Sse`] and [`AdmitError`] as return types of handlers, and [`LastEventId`] as an extractor (with warp [`LastEventId::filter`]) |
//!
//! The current releases of actix-web and rocket need Rust 1.89, and that of salvo needs 1.95.
//!
// Links to what a build leaves out lead to the features.
#![cfg_attr(not(feature = "base64"), doc = "[`Event::base64`]: #features")]
#![cfg_attr(not(feature = "hub"), doc = "[`Hub`]: #features")]
#![cfg_attr(not(feature = "hub"), doc = "[`Subscription`]: #features")]
#![cfg_attr(not(feature = "hub"), doc = "[`hub`]: #features")]
#![cfg_attr(not(feature = "redis"), doc = "[`hub::RedisLog`]: #features")]
#![cfg_attr(not(feature = "json"), doc = "[`Encoder::json`]: #features")]
#![cfg_attr(not(feature = "json"), doc = "[`Event::json`]: #features")]
#![cfg_attr(not(feature = "json"), doc = "[`Json`]: #features")]
#![cfg_attr(not(feature = "warp"), doc = "[`LastEventId::filter`]: #features")]
//! # Names
//!
//! The names are those of the [HTML standard], section 9.2. An *event stream* is the whole body. An
//! *event* is one block in it. The *last event ID* is the id that a client sends when it reconnects.
//! The *reconnection time* is what `retry` sets. A response *sends* an event, and a client
//! *dispatches* it.
//!
//! [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapter;
mod body;
mod connections;
pub mod decode;
#[cfg(all(any(doc, doctest), feature = "hub"))]
pub mod guide;
#[cfg(feature = "hub")]
#[cfg_attr(docsrs, doc(cfg(feature = "hub")))]
pub mod hub;
mod request;
mod response;
mod slots;
mod wake;
mod wire;

pub use body::{KeepAlive, SseBody};
pub use connections::{
    AdmitError, CloseReason, CloseReport, ConnectionId, ConnectionInfo, Connections, Permit, Totals,
};
#[cfg(feature = "hub")]
#[cfg_attr(docsrs, doc(cfg(feature = "hub")))]
#[doc(inline)]
pub use hub::{Hub, Subscription};
pub use request::{LastEventId, accepts_event_stream};
pub use response::{Source, Sse};
#[cfg(feature = "json")]
#[cfg_attr(docsrs, doc(cfg(feature = "json")))]
pub use wire::Json;
pub use wire::{
    Encode, EncodeEventError, EncodedEvent, Encoder, Event, EventId, EventType, IntoSourceError,
    InvalidEvent, InvalidField, InvalidRetry, Retry, encode,
};

/// The README's code, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
