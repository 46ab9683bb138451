//! Compares the encoder with a copy of the same bytes, and with axum's `Event`.
//!
//! `cargo bench --bench encode`
#![allow(missing_docs)]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_sse::{EncodedEvent, Event, EventType};

/// A chunk of an LLM's response, for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;
const TYPE: EventType = EventType::from_static("delta");

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    for (name, text) in [("tick", "1234567890.12345"), ("token", TOKEN)] {
        group.throughput(Throughput::Elements(100));
        let wire = format!("data: {text}\n\n");
        assert_eq!(EncodedEvent::from(Event::data(text)), wire.as_str());
        group.bench_function(format!("{name}/copy"), |b| {
            b.iter(|| {
                buffer.clear();
                for _ in 0..100 {
                    buffer.extend_from_slice(black_box(wire.as_bytes()));
                }
                black_box(&buffer);
            });
        });
        group.bench_function(format!("{name}/http-sse"), |b| {
            b.iter(|| {
                buffer.clear();
                for _ in 0..100 {
                    let Ok(()) = http_sse::encode(Event::data(black_box(text)), &mut buffer);
                }
                black_box(&buffer);
            });
        });
        // axum gives access to the bytes only through a body. This creates the event alone.
        group.bench_function(format!("{name}/axum, the event alone"), |b| {
            b.iter(|| {
                for _ in 0..100 {
                    let _ = black_box(axum::response::sse::Event::default().data(black_box(text)));
                }
            });
        });
        group.bench_function(format!("{name}+id+event/http-sse"), |b| {
            b.iter(|| {
                buffer.clear();
                for n in 0..100_u64 {
                    let event = Event::data(black_box(text)).event_type(TYPE).id(n);
                    let Ok(()) = http_sse::encode(event, &mut buffer);
                }
                black_box(&buffer);
            });
        });
    }
}

criterion_group!(benches, encode);
criterion_main!(benches);
