//! The peers of `http-sse`, and the payloads that the benchmarks send through them.
//!
//! Each peer has a file of its own. It implements [`Peer`] with the crate's own public API, from
//! events to the bytes of a body. [`assert_same_events`] checks that all peers send the same
//! events.
//!
//! rama is not a peer: its current release, 0.4, needs a newer compiler than this project.

#![allow(missing_docs)]

use std::{
    borrow::Cow,
    convert::Infallible,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use ::http_sse::decode::{Decoded, Decoder};
use bytes::Bytes;
use http_body::Body;
use serde_json::value::RawValue;

mod actix_web_lab;
mod axum;
mod bounds;
mod copy;
mod http_sse;
mod poem;
mod process;
mod rocket;
mod salvo;
mod sse_stream;
mod warp;

pub use self::{
    actix_web_lab::ActixWebLab,
    axum::Axum,
    bounds::{ceiling_label, floor_label},
    copy::Copy,
    http_sse::{HttpSse, HttpSseConstant, HttpSseEncode, HttpSseEncoded},
    poem::Poem,
    process::{Process, block_on, listen, rocket, was_server},
    rocket::Rocket,
    salvo::Salvo,
    sse_stream::SseStream,
    warp::Warp,
};

/// A sequence of events that differ only in their IDs.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    pub name: &'static str,
    pub data: &'static str,
    /// The data as a JSON value, for crates that serialise JSON themselves.
    pub json: Option<&'static RawValue>,
    /// `true` if each event has a `String` of its own, made when the source is polled.
    /// Otherwise the data is static, and only crates that take a `String` make one.
    pub owned: bool,
    /// `true` if each event has the event type `delta` and an ID, which counts up from zero.
    pub all_fields: bool,
    /// The number of events in a body.
    pub events: u64,
}

const TICK: &str = "1234567890.12345";
/// A chunk of an LLM's response, for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;

impl Payload {
    const fn new(name: &'static str, data: &'static str) -> Self {
        Self {
            name,
            data,
            json: None,
            owned: false,
            all_fields: false,
            events: 10_000,
        }
    }

    pub const fn tick() -> Self {
        Self::new("tick", TICK)
    }

    pub const fn token() -> Self {
        Self::new("token", TOKEN)
    }

    /// Returns the payload with another number of events.
    pub const fn with(self, events: u64) -> Self {
        Self { events, ..self }
    }

    const fn as_owned(self, name: &'static str) -> Self {
        Self {
            name,
            owned: true,
            ..self
        }
    }

    fn as_json(self, name: &'static str) -> Self {
        let json = serde_json::from_str(self.data).expect("the data is valid JSON");
        Self {
            name,
            json: Some(json),
            ..self
        }
    }

    /// Returns every payload, in the order of the printed tables.
    pub fn all() -> [Self; 11] {
        let line = |bytes: usize| {
            let line = format!(r#"{{"text":"{}"}}"#, "lorem ipsum ".repeat(bytes / 12));
            &*line.leak()
        };
        let line64k = Self::new("line64k", line(64 << 10)).with(200);
        let text = "some words that fill a line with eighty bytes or so, as a text has them here\n";
        [
            Self::tick(),
            Self::token(),
            Self {
                name: "token+id+event",
                all_fields: true,
                ..Self::token()
            },
            Self::new("json1k", line(1 << 10)),
            Self::new("text16k", text.repeat(200).trim_end().to_owned().leak()).with(500),
            line64k,
            Self::token().as_json("token, JSON"),
            line64k.as_json("line64k, JSON"),
            Self::tick().as_owned("tick, owned"),
            Self::token().as_owned("token, owned"),
            line64k.as_owned("line64k, owned"),
        ]
    }

    /// Returns the bytes of one event without an event type and an ID.
    pub fn wire(&self) -> String {
        let lines = self.data.split('\n').map(|line| format!("data: {line}\n"));
        lines.chain(["\n".into()]).collect()
    }

    fn items(self) -> impl Iterator<Item = Item> + Send + Sync + Unpin {
        (0..self.events).map(move |n| Item {
            data: match black_box(self.data) {
                data if self.owned => Cow::Owned(data.to_owned()),
                data => Cow::Borrowed(data),
            },
            json: self.json,
            id: self.all_fields.then_some(n),
        })
    }
}

struct Item {
    data: Cow<'static, str>,
    json: Option<&'static RawValue>,
    id: Option<u64>,
}

impl Item {
    /// Returns the data as text, for crates without JSON support.
    fn into_text(self) -> String {
        match self.json {
            Some(json) => to_json(serde_json::to_string(json)),
            None => self.data.into_owned(),
        }
    }
}

fn to_json<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    made.expect("the data is valid JSON")
}

/// The approximate size of a frame of http-sse, in bytes.
pub const FRAME: usize = 32 * 1024;

/// A crate's path from events to the bytes of a body.
pub trait Peer {
    const NAME: &'static str;

    /// Runs a body of the payload to its end, and calls `each` with every frame.
    fn run(payload: Payload, each: impl FnMut(&[u8]));
}

/// Polls a body to its end, and calls `each` with every frame.
fn poll_body<B: Body<Data = Bytes>>(body: B, mut each: impl FnMut(&[u8])) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => each(&frame.into_data().unwrap_or_default()),
            Poll::Ready(Some(Err(_))) => panic!("nothing fails here"),
            Poll::Ready(None) => return,
            Poll::Pending => {}
        }
    }
}

fn ok<T>(item: T) -> Result<T, Infallible> {
    Ok(item)
}

/// Checks that a client dispatches the same events for every peer and payload.
///
/// # Panics
///
/// Panics if one peer's events differ from those of http-sse.
pub fn assert_same_events() {
    for payload in Payload::all() {
        let payload = payload.with(10);
        let expected = dispatched::<HttpSse>(payload);
        assert_eq!(expected.len(), 10);
        for (name, events) in [
            (Axum::NAME, dispatched::<Axum>(payload)),
            (ActixWebLab::NAME, dispatched::<ActixWebLab>(payload)),
            (SseStream::NAME, dispatched::<SseStream>(payload)),
            (Warp::NAME, dispatched::<Warp>(payload)),
            (Poem::NAME, dispatched::<Poem>(payload)),
            (Salvo::NAME, dispatched::<Salvo>(payload)),
            (Rocket::NAME, dispatched::<Rocket>(payload)),
        ] {
            assert!(events == expected, "{name}, {}", payload.name);
        }
    }
}

/// Returns the events that a client dispatches: event type, data, last event ID.
fn dispatched<P: Peer>(payload: Payload) -> Vec<(String, String, String)> {
    let mut decoder = Decoder::new();
    let mut all = Vec::new();
    P::run(payload, |mut bytes| {
        while let Some(decoded) = decoder.decode(&mut bytes).unwrap() {
            if let Decoded::Event {
                event_type,
                data,
                last_event_id,
                ..
            } = decoded
            {
                all.push((event_type.into(), data.into(), last_event_id.into()));
            }
        }
    });
    all
}

/// Runs a closure in a runtime, because some peers create timers.
pub fn in_runtime(run: impl FnOnce()) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let _entered = runtime.enter();
    run();
}
