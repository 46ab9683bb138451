//! What the benchmarks share: payloads, and each crate's own way from events to the bytes of a
//! body.
//!
//! rama is not among them: its current release, 0.4, wants a newer compiler than this project's.

#![allow(missing_docs)]

use std::{
    borrow::Cow,
    convert::Infallible,
    hint::black_box,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body::Body;
use http_sse::decode::{Decoded, Decoder};
use serde_json::value::RawValue;

mod process;

pub use process::{Process, block_on, listen, rocket, was_server};

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

fn poll_stream<E>(stream: impl Stream<Item = Result<Bytes, E>>, mut each: impl FnMut(&[u8])) {
    let mut stream = pin!(stream);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match stream.as_mut().poll_next(&mut cx) {
            Poll::Ready(Some(bytes)) => each(&bytes.ok().expect("nothing fails here")),
            Poll::Ready(None) => return,
            Poll::Pending => {}
        }
    }
}

fn ok<T>(item: T) -> Result<T, Infallible> {
    Ok(item)
}

pub struct HttpSse;

impl HttpSse {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = http_sse::Event> + Send + Sync + Unpin + use<> {
        use http_sse::{Event, EventType};
        const DELTA: EventType = EventType::from_static("delta");
        stream::iter(payload.items()).map(|item| {
            let event = Event::data(item.data);
            match item.id {
                None => event,
                Some(id) => event.event_type(DELTA).id(id),
            }
        })
    }
}

impl Peer for HttpSse {
    const NAME: &'static str = "http-sse";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use http_sse::{Json, Sse};
        if let Some(json) = payload.json {
            let source = stream::iter(payload.items()).map(move |_| Json(black_box(json)));
            return poll_body(Sse::new(source).into_body(), each);
        }
        let source = Self::events(payload);
        poll_body(Sse::new(source).into_body(), each);
    }
}

/// The clones of one event.
pub struct HttpSseEncoded;

impl Peer for HttpSseEncoded {
    const NAME: &'static str = "http-sse, EncodedEvent";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use http_sse::{EncodedEvent, Event, Sse};
        let event = EncodedEvent::from(Event::data(payload.data));
        let source = stream::repeat(event).take(payload.events as usize);
        poll_body(Sse::new(source).into_body(), each);
    }
}

/// Constants, which have no count of references.
pub struct HttpSseConstant;

impl Peer for HttpSseConstant {
    const NAME: &'static str = "http-sse, EncodedEvent::from_static";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use http_sse::{EncodedEvent, Sse};
        let event = EncodedEvent::from_static(payload.wire().leak());
        let source = stream::repeat(event).take(payload.events as usize);
        poll_body(Sse::new(source).into_body(), each);
    }
}

/// The encoder alone, into a buffer.
pub struct HttpSseEncode;

impl Peer for HttpSseEncode {
    const NAME: &'static str = "http-sse, encode";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        const FRAME: usize = 32 * 1024;
        let mut buffer = BytesMut::with_capacity(FRAME + payload.data.len() + 64);
        for item in payload.items() {
            let Ok(()) = http_sse::encode(http_sse::Event::data(item.data), &mut buffer);
            if buffer.len() >= FRAME {
                each(&buffer);
                buffer.clear();
            }
        }
        each(&buffer);
    }
}

pub struct Axum;

impl Axum {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<axum::response::sse::Event, Infallible>> + Send + Sync + Unpin + use<>
    {
        use axum::response::sse;
        stream::iter(payload.items()).map(|item| {
            let event = sse::Event::default();
            ok(match item {
                Item {
                    json: Some(json), ..
                } => to_json(event.json_data(json)),
                Item { id: None, data, .. } => event.data(data),
                Item {
                    id: Some(id), data, ..
                } => event.event("delta").id(id.to_string()).data(data),
            })
        })
    }
}

