//! The body, on tokio's paused clock: what each poll yields, when, and how it ends.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http::Method;
use http_body::Body;
use http_sse::{
    CloseReason, CloseReport, Encode, EncodedEvent, Encoder, Event, EventId, KeepAlive, Retry, Sse,
    SseBody,
};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use tokio::{
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, advance},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::deadline::within_time;

const BUDGET: usize = 32 * 1024;
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A source that the test feeds.
fn channel<T>() -> (UnboundedSender<T>, UnboundedReceiverStream<T>) {
    let (sender, receiver) = unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// What one poll yields: `None` if it is pending.
fn poll<S>(body: &mut SseBody<S>) -> Option<Option<Result<Bytes, <S::Item as Encode>::Error>>>
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    body.next().now_or_never()
}

/// The frame that is ready.
fn frame<S>(body: &mut SseBody<S>) -> Bytes
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    poll(body)
        .expect("a frame is ready")
        .expect("the body goes on")
        .unwrap()
}

/// The error at the end of a body whose last frame was dropped, after the turn that the connection
/// has before it; behind a comment if nothing waited to be sent.
fn error<S>(body: &mut SseBody<S>) -> <S::Item as Encode>::Error
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    match poll(body) {
        Some(Some(Ok(comment))) => assert_eq!(comment, ":\n"),
        Some(end) => panic!("{end:?} at once"),
        None => return poll(body).unwrap().unwrap().unwrap_err(),
    }
    assert!(is_pending(body));
    poll(body).unwrap().unwrap().unwrap_err()
}

fn is_pending<S>(body: &mut SseBody<S>) -> bool
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    poll(body).is_none()
}

/// The next item, within a day of the paused clock: after every time that these bodies have.
async fn later<S>(body: &mut SseBody<S>) -> Option<Result<Bytes, <S::Item as Encode>::Error>>
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    within_time(86_400 * SECOND, "the next frame", body.next()).await
}

/// The next frame, as soon as it is ready.
async fn later_frame<S>(body: &mut SseBody<S>) -> Bytes
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    later(body).await.expect("the body goes on").unwrap()
}

/// Calls of `on_close`.
fn closes<S>(sse: Sse<S>) -> (SseBody<S>, mpsc::Receiver<CloseReport>)
where
    S: Stream,
    S::Item: Encode,
{
    let (sender, receiver) = mpsc::channel();
    let body = sse.on_close(move |closed| {
        let _ = sender.send(closed);
    });
    (body.into_body(), receiver)
}

/// The one call that there was: its reason, events, bytes and keep-alives.
fn closed(closes: &mpsc::Receiver<CloseReport>) -> (CloseReason, u64, u64, u64) {
    let closed = closes.try_recv().expect("on_close was called");
    assert!(closes.try_recv().is_err(), "on_close was called once");
    (
        closed.reason,
        closed.events,
        closed.bytes,
        closed.keep_alives,
    )
}

mod keep_alive {
    use super::*;

    fn every(interval: Duration) -> KeepAlive {
        KeepAlive::new().interval(interval).comment("idle")
    }

