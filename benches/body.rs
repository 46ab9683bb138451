//! From a stream that is always ready to the frames of a body, beside axum's `Sse`.

use std::{convert::Infallible, hint::black_box, pin::pin, task::{Context, Poll, Waker}};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::stream;
use http_body::Body;
use axum::response::IntoResponse;

const EVENTS: u64 = 10_000;
const TICK: &str = "1234567890.12345";
/// What an LLM sends for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;

/// Reads a body to its end.
fn drain<B: Body<Data = Bytes>>(body: B) -> u64 {
    let mut body = pin!(body);
    let mut cx = Context::from_waker(Waker::noop());
    let mut total = 0;
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => total += frame.into_data().unwrap().len() as u64,
            Poll::Ready(None) => return total,
            _ => {}
        }
    }
}

fn body(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let mut group = c.benchmark_group("body");
    group.throughput(Throughput::Elements(EVENTS));
    for (name, text) in [("tick", TICK), ("token", TOKEN)] {
        group.bench_function(format!("{name}/http-sse"), |b| b.iter(|| {
            let source = stream::iter((0..EVENTS).map(move |_| http_sse::Event::data(black_box(text))));
            drain(http_sse::Sse::new(source).into_body())
        }));
        group.bench_function(format!("{name}/axum"), |b| b.iter(|| {
            use axum::response::sse::{Event, KeepAlive, Sse};
            let source = stream::iter((0..EVENTS).map(move |_| Ok::<_, Infallible>(Event::default().data(black_box(text)))));
            drain(Sse::new(source).keep_alive(KeepAlive::default()).into_response().into_body())
        }));
    }
}

criterion_group!(benches, body);
criterion_main!(benches);