impl Peer for Axum {
    const NAME: &'static str = "axum";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use axum::response::{IntoResponse as _, sse};
        let source = Self::events(payload);
        let sse = sse::Sse::new(source).keep_alive(sse::KeepAlive::default());
        poll_body(sse.into_response().into_body(), each);
    }
}

pub struct ActixWebLab;

impl ActixWebLab {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<actix_web_lab::sse::Event, Infallible>> + Send + Sync + Unpin + use<>
    {
        use actix_web_lab::sse;
        stream::iter(payload.items()).map(|item| {
            let data = match item.json {
                Some(json) => to_json(sse::Data::new_json(json)),
                None => match item.data {
                    Cow::Borrowed(data) => sse::Data::new(data),
                    Cow::Owned(data) => sse::Data::new(data),
                },
            };
            ok(sse::Event::Data(match item.id {
                None => data,
                Some(id) => data.event("delta").id(id.to_string()),
            }))
        })
    }
}

impl Peer for ActixWebLab {
    const NAME: &'static str = "actix-web-lab";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        use std::time::Duration;

        use actix_web::{Responder as _, body::MessageBody as _, test::TestRequest};
        use actix_web_lab::sse;
        let source = Self::events(payload);
        let sse = sse::Sse::from_stream(source).with_keep_alive(Duration::from_secs(15));
        let request = TestRequest::default().to_http_request();
        let mut body = pin!(sse.respond_to(&request).into_body());
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(Ok(bytes))) = body.as_mut().poll_next(&mut cx) {
            each(&bytes);
        }
    }
}

pub struct SseStream;

impl SseStream {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<sse_stream::Sse, Infallible>> + Send + Sync + Unpin + use<> {
        use sse_stream::Sse;
        stream::iter(payload.items()).map(|item| {
            let id = item.id;
            let event = match item.json {
                Some(_) => Sse::default().data(item.into_text()),
                None => Sse::default().data(item.data),
            };
            ok(match id {
                None => event,
                Some(id) => event.event("delta").id(id.to_string()),
            })
        })
    }
}

impl Peer for SseStream {
    const NAME: &'static str = "sse-stream";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use sse_stream::SseBody;
        let source = Self::events(payload);
        poll_body(SseBody::new(source), each);
    }
}

pub struct Warp;

impl Warp {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<warp::sse::Event, Infallible>> + Send + Sync + Unpin + use<>
    {
        use warp::sse;
        stream::iter(payload.items()).map(|item| {
            let event = sse::Event::default();
            let event = match item.json {
                Some(json) => to_json(event.json_data(json)),
                None => event.data(item.data),
            };
            ok(match item.id {
                None => event,
                Some(id) => event.event("delta").id(id.to_string()),
            })
        })
    }
}

impl Peer for Warp {
    const NAME: &'static str = "warp";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use warp::{Reply as _, sse};
        let source = Self::events(payload);
        let reply = sse::reply(sse::keep_alive().stream(source));
        poll_body(reply.into_response().into_body(), each);
    }
}

pub struct Poem;

impl Poem {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = poem::web::sse::Event> + Send + Sync + Unpin + use<> {
        use poem::web::sse;
        stream::iter(payload.items()).map(|item| {
            let id = item.id;
            let event = sse::Event::message(item.into_text());
            match id {
                None => event,
                Some(id) => event.event_type("delta").id(id.to_string()),
            }
        })
    }
}

impl Peer for Poem {
    const NAME: &'static str = "poem";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        use std::time::Duration;

        use poem::{IntoResponse as _, web::sse};
        let source = Self::events(payload);
        let sse = sse::SSE::new(source).keep_alive(Duration::from_secs(15));
        poll_stream(sse.into_response().into_body().into_bytes_stream(), each);
    }
}

pub struct Salvo;

impl Salvo {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = Result<salvo::sse::SseEvent, Infallible>> + Send + Sync + Unpin + use<>
    {
        use salvo::sse;
        stream::iter(payload.items()).map(|item| {
            let event = sse::SseEvent::default();
            let event = match item.json {
                Some(json) => to_json(event.json(json)),
                None => event.text(item.data),
            };
            ok(match item.id {
                None => event,
                Some(id) => event.name("delta").id(id.to_string()),
            })
        })
    }
}