    #[tokio::test(start_paused = true)]
    async fn none_while_events_flow_and_the_first_one_interval_after_the_last_byte() {
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
    async fn the_first_is_one_interval_after_the_opening() {
        let start = Instant::now();
        let mut body = Sse::new(stream::pending::<Event>()).into_body();
        assert_eq!(later_frame(&mut body).await, ":\n");
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(later_frame(&mut body).await, ":\n");
        assert_eq!(start.elapsed(), KeepAlive::DEFAULT_INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn none_when_a_source_is_busy_and_the_clock_runs() {
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
    async fn none_if_it_is_off() {
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

    /// Events of every size and kind, time that passes, a client that reads or does not: whatever
    /// happens, what is sent is whole events in order, with keep-alives only between them.
    #[tokio::test(start_paused = true)]
    async fn none_inside_an_event() {
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
            // What has left, event by event.
            let mut rest = &sent[..];
            loop {
                if let Some(after) = rest.strip_prefix(b": idle\n") {
                    keep_alives += 1;
                    rest = after;
                } else if let Some(after) = expected.front().and_then(|e| rest.strip_prefix(&e[..]))
                {
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
}

mod merging {
    use super::*;

    #[test]
    fn ready_events_leave_in_as_few_frames_as_the_budget_allows() {
        for size in [
            0,
            10,
            170,
            5_000,
            BUDGET - 9,
            BUDGET - 8,
            BUDGET - 7,
            40_000,
            2 * BUDGET - 1,
            2 * BUDGET,
            100_000,
        ] {
            for encoded in [false, true] {
                let text = "x".repeat(size);
                let count = if size < 1_000 { 1_000 } else { 50 };
                let items = (0..count).map(|_| {
                    let event = Event::data(text.clone());
                    if encoded {
                        Ok(EncodedEvent::from(event))
                    } else {
                        Err(event)
                    }
                });
                let body = Sse::new(stream::iter(items.map(Either)))
                    .keep_alive(None)
                    .into_body();
                let frames: Vec<Bytes> = body.map(Result::unwrap).collect().now_or_never().unwrap();
                let bytes: usize = frames.iter().map(Bytes::len).sum();
                assert_eq!(bytes, 2 + count * (size + 8));
                assert!(
                    frames.len() <= bytes.div_ceil(BUDGET),
                    "{size}: {}",
                    frames.len()
                );
            }
        }
    }

    struct Either(Result<EncodedEvent, Event>);

    impl Encode for Either {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            match self.0 {
                Ok(event) => event.encode(encoder),
                Err(event) => event.encode(encoder),
            }
        }
    }

    #[test]
    fn a_frame_is_full_at_the_budget() {
        // The opening, and events of 1022 + 8 bytes and then of 1024.
        let first = std::iter::once(Event::data("x".repeat(1024 - 8 - 2)));
        let rest = (0..40).map(|_| Event::data("x".repeat(1024 - 8)));
        let mut body = Sse::new(stream::iter(first.chain(rest)))
            .keep_alive(None)
            .into_body();
        assert_eq!(frame(&mut body).len(), BUDGET);
        assert_eq!(frame(&mut body).len(), 9 * 1024);
        assert!(body.is_end_stream());
    }

    #[test]
    fn an_encoded_event_that_is_alone_is_handed_over_uncopied() {
        let (events, source) = channel();
        let mut body = Sse::new(source).keep_alive(None).into_body();
        assert_eq!(frame(&mut body), ":\n");
        let event = EncodedEvent::from(Event::data("x"));
        events.send(event.clone()).unwrap();
        assert_eq!(frame(&mut body).as_ptr(), event.as_bytes().as_ptr());
        assert!(is_pending(&mut body));
        events.send(event.clone()).unwrap();
        events.send(event.clone()).unwrap();
        assert_eq!(frame(&mut body), "data: x\n\ndata: x\n\n");
    }

    /// The first waits for whether it stays alone.
    #[test]
    fn an_item_of_two_encoded_events_keeps_both() {
        struct Two(EncodedEvent, EncodedEvent);

        impl Encode for Two {
            type Error = Infallible;

            fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
                let Self(first, second) = self;
                first.encode(encoder)?;
                second.encode(encoder)
            }
        }

        let encoded = |data: &str| EncodedEvent::from(Event::data(data.to_owned()));
        let large = "x".repeat(2 * BUDGET);
        for (first, second) in [("a", "b"), (&large, "b"), ("a", &large), (&large, &large)] {
            let wire = format!("data: {first}\n\ndata: {second}\n\n");
            let mut both = BytesMut::new();
            let Ok(()) = http_sse::encode(Two(encoded(first), encoded(second)), &mut both);
            assert!(both == wire.as_bytes());

            let (events, source) = channel();
            let mut body = Sse::new(source).keep_alive(None).into_body();
            assert_eq!(frame(&mut body), ":\n");
            for _ in 0..2 {
                events.send(Two(encoded(first), encoded(second))).unwrap();
                let mut sent = Vec::new();
                while let Some(frame) = poll(&mut body) {
                    sent.extend_from_slice(&frame.unwrap().unwrap());
                }
                assert!(
                    sent == wire.as_bytes(),
                    "{} and {}",
                    first.len(),
                    second.len()
                );
            }
        }
    }

    #[test]
    fn a_large_event_is_handed_over_uncopied_also_among_others() {
        let text = "x".repeat(2 * BUDGET);
        let pointer = text.as_ptr();
        let (events, source) = channel();
        let mut body = Sse::new(source).keep_alive(None).into_body();
        assert_eq!(frame(&mut body), ":\n");
        events.send(Event::data("a")).unwrap();
        events.send(Event::data(text).id(1)).unwrap();
        events.send(Event::data("b")).unwrap();
        assert_eq!(frame(&mut body), "data: a\n\nid: 1\ndata: ");
        let large = frame(&mut body);
        assert_eq!((large.as_ptr(), large.len()), (pointer, 2 * BUDGET));
        assert_eq!(frame(&mut body), "\n\ndata: b\n\n");
        assert!(is_pending(&mut body));
    }

    #[test]
    fn large_data_with_line_ends_is_split_as_any_other() {
        let line = "x".repeat(BUDGET);
        let source = stream::iter([Event::data(format!("{line}\r\n{line}\n"))]);
        let frames: Vec<Bytes> = Sse::new(source)
            .into_body()
            .map(Result::unwrap)
            .collect()
            .now_or_never()
            .unwrap();
        assert_eq!(
            frames.concat(),
            format!(":\ndata: {line}\ndata: {line}\ndata: \n\n").into_bytes()
        );
    }

    #[test]
    fn items_that_come_to_nothing_do_not_hold_a_thread() {
        let mut body = Sse::new(stream::repeat_with(Event::new))
            .keep_alive(None)
            .into_body();
        assert_eq!(frame(&mut body), ":\n");
        assert!(is_pending(&mut body));
        assert!(is_pending(&mut body));
    }
}

mod linger {
    use super::*;

    const LINGER: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn a_batch_leaves_when_its_first_event_has_waited_that_long() {
        let (events, source) = channel();
        let mut body = Sse::new(source).linger(LINGER).into_body();
        assert_eq!(frame(&mut body), ":\n");
        for _ in 0..3 {
            assert!(is_pending(&mut body));
            let start = Instant::now();
            for _ in 0..5 {
                events.send(Event::data("x")).unwrap();
                assert!(is_pending(&mut body));
                advance(9 * MILLISECOND).await;
            }
            assert_eq!(later_frame(&mut body).await, "data: x\n\n".repeat(5));
            assert_eq!(start.elapsed(), LINGER);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_opening_does_not_wait() {
        let mut body = Sse::new(stream::iter([Event::data("x")]).chain(stream::pending()))
            .linger(LINGER)
            .into_body();
        assert_eq!(frame(&mut body), ":\ndata: x\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_frame_does_not_wait() {
        let (events, source) = channel();
        let mut body = Sse::new(source).linger(LINGER).into_body();
        assert_eq!(frame(&mut body), ":\n");
        events.send(Event::data("x".repeat(BUDGET - 9))).unwrap();
        assert!(is_pending(&mut body));
        events.send(Event::data("")).unwrap();
        assert_eq!(frame(&mut body).len(), BUDGET - 1 + 8);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_event_that_has_begun_to_leave_does_not_wait() {
        let (events, source) = channel();
        let mut body = Sse::new(source).linger(LINGER).into_body();
        assert_eq!(frame(&mut body), ":\n");
        events.send(Event::data("x".repeat(2 * BUDGET))).unwrap();
        assert_eq!(frame(&mut body), "data: ");
        assert_eq!(frame(&mut body).len(), 2 * BUDGET);
        assert_eq!(frame(&mut body), "\n\n");
        // The next event does.
        events.send(Event::data("y")).unwrap();
        assert!(is_pending(&mut body));
        assert_eq!(later_frame(&mut body).await, "data: y\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_does_not_wait() {
        let (events, source) = channel();
        let mut body = Sse::new(source).linger(LINGER).into_body();
        assert_eq!(frame(&mut body), ":\n");
        events.send(Event::data("x")).unwrap();
        assert!(is_pending(&mut body));
        drop(events);
        assert_eq!(frame(&mut body), "data: x\n\n");
        assert!(body.is_end_stream());
    }

    #[tokio::test(start_paused = true)]
    async fn a_keep_alive_does_not_overtake_what_waits() {
        let (events, source) = channel();
        let keep_alive = KeepAlive::new().interval(20 * MILLISECOND);
        let mut body = Sse::new(source)
            .linger(LINGER)
            .keep_alive(keep_alive)
            .into_body();
        assert_eq!(frame(&mut body), ":\n");
        advance(10 * MILLISECOND).await;
        events.send(Event::data("x")).unwrap();
        let start = Instant::now();
        assert_eq!(later_frame(&mut body).await, "data: x\n\n");
        assert_eq!(start.elapsed(), 10 * MILLISECOND);
        assert_eq!(later_frame(&mut body).await, ":\n");
        assert_eq!(start.elapsed(), 30 * MILLISECOND);
    }
}

mod ends {
    use super::*;

    /// Tells when it is dropped.
    struct Source<S>(S, Arc<AtomicBool>);

    impl<S: Stream + Unpin> Stream for Source<S> {
        type Item = S::Item;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
            self.0.poll_next_unpin(cx)
        }
    }

    impl<S> Drop for Source<S> {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    type Item = Result<Event, &'static str>;

    fn is_over<S>(body: &mut SseBody<S>) -> bool
    where
        S: Stream + Unpin,
        S::Item: Encode,
    {
        body.is_end_stream()
            && Body::size_hint(body).exact() == Some(0)
            && Stream::size_hint(body) == (0, Some(0))
            && (0..3).all(|_| matches!(poll(body), Some(None)))
    }

    #[test]
    fn the_source_ends() {
        let dropped = Arc::new(AtomicBool::new(false));
        let (events, source) = channel::<Event>();
        let (mut body, closes) = closes(Sse::new(Source(source, dropped.clone())).keep_alive(None));
        assert!(!body.is_end_stream());
        assert_eq!(frame(&mut body), ":\n");
        events.send(Event::data("a")).unwrap();
        assert_eq!(frame(&mut body), "data: a\n\n");
        assert!(!body.is_end_stream() && !dropped.load(Ordering::Relaxed));
        drop(events);
        assert!(closes.try_recv().is_err());
        assert!(matches!(poll(&mut body), Some(None)));
        assert!(dropped.load(Ordering::Relaxed));
        assert!(is_over(&mut body));
        drop(body);
        assert_eq!(closed(&closes), (CloseReason::End, 1, 2 + 9, 0));
    }

    #[test]
    fn the_last_frame_is_known_to_be_the_last() {
        let source = stream::iter([Event::data("a")]);
        let (mut body, closes) = closes(Sse::new(source).end_with(Event::data("[DONE]")));
        assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: [DONE]\n\n");
        assert_eq!(closed(&closes), (CloseReason::End, 2, 2 + 9 + 14, 0));
        assert!(is_over(&mut body));
    }

    #[test]
    fn the_source_fails_before_the_first_event() {
        let source = stream::iter([Err("gone"), Ok(Event::data("never"))]);
        let (mut body, closes) = closes(
            Sse::new(source)
                .keep_alive(None)
                .end_with(Event::data("[DONE]")),
        );
        assert_eq!(frame(&mut body), ":\n");
        assert!(!body.is_end_stream());
        assert!(is_pending(&mut body));
        assert!(closes.try_recv().is_err());
        assert_eq!(poll(&mut body), Some(Some(Err("gone"))));
        assert_eq!(closed(&closes), (CloseReason::Error, 0, 2, 0));
        assert!(is_over(&mut body));
    }

    #[test]
    fn the_source_fails_between_two_events_that_are_merged() {
        let dropped = Arc::new(AtomicBool::new(false));
        let items = [
            Ok(Event::data("a")),
            Ok(Event::data("b")),
            Err("gone"),
            Ok(Event::data("c")),
        ];
        let source = Source(stream::iter(items), dropped.clone());
        let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
        assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: b\n\n");
        assert!(dropped.load(Ordering::Relaxed));
        assert!(is_pending(&mut body)); // the connection writes
        assert_eq!(poll(&mut body), Some(Some(Err("gone"))));
        assert_eq!(closed(&closes), (CloseReason::Error, 2, 20, 0));
        assert!(is_over(&mut body));
    }

    #[test]
    fn the_source_fails_after_it_was_pending() {
        let (events, source) = channel::<Item>();
        let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
        assert_eq!(frame(&mut body), ":\n");
        events.send(Ok(Event::data("a"))).unwrap();
        assert_eq!(frame(&mut body), "data: a\n\n");
        assert!(is_pending(&mut body));
        events.send(Err("gone")).unwrap();
        assert_eq!(error(&mut body), "gone");
        assert_eq!(closed(&closes), (CloseReason::Error, 1, 13, 0));
        assert!(is_over(&mut body));
    }

    #[test]
    fn an_error_becomes_the_last_event() {
        let source = stream::iter([Ok(Event::data("a")), Err("gone"), Ok(Event::data("b"))]);
        let (mut body, closes) = closes(Sse::new(source).on_error(Event::data));
        assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: gone\n\n");
        assert_eq!(closed(&closes), (CloseReason::Error, 2, 23, 0));
        assert!(is_over(&mut body));
    }

    /// Fails when it has written something.
    enum Failing {
        Never(&'static str),
        Late,
        LateAndLarge,
    }

    impl Encode for Failing {
        type Error = &'static str;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), &'static str> {
            match self {
                Self::Never(data) => encoder.data(data),
                Self::Late => {
                    encoder.id(&EventId::from(1));
                    encoder.data("half\nan event");
                    return Err("late");
                }
                Self::LateAndLarge => {
                    encoder.data("small");
                    encoder.end_event();
                    let Ok(()) = Event::data("x".repeat(2 * BUDGET)).encode(encoder);
                    let Ok(()) = EncodedEvent::from(Event::data("y")).encode(encoder);
                    return Err("late");
                }
            }
            Ok(())
        }
    }

    #[test]
    fn an_item_that_fails_leaves_nothing_of_itself() {
        for fail in [|| Failing::Late, || Failing::LateAndLarge] {
            let items = [Failing::Never("a"), fail(), Failing::Never("b")];
            let sse = Sse::new(stream::iter(items)).keep_alive(None);
            let (mut body, closes) = closes(sse);
            assert_eq!(frame(&mut body), ":\ndata: a\n\n");
            assert!(is_pending(&mut body));
            assert_eq!(poll(&mut body), Some(Some(Err("late"))));
            assert_eq!(closed(&closes), (CloseReason::Error, 1, 11, 0));

            let mut body = Sse::new(stream::iter([fail()]))
                .on_error(Event::data)
                .into_body();
            assert_eq!(frame(&mut body), ":\ndata: late\n\n");

            let (events, source) = channel();
            let mut body = Sse::new(source).keep_alive(None).into_body();
            assert_eq!(frame(&mut body), ":\n");
            assert!(is_pending(&mut body));
            events.send(fail()).unwrap();
            assert_eq!(error(&mut body), "late");
            assert!(is_over(&mut body));
        }
    }

    /// Its blocks were handed out, and are remembered for reuse.
    #[test]
    fn an_item_that_fails_in_a_busy_stream_leaves_nothing_of_itself() {
        /// So many that a frame needs more than the smallest block.
        const EVENTS: usize = 40;
        const LINE: &str = "an event of between sixty and seventy bytes, with its syntax";

        for fail in [|| Failing::Late, || Failing::LateAndLarge] {
            let (events, source) = channel();
            let mut body = Sse::new(source).keep_alive(None).into_body();
            let event = format!("data: {LINE}\n\n");
            // The connection writes a frame when it has asked for the next.
            let mut unwritten = frame(&mut body);
            for _ in 0..100 {
                (0..EVENTS).for_each(|_| events.send(Failing::Never(LINE)).unwrap());
                let next = frame(&mut body);
                assert_eq!(next, event.repeat(EVENTS));
                unwritten = next;
            }
            events.send(Failing::Never(LINE)).unwrap();
            events.send(fail()).unwrap();
            assert_eq!(frame(&mut body), event);
            drop(unwritten);
            assert!(is_pending(&mut body)); // the connection writes
            assert_eq!(poll(&mut body), Some(Some(Err("late"))));
            assert!(is_over(&mut body));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_is_too_old() {
        let mut ages = Vec::new();
        for _ in 0..200 {
            let dropped = Arc::new(AtomicBool::new(false));
            let source = Source(stream::pending::<Event>(), dropped.clone());
            let sse = Sse::new(source).max_age(100 * SECOND).keep_alive(None);
            let (mut body, closes) = closes(sse.end_with(Event::data("[DONE]")));
            advance(1000 * SECOND).await; // counts from the first poll
            let start = Instant::now();
            assert_eq!(frame(&mut body), ":\n");
            assert!(is_pending(&mut body));
            assert_eq!(later(&mut body).await, None);
            assert_eq!(closed(&closes), (CloseReason::MaxAge, 0, 2, 0));
            assert!(is_over(&mut body) && dropped.load(Ordering::Relaxed));
            ages.push(start.elapsed());
        }
        ages.sort();
        let [first, .., last] = ages[..] else {
            unreachable!()
        };
        assert!(first >= 90 * SECOND && first < 92 * SECOND, "{first:?}");
        assert!(
            last > 98 * SECOND && last <= 100 * SECOND + MILLISECOND,
            "{last:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_is_always_ready_does_not_outlive_its_age() {
        let source = stream::repeat_with(|| Event::data("x"));
        let (mut body, closes) = closes(Sse::new(source).max_age(10 * SECOND));
        for _ in 0..9 {
            assert!(frame(&mut body).len() >= BUDGET);
            advance(SECOND).await;
        }
        advance(SECOND).await;
        assert!(matches!(poll(&mut body), Some(None)));
        assert_eq!(closed(&closes).0, CloseReason::MaxAge);
    }

    #[tokio::test(start_paused = true)]
    async fn a_planned_end_spreads_the_return_of_the_clients() {
        let mut times = Vec::new();
        for _ in 0..2_000 {
            let mut body = Sse::new(stream::pending::<Event>())
                .max_age(SECOND)
                .reconnect_within(10 * SECOND)
                .into_body();
            assert_eq!(frame(&mut body), ":\n");
            let last = String::from_utf8(later_frame(&mut body).await.into()).unwrap();
            assert!(body.is_end_stream());
            let millis = last
                .strip_prefix("retry: ")
                .and_then(|l| l.strip_suffix('\n'))
                .unwrap();
            times.push(millis.parse::<u64>().unwrap());
        }
        assert!(times.iter().all(|millis| (1..=10_000).contains(millis)));
        for second in 0..10 {
            let in_it = times
                .iter()
                .filter(|&&millis| millis / 1000 == second)
                .count();
            // A fair choice is outside once in 10^10 runs.
            assert!(
                (100..=300).contains(&in_it),
                "{in_it} of 2,000 in second {second}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reconnection_time_of_any_length_is_legal() {
        for (window, expected) in [(Duration::ZERO, Some("retry: 1\n")), (Duration::MAX, None)] {
            let mut body = Sse::new(stream::pending::<Event>())
                .max_age(SECOND)
                .reconnect_within(window)
                .into_body();
            assert_eq!(frame(&mut body), ":\n");
            let last = later_frame(&mut body).await;
            assert!(expected.is_none_or(|expected| last == expected));
            assert!(last.len() <= "retry: 2147483647\n".len());
        }
        let mut body = Sse::new(stream::pending::<Event>())
            .max_age(Duration::MAX)
            .linger(Duration::MAX)
            .retry(Retry::MAX)
            .keep_alive(KeepAlive::new().interval(Duration::MAX))
            .into_body();
        assert_eq!(frame(&mut body), ":\nretry: 2147483647\n");
        assert!(is_pending(&mut body));
    }

    #[tokio::test(start_paused = true)]
    async fn the_client_goes() {
        let (events, source) = channel();
        let (mut body, closes) = closes(Sse::new(source));
        assert_eq!(frame(&mut body), ":\n");
        assert_eq!(later_frame(&mut body).await, ":\n");
        events.send(Event::data("a")).unwrap();
        assert_eq!(frame(&mut body), "data: a\n\n");
        assert!(is_pending(&mut body));
        drop(body);
        assert_eq!(closed(&closes), (CloseReason::ClientGone, 1, 2 + 2 + 9, 1));
        assert!(events.is_closed());
    }

    #[test]
    fn the_body_is_dropped_before_its_first_poll() {
        let (events, source) = channel::<Event>();
        let (body, closes) = closes(Sse::new(source));
        drop(body);
        assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));
        assert!(events.is_closed());
    }

    #[test]
    fn the_response_is_dropped_before_it_is_a_body() {
        let (sender, closes) = mpsc::channel();
        drop(Sse::new(stream::pending::<Event>()).on_close(move |c| sender.send(c).unwrap()));
        assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));
    }

    #[test]
    fn the_client_goes_while_an_event_is_half_consumed() {
        let source = stream::iter([Event::data("x".repeat(2 * BUDGET))]);
        let (mut body, closes) = closes(Sse::new(source));
        assert_eq!(frame(&mut body), ":\ndata: ");
        drop(body);
        assert_eq!(closed(&closes), (CloseReason::ClientGone, 1, 8, 0));
    }

    #[test]
    fn the_client_goes_after_the_source_has_failed() {
        let (mut body, closes) =
            closes(Sse::new(stream::iter([Ok(Event::data("a")), Err("gone")])));
        assert_eq!(frame(&mut body), ":\ndata: a\n\n");
        drop(body);
        assert_eq!(closed(&closes), (CloseReason::Error, 1, 11, 0));
    }

    #[test]
    fn the_size_is_known_when_nothing_more_comes() {
        let source = stream::iter([Event::data("x".repeat(2 * BUDGET))]);
        let mut body = Sse::new(source).into_body();
        assert_eq!(
            (
                Body::size_hint(&body).lower(),
                Body::size_hint(&body).upper()
            ),
            (0, None)
        );
        assert_eq!(frame(&mut body), ":\ndata: ");
        assert_eq!(Body::size_hint(&body).lower(), 2 * BUDGET as u64 + 2);
        assert_eq!(frame(&mut body).len(), 2 * BUDGET);
        assert_eq!(frame(&mut body), "\n\n");
        assert!(is_over(&mut body));
    }

    #[test]
    fn the_size_of_what_waits_is_the_least_while_more_can_come() {
        let bounds = |body: &SseBody<_>| {
            let hint = Body::size_hint(body);
            (hint.lower(), hint.upper())
        };
        let (events, source) = channel();
        let mut body = Sse::new(source).keep_alive(None).into_body();
        assert_eq!(frame(&mut body), ":\n");
        assert_eq!(bounds(&body), (0, None));
        events
            .send(Ok(Event::data("x".repeat(2 * BUDGET))))
            .unwrap();
        assert_eq!(frame(&mut body), "data: ");
        assert_eq!(bounds(&body), (2 * BUDGET as u64 + 2, None));
        assert_eq!(frame(&mut body).len(), 2 * BUDGET);
        assert_eq!(bounds(&body), (2, None));
        assert_eq!(frame(&mut body), "\n\n");
        assert_eq!(bounds(&body), (0, None));
        assert_eq!(Stream::size_hint(&body), (0, None));

        // Nor is the end of a body known that will fail.
        events
            .send(Ok(Event::data("x".repeat(2 * BUDGET))))
            .unwrap();
        events.send(Err("gone")).unwrap();
        assert_eq!(frame(&mut body), "data: ");
        assert_eq!(frame(&mut body).len(), 2 * BUDGET);
        assert_eq!(frame(&mut body), "\n\n");
        assert_eq!(bounds(&body), (0, None));
        assert!(!body.is_end_stream());
    }

    #[test]
    fn a_response_without_a_stream_is_over() {
        let (events, source) = channel::<Event>();
        let (mut body, closes) = closes(Sse::new(source).for_method(&Method::HEAD));
        assert!(events.is_closed());
        assert!(is_over(&mut body));
        assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));

        let (body, closes) = self::closes(Sse::new(channel::<Event>().1).for_method(&Method::HEAD));
        drop(body);
        assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));

        let (_events, source) = channel::<Event>();
        let mut body = Sse::new(source).for_method(&Method::GET).into_body();
        assert_eq!(frame(&mut body), ":\n");
    }

    #[test]
    fn a_default_body_is_over() {
        assert!(is_over(&mut SseBody::<stream::Pending<Event>>::default()));
    }
}
