//! From values to bytes, beside axum's `Event` and a copy of the same bytes.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_sse::{Event, EventType};

/// What an LLM sends for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;
const TYPE: EventType = EventType::from_static("delta");

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    for (name, text) in [("tick", "1234567890.12345"), ("token", TOKEN)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let wire = format!("data: {text}\n\n");
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
