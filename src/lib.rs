//! Server-Sent Events for any Rust web server.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod adapter;
mod body;
mod close;
mod encode;
mod encoded_event;
mod event;
mod jitter;
#[cfg(feature = "json")]
mod json;
mod keep_alive;
mod output;
mod request;
mod response;
mod timer;

pub use body::SseBody;
pub use close::{CloseReason, Closed};
pub use encode::{Encode, Encoder, encode};
pub use encoded_event::{EncodedEvent, NotAnEvent};
pub use event::{Event, EventId, EventType, InvalidField, InvalidRetry, Retry};
#[cfg(feature = "json")]
pub use json::Json;
pub use keep_alive::KeepAlive;
pub use request::{LastEventId, accepts_event_stream};
pub use response::{Sse, stop};
