//! What the benchmarks share: payloads, and each crate's own way from events to the bytes of a
//! body.
//!
//! rama is not among them: its current release, 0.4, wants a newer compiler than this project's.

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
    copy::Copy,
    http_sse::{HttpSse, HttpSseConstant, HttpSseEncode, HttpSseEncoded},
    poem::Poem,
    process::{Process, block_on, listen, rocket, was_server},
    rocket::Rocket,
    salvo::Salvo,
    sse_stream::SseStream,
    warp::Warp,
};

/// The same event again and again, but for its id.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    pub name: &'static str,
    pub data: &'static str,
    /// The data as a value, for what a crate has for those.
    pub json: Option<&'static RawValue>,
    /// Makes the data of each event a `String` of its own when the source is polled.
    /// Otherwise they are static, and only crates that take a `String` make one.
    pub owned: bool,
    /// Whether it has an id, which counts, and the event type `delta`.
    pub all_fields: bool,
    /// How many are sent at a time.
    pub events: u64,
}

const TICK: &str = "1234567890.12345";
/// What an LLM sends for one token.
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
        let json = serde_json::from_str(self.data).expect("it is JSON");
        Self {
            name,
            json: Some(json),
            ..self
        }
    }

    /// As in the table of what is promised.
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
            Self::tick().as_owned("tick, owned"),
            Self::token().as_owned("token, owned"),
            line64k.as_owned("line64k, owned"),
            Self::token().as_json("token, JSON"),
            line64k.as_json("line64k, JSON"),
        ]
    }

    /// How long the bytes of one are, at least.
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
    /// For a crate that has nothing for JSON.
    fn into_text(self) -> String {
        match self.json {
            Some(json) => to_json(serde_json::to_string(json)),
            None => self.data.into_owned(),
        }
    }
}

fn to_json<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    made.expect("it is JSON already")
}

/// As many bytes as http-sse puts into a frame.
pub const FRAME: usize = 32 * 1024;

/// A way from events to bytes.
pub trait Peer {
    const NAME: &'static str;

    /// Sends the payload, and shows every frame.
    fn run(payload: Payload, each: impl FnMut(&[u8]));
}

pub fn poll_body<B: Body<Data = Bytes>>(body: B, mut each: impl FnMut(&[u8])) {
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

/// What comes out is the same events, whoever wrote them.
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

/// What a client dispatches: event type, data, last event ID.
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

/// So that a runtime's timers are there.
pub fn in_runtime(run: impl FnOnce()) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let _entered = runtime.enter();
    run();
}
