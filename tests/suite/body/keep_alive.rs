//! Keep-alives and their timers.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_sse::{Encode, EncodedEvent, Encoder, Event, KeepAlive, Sse};
use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};
use tokio::time::{Instant, advance};

use super::{MILLISECOND, SECOND, channel, frame, is_pending, later, later_frame, poll};

fn every(interval: Duration) -> KeepAlive {
    KeepAlive::new().interval(interval).comment("idle")
}

#[tokio::test(start_paused = true)]
async fn the_interval_counts_from_the_last_byte() {
    let (events, source) = channel();
    let mut body = Sse::new(source).keep_alive(every(10 * SECOND)).into_body();
    assert_eq!(frame(&mut body), ":\n");
    for _ in 0..100 {
        assert!(is_pending(&mut body));
        advance(10 * SECOND - MILLISECOND).await;
        events.send(Event::data("x")).unwrap();
        assert_eq!(later_frame(&mut body).await, "data: x\n\n");
    }
    let last = Instant::now();
    for n in 1..4 {
        assert_eq!(later_frame(&mut body).await, ": idle\n");
        assert_eq!(last.elapsed(), n * 10 * SECOND);
    }
    events.send(Event::data("x")).unwrap();
    assert_eq!(later_frame(&mut body).await, "data: x\n\n");
}

#[tokio::test(start_paused = true)]
async fn the_first_keep_alive_is_one_interval_after_the_opening() {
    let start = Instant::now();
    let mut body = Sse::new(stream::pending::<Event>()).into_body();
    assert_eq!(later_frame(&mut body).await, ":\n");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(later_frame(&mut body).await, ":\n");
    assert_eq!(start.elapsed(), KeepAlive::DEFAULT_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn a_busy_source_gets_no_keep_alive() {
    let source = stream::repeat_with(|| Event::data("x")).take(10_000);
    let mut body = Sse::new(source).keep_alive(every(MILLISECOND)).into_body();
    let mut sent = Vec::new();
    while let Some(frame) = later(&mut body).await {
        sent.extend_from_slice(&frame.unwrap());
        advance(SECOND).await;
    }
    assert_eq!(
        sent,
        format!(":\n{}", "data: x\n\n".repeat(10_000)).into_bytes()
    );
}

#[tokio::test(start_paused = true)]
async fn keep_alives_can_be_disabled() {
    let mut body = Sse::new(stream::pending::<Event>())
        .keep_alive(None)
        .into_body();
    assert_eq!(frame(&mut body), ":\n");
    assert!(is_pending(&mut body));
    advance(1_000_000 * SECOND).await;
    assert!(is_pending(&mut body));
}

#[test]
fn a_body_without_timers_needs_no_runtime() {
    let mut body = Sse::new(stream::pending::<Event>())
        .keep_alive(None)
        .into_body();
    assert_eq!(frame(&mut body), ":\n");
    assert!(is_pending(&mut body));
}

/// Events of random sizes and kinds are sent while time passes and the client reads at random.
///
/// The output consists of whole events in order, with keep-alives only between them.
#[tokio::test(start_paused = true)]
async fn no_keep_alive_is_sent_inside_an_event() {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut random = move |below: u32| random.next_u32() % below;
    let (events, source) = channel();
    let mut body = Sse::new(source).keep_alive(every(5 * SECOND)).into_body();
    let mut expected = std::collections::VecDeque::from([Bytes::from(":\n")]);
    let mut sent = Vec::new();
    let mut keep_alives = 0;
    for step in 0..100_000_u32 {
        match random(10) {
            0..4 => {
                let text = match random(50) {
                    0 => "x".repeat(64 * 1024),
                    1 => "y\n".repeat(400),
                    2..10 => format!("{step}\n: idle\n\n"),
                    _ => step.to_string(),
                };
                let event = EncodedEvent::from(Event::data(text.clone()));
                expected.push_back(event.clone().into_bytes());
                events
                    .send(match random(3) {
                        0 => Item::Encoded(event),
                        _ => Item::Event(Event::data(text)),
                    })
                    .unwrap();
            }
            4..7 => advance(random(6_000) * MILLISECOND).await,
            _ => {
                if let Some(frame) = poll(&mut body) {
                    sent.extend_from_slice(&frame.unwrap().unwrap());
                }
            }
        }
        // Remove every complete event and keep-alive from the output.
        let mut rest = &sent[..];
        loop {
            if let Some(after) = rest.strip_prefix(b": idle\n") {
                keep_alives += 1;
                rest = after;
            } else if let Some(after) = expected.front().and_then(|e| rest.strip_prefix(&e[..])) {
                expected.pop_front();
                rest = after;
            } else {
                break;
            }
        }
        if let Some(next) = expected.front() {
            assert!(
                next.starts_with(rest),
                "{:?}",
                String::from_utf8_lossy(rest)
            );
        } else {
            assert!(rest.is_empty());
        }
        let left = rest.len();
        sent.drain(..sent.len() - left);
    }
    assert!(keep_alives > 100, "{keep_alives}");
}

enum Item {
    Event(Event),
    Encoded(EncodedEvent),
}

impl Encode for Item {
    type Error = Infallible;

    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        match self {
            Self::Event(event) => event.encode(encoder),
            Self::Encoded(event) => event.encode(encoder),
        }
    }
}

#[test]
fn the_panic_without_a_runtime_names_the_solution() {
    let mut body = Sse::new(stream::pending::<Event>()).into_body();
    assert_eq!(frame(&mut body), ":\n");
    let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut body)));
    let panic = polled.expect_err("the poll panics");
    let message = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    assert!(message.expect("a message").contains("keep_alive(None)"));
}
