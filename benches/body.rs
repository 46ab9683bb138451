//! Compares this crate's `Sse` with axum's, from a stream that is always ready to body frames.
//!
//! `cargo bench --bench body` measures each through its own public API. It first decodes both
//! bodies and checks that their events are equal. The lines that start with `ratio` have the ratios.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/ratio.rs"]
mod ratio;

use std::{
    convert::Infallible,
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::response::{IntoResponse as _, sse};
use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body::Body;
use http_sse::{Connections, EncodedEvent, Event, EventType, Sse};

const EVENTS: u64 = 10_000;
const TICK: &str = "1234567890.12345";
/// A chunk of an LLM's response, for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;
/// The floor of a payload with data alone: times as fast as axum.
const DATA_FLOOR: f64 = 10.0;
/// The floor of a payload with data, ID and event type.
const ALL_FIELDS_FLOOR: f64 = 7.5;
/// The floor of a body with a permit, relative to one without.
const PERMIT_FLOOR: f64 = 0.97;

const DELTA: EventType = EventType::from_static("delta");

/// Polls a body to its end, and calls `each` with every frame.
fn read<B: Body<Data = Bytes>>(body: B, mut each: impl FnMut(&[u8])) {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
        each(&frame.into_data().unwrap());
    }
}

fn ours(event: impl Fn(u64) -> Event + Send + 'static) -> impl Body<Data = Bytes> {
    Sse::new(stream::iter((0..EVENTS).map(event))).into_body()
}

fn axums(event: impl Fn(u64) -> sse::Event + Send + 'static) -> impl Body<Data = Bytes> {
    let source = stream::iter((0..EVENTS).map(event)).map(Ok::<_, Infallible>);
    sse::Sse::new(source)
        .keep_alive(sse::KeepAlive::default())
        .into_response()
        .into_body()
}

fn encoded(text: &'static str) -> impl Body<Data = Bytes> {
    let event = EncodedEvent::from(Event::data(text));
    Sse::new(stream::repeat(event).take(EVENTS as usize)).into_body()
}

/// Returns the events that a client dispatches for a body.
fn dispatched(body: impl Body<Data = Bytes>) -> Vec<(String, String, String)> {
    let mut bytes = BytesMut::new();
    read(body, |frame| bytes.extend_from_slice(frame));
    stream::iter([Ok::<_, Infallible>(bytes)])
        .eventsource()
        .map(|event| {
            event
                .map(|event| (event.event, event.id, event.data))
                .unwrap()
        })
        .collect()
        .now_or_never()
        .unwrap()
}

fn drain(body: impl Body<Data = Bytes>) -> usize {
    let mut total = 0;
    read(body, |frame| total += frame.len());
    total
}

/// Measures both bodies, and prints their ratio with its floor.
fn payload<A, B>(
    c: &mut Criterion,
    name: &str,
    floor: f64,
    ours: impl Fn() -> A,
    axums: impl Fn() -> B,
) where
    A: Body<Data = Bytes>,
    B: Body<Data = Bytes>,
{
    assert_eq!(dispatched(ours()), dispatched(axums()), "{name}");
    let mut group = c.benchmark_group(format!("body/{name}"));
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("http-sse", |b| b.iter(|| drain(ours())));
    group.bench_function("axum", |b| b.iter(|| drain(axums())));
    group.finish();
    ratio::compare(
        &format!("body/{name}"),
        "axum",
        floor,
        || drain(ours()),
        || drain(axums()),
    );
}

fn body(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();

    payload(
        c,
        "tick",
        DATA_FLOOR,
        || ours(|_| Event::data(black_box(TICK))),
        || axums(|_| sse::Event::default().data(black_box(TICK))),
    );
    payload(
        c,
        "token",
        DATA_FLOOR,
        || ours(|_| Event::data(black_box(TOKEN))),
        || axums(|_| sse::Event::default().data(black_box(TOKEN))),
    );
    payload(
        c,
        "token, id, event type",
        ALL_FIELDS_FLOOR,
        || ours(|n| Event::data(black_box(TOKEN)).event_type(DELTA).id(n)),
        || {
            axums(|n| {
                let event = sse::Event::default().event("delta").id(n.to_string());
                event.data(black_box(TOKEN))
            })
        },
    );

    // The cost of counting a stream, and of the means to close it.
    let connections = Connections::new();
    ratio::compare(
        "body/token, with a permit",
        "one without",
        PERMIT_FLOOR,
        || {
            let source = stream::iter((0..EVENTS).map(|_| Event::data(black_box(TOKEN))));
            let permit = connections.admit("a").unwrap();
            drain(Sse::new(source).permit(permit).into_body())
        },
        || drain(ours(|_| Event::data(black_box(TOKEN)))),
    );

    let mut group = c.benchmark_group("body/token, pre-encoded");
    group.throughput(Throughput::Elements(EVENTS));
    group.bench_function("http-sse", |b| b.iter(|| drain(encoded(TOKEN))));
    group.bench_function("copy", |b| {
        let wire = format!("data: {TOKEN}\n\n");
        let mut buffer = BytesMut::with_capacity(32 * 1024 + wire.len());
        b.iter(|| {
            for _ in 0..EVENTS {
                if buffer.len() > 32 * 1024 {
                    buffer.clear();
                }
                buffer.extend_from_slice(black_box(wire.as_bytes()));
            }
            buffer.len()
        });
    });
}

criterion_group!(benches, body);
criterion_main!(benches);
