//! Compares this crate's decoder with those of other crates, and with a search for line ends.
//!
//! `cargo bench --bench decode` first checks that all decoders read the same number of events and
//! of bytes of data. The input is in pieces of 16 KiB, or larger if one event is larger.
//!
//! The other crates' decoders are streams that yield owned text, as `events` does. `Decoder` lends
//! it. The lines that start with `ratio` have the ratios of `Decoder` and of `events`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/ratio.rs"]
mod ratio;

use std::{convert::Infallible, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::decode::{Decoded, Decoder, events};
use memchr::memchr2;
use sse_stream::SseStream;

/// A chunk of an LLM's response, for one token.
const TOKEN: &str = r#"{"id":"chatcmpl-9lDZ","object":"chat.completion.chunk","created":1720000000,"model":"m","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}"#;

/// The number of events, and the number of bytes of their data.
type Read = (usize, usize);

/// The floor against the decoders of other crates: times as fast.
const PEER_FLOOR: f64 = 1.0;
/// The floor against a search for line ends, for one line of 1 MiB.
///
/// The search is a lower limit for any decoder. `Decoder` takes about twice its time with the
/// feature `simdutf8`. The standard library's check for UTF-8 alone takes nearly twice as long as
/// the search.
const SEARCH_FLOOR: f64 = 0.4;

fn ours(pieces: &[Bytes]) -> Read {
    let mut decoder = Decoder::new();
    let (mut events, mut bytes) = (0, 0);
    for piece in pieces {
        let mut input = &piece[..];
        while let Some(decoded) = decoder.decode(&mut input).unwrap() {
            if let Decoded::Event { data, .. } = decoded {
                events += 1;
                bytes += black_box(&data).len();
            }
        }
    }
    (events, bytes)
}

fn ours_owned(pieces: &[Bytes]) -> Read {
    let bytes = stream::iter(pieces.iter().cloned().map(Ok::<_, Infallible>));
    events(bytes, Decoder::new())
        .fold((0, 0), |(events, bytes), event| {
            std::future::ready((events + 1, bytes + event.unwrap().as_data().unwrap().len()))
        })
        .now_or_never()
        .unwrap()
}

fn eventsource_stream(pieces: &[Bytes]) -> Read {
    stream::iter(pieces.iter().cloned().map(Ok::<_, Infallible>))
        .eventsource()
        .fold((0, 0), |(events, bytes), event| {
            std::future::ready((events + 1, bytes + event.unwrap().data.len()))
        })
        .now_or_never()
        .unwrap()
}

fn sse_stream(pieces: &[Bytes]) -> Read {
    SseStream::from_bytes_stream(stream::iter(
        pieces.iter().cloned().map(Ok::<_, Infallible>),
    ))
    .fold((0, 0), |(events, bytes), event| {
        std::future::ready((events + 1, bytes + event.unwrap().data.unwrap().len()))
    })
    .now_or_never()
    .unwrap()
}

/// Searches for line ends without decoding.
fn line_ends(pieces: &[Bytes]) -> Read {
    let mut ends = 0;
    for piece in pieces {
        let mut rest = &piece[..];
        while let Some(end) = memchr2(b'\r', b'\n', rest) {
            ends += 1;
            rest = &rest[end + 1..];
        }
    }
    (ends, 0)
}

fn pieces(event: &str, events: usize, size: usize) -> Vec<Bytes> {
    let wire = Bytes::from(event.repeat(events));
    (0..wire.len())
        .step_by(size)
        .map(|at| wire.slice(at..wire.len().min(at + size)))
        .collect()
}

fn decode(c: &mut Criterion) {
    let large = "x".repeat(1 << 20);
    let cases = [
        (
            "token",
            pieces(&format!("data: {TOKEN}\n\n"), 5_000, 16 * 1024),
            None,
        ),
        (
            "token, id, event type",
            pieces(
                &format!("event: delta\nid: 7\ndata: {TOKEN}\n\n"),
                5_000,
                16 * 1024,
            ),
            None,
        ),
        (
            "lines",
            pieces(
                &format!(
                    "{}\n",
                    "data: a line of text, and not a long one\n".repeat(50)
                ),
                200,
                16 * 1024,
            ),
            None,
        ),
        (
            "one line of 1 MiB",
            pieces(&format!("data: {large}\n\n"), 4, (1 << 20) + 8),
            Some(SEARCH_FLOOR),
        ),
    ];
    for (name, pieces, search_floor) in cases {
        assert_eq!(ours(&pieces), eventsource_stream(&pieces), "{name}");
        assert_eq!(ours(&pieces), sse_stream(&pieces), "{name}");
        assert_eq!(ours(&pieces), ours_owned(&pieces), "{name}");
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let mut group = c.benchmark_group(format!("decode/{name}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.measurement_time(Duration::from_secs(2));
        group.bench_function("http-sse", |b| b.iter(|| ours(&pieces)));
        group.bench_function("http-sse, events", |b| b.iter(|| ours_owned(&pieces)));
        group.bench_function("eventsource-stream", |b| {
            b.iter(|| eventsource_stream(&pieces))
        });
        group.bench_function("sse-stream", |b| b.iter(|| sse_stream(&pieces)));
        group.bench_function("line ends", |b| b.iter(|| line_ends(&pieces)));
        group.finish();
        let name = format!("decode/{name}");
        let ours = || ours(&pieces).1;
        ratio::compare(&name, "eventsource-stream", PEER_FLOOR, ours, || {
            eventsource_stream(&pieces).1
        });
        ratio::compare(&name, "sse-stream", PEER_FLOOR, ours, || {
            sse_stream(&pieces).1
        });
        let events = format!("{name}, events");
        let ours_owned = || ours_owned(&pieces).1;
        ratio::compare(
            &events,
            "eventsource-stream",
            PEER_FLOOR,
            ours_owned,
            || eventsource_stream(&pieces).1,
        );
        ratio::compare(&events, "sse-stream", PEER_FLOOR, ours_owned, || {
            sse_stream(&pieces).1
        });
        if let Some(floor) = search_floor {
            ratio::compare(&name, "a search for line ends", floor, ours, || {
                line_ends(&pieces).0
            });
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