impl Peer for Salvo {
    const NAME: &'static str = "salvo";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        use salvo::{Response, sse};
        let source = Self::events(payload);
        let mut response = Response::new();
        sse::SseKeepAlive::new(source).stream(&mut response);
        let mut body = response.take_body();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match Body::poll_frame(Pin::new(&mut body), &mut cx) {
                Poll::Ready(Some(Ok(frame))) => each(&frame.into_data().unwrap_or_default()),
                Poll::Ready(Some(Err(_))) => panic!("nothing fails here"),
                Poll::Ready(None) => return,
                Poll::Pending => {}
            }
        }
    }
}

/// Its responses are read through its own client for tests, which has no socket.
pub struct Rocket;

mod rocket_peer {
    use std::sync::{Mutex, OnceLock};

    use futures_util::Stream;
    use rocket::{
        Config, State,
        config::LogLevel,
        get,
        local::asynchronous::Client,
        response::stream::{Event, EventStream},
        routes,
    };
    use tokio::io::AsyncReadExt as _;

    use super::Payload;

    type Wanted = Mutex<Option<Payload>>;

    #[get("/")]
    fn events(wanted: &State<Wanted>) -> EventStream<impl Stream<Item = Event>> {
        let payload = wanted.lock().unwrap().expect("it is set before");
        EventStream::from(super::Rocket::events(payload))
    }

    pub(super) fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        static CLIENT: OnceLock<(tokio::runtime::Runtime, Client)> = OnceLock::new();
        let (runtime, client) = CLIENT.get_or_init(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            let config = Config {
                log_level: LogLevel::Off,
                ..Config::default()
            };
            let rocket = rocket::custom(config).manage(Wanted::default());
            let rocket = rocket.mount("/", routes![events]);
            let client = runtime.block_on(Client::untracked(rocket)).unwrap();
            (runtime, client)
        });
        let wanted: &Wanted = client.rocket().state().unwrap();
        *wanted.lock().unwrap() = Some(payload);
        runtime.block_on(async {
            let mut response = client.get("/").dispatch().await;
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match response.read(&mut buffer).await.unwrap() {
                    0 => return,
                    read => each(&buffer[..read]),
                }
            }
        });
    }
}

impl Rocket {
    pub fn events(
        payload: Payload,
    ) -> impl Stream<Item = rocket::response::stream::Event> + Send + Sync + Unpin + use<> {
        use rocket::response::stream::Event;
        stream::iter(payload.items()).map(|item| {
            let event = match item.json {
                Some(json) => Event::json(&json),
                None => Event::data(item.data),
            };
            match item.id {
                None => event,
                Some(id) => event.event("delta").id(id.to_string()),
            }
        })
    }
}

impl Peer for Rocket {
    const NAME: &'static str = "rocket";

    fn run(payload: Payload, each: impl FnMut(&[u8])) {
        rocket_peer::run(payload, each);
    }
}

/// The bytes alone, into a buffer of the size of a frame.
pub struct Copy;

impl Peer for Copy {
    const NAME: &'static str = "a copy of the bytes";

    fn run(payload: Payload, mut each: impl FnMut(&[u8])) {
        const FRAME: usize = 32 * 1024;
        let wire = payload.wire();
        let mut buffer = Vec::with_capacity(FRAME + wire.len());
        for _ in 0..payload.events {
            buffer.extend_from_slice(black_box(wire.as_bytes()));
            if buffer.len() >= FRAME {
                each(&buffer);
                buffer.clear();
            }
        }
        each(&buffer);
    }
}

/// What a client dispatches: event type, data, last event ID.
pub fn dispatched<P: Peer>(payload: Payload) -> Vec<(String, String, String)> {
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
