//! Server-Sent Events for any Rust web server: a stream of events becomes a response whose body
//! is an event stream, as section 9.2 of the [HTML standard] has it.
//!
//! [HTML standard]: https://html.spec.whatwg.org/multipage/server-sent-events.html
//!
//! ```
//! use futures_util::{Stream, stream};
//! use http_sse::{Event, EventType, LastEventId, Sse};
//!
//! const TICK: EventType = EventType::from_static("tick"); // checked by the compiler
//!
//! // A handler of axum; of hyper with `.into_response()` at its end.
//! async fn ticks(last: LastEventId) -> Sse<impl Stream<Item = Event>> {
//!     let next = last.parse::<u64>().map_or(0, |last| last + 1);
//!     let tick = |n| Event::data(format!("tick {n}")).event_type(TICK).id(n);
//!     Sse::new(stream::iter((next..next + 2).map(tick)))
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), std::convert::Infallible> {
//! use http_body_util::BodyExt as _;
//!
//! let response = ticks("41".parse()?).await.into_response();
//! let body = response.into_body().collect().await?.to_bytes();
//! assert_eq!(
//!     body,
//!     ":\nevent: tick\nid: 42\ndata: tick 42\n\nevent: tick\nid: 43\ndata: tick 43\n\n",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # What is here
//!
//! - **Values**: [`Event`], with its [`EventType`], [`EventId`] and [`Retry`]. One that exists can
//!   be sent; what the wire cannot carry is refused when it is made.
//! - **Encoding**: [`Encode`] is the trait of what a stream may yield: `Event`s, [`Json`] values,
//!   [`EncodedEvent`]s that were encoded once for many clients, `Result`s, and your own types.
//! - **The response**: [`Sse`], with its headers and options, whose body is an [`SseBody`];
//!   [`KeepAlive`]; [`Sse::stop`], which tells a client not to come back; and [`CloseReport`], what a server
//!   learns when a stream has ended.
//! - **The server**: [`Connections`], with limits, shutdown, and what is open.
//! - **The hub**: [`Hub`], with topics to publish and to subscribe to, and a history from which a
//!   client gets what it missed.
//! - **The request**: [`LastEventId`], and [`accepts_event_stream`].
//! - **Decoding**: [`decode::Decoder`], which reads an event stream as a client does, and [`decode::events`], which
//!   makes a stream of bytes one of events, to be relayed or read.
//!
//! # What happens when
//!
//! | when | then |
//! |---|---|
//! | several events are ready | they leave in one frame, of about 32 KiB at most |
//! | nothing is ready | the poll is pending, and the connection sleeps |
//! | nothing was sent for 15 s | a comment is sent ([`KeepAlive`]) |
//! | the client reads slowly | the source is not polled; nothing piles up |
//! | the client leaves | the body is dropped, and with it the source |
//! | the source ends | the response ends, and an `EventSource` comes back with its last event ID |
//! | the source fails or panics | the response breaks off after what was encoded already. rocket ends it cleanly: [`Sse::break_off_with`] |
//! | the stream is too old ([`Sse::max_age`]) | as when the source ends, also if it is always ready |
//! | the server shuts down ([`Connections::shutdown`]) | the same, behind a goodbye if there is one |
//!
//! [`Sse::on_close`] is told of each end exactly once.
//!
//! # Features
//!
//! None changes what is there without it, and none but `hub` is on by default.
//!
//! - `hub`: [`Hub`]. It needs no dependency more.
//! - `json`: [`Json`], [`Event::json`], [`Encoder::json`].
//! - `base64`: [`Event::base64`].
//! - `metrics`: nothing, but [`Connections`] tells the recorder of the crate `metrics` the totals.
//! - `tracing`: nothing, but [`Connections`] makes a span for each stream.
//! - `simdutf8`: nothing, but [`decode::Decoder`] reads large texts in half the time.
//! - `actix-web`, `axum`, `poem`, `rocket`, `salvo`, `warp`: [`Sse`] is what a handler of that
//!   framework returns, and [`LastEventId`] what it takes, with warp by [`LastEventId::filter`].
//!   The current releases of actix-web and rocket need Rust 1.89, and that of salvo needs 1.95.
//!
// Links to what a build leaves out lead to the features.
#![cfg_attr(not(feature = "base64"), doc = "[`Event::base64`]: #features")]
#![cfg_attr(not(feature = "hub"), doc = "[`Hub`]: #features")]
#![cfg_attr(not(feature = "json"), doc = "[`Encoder::json`]: #features")]
#![cfg_attr(not(feature = "json"), doc = "[`Event::json`]: #features")]
#![cfg_attr(not(feature = "json"), doc = "[`Json`]: #features")]
#![cfg_attr(not(feature = "warp"), doc = "[`LastEventId::filter`]: #features")]
//!
//! # Names
//!
//! They are the standard's. An *event stream* is the body; an *event* is one block in it; the
//! *last event ID* is what a client sends back; the *reconnection time* is what `retry` sets. A
//! response *sends* an event, a client *dispatches* it.
//!
//! # Frameworks
//!
#![doc = include_str!("guide/frameworks.md")]
//!
//! # Who was asked
//!
//! The tests run these against servers of this crate, and fail if what they do is no longer what
//! stands here.
//!
#![doc = include_str!("../tests/real/results.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapter;
mod body;
mod connections;
pub mod decode;
#[cfg(feature = "hub")]
#[cfg_attr(docsrs, doc(cfg(feature = "hub")))]
pub mod hub;
mod request;
mod response;
mod wire;

pub use body::{KeepAlive, SseBody};
pub use connections::{
    AdmitError, CloseReason, CloseReport, ConnectionId, ConnectionInfo, Connections, Permit, Totals,
};
#[cfg(feature = "hub")]
#[cfg_attr(docsrs, doc(cfg(feature = "hub")))]
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
