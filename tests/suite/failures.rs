//! Bytes encoded before an error or a panic are sent first. The close reason is that of the failure.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::mpsc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt, stream};
use http::Method;
use http_body::Body as _;
use http_body_util::BodyExt;
use http_sse::{
    CloseReason, Connections, Encode, EncodeEventError, EncodedEvent, Encoder, Event, Sse, SseBody,
};
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{Instant, advance, sleep},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::deadline::{finished, within};

type Item = Result<Event, &'static str>;

fn frame<S>(body: &mut SseBody<S>) -> Bytes
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    let frame = StreamExt::next(body).now_or_never();
    frame
        .expect("a frame is ready")
        .expect("the body goes on")
        .unwrap()
}

fn is_pending<S>(body: &mut SseBody<S>) -> bool
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    StreamExt::next(body).now_or_never().is_none()
}

/// Polls the body, and returns the message of its panic.
fn panics<S>(body: &mut SseBody<S>) -> String
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    let polled = catch_unwind(AssertUnwindSafe(|| StreamExt::next(body).now_or_never()));
    let panic = polled.err().expect("it panics");
    panic
        .downcast_ref::<&str>()
        .expect("it panics with a literal")
        .to_string()
}

/// Returns the body, and the reasons passed to `on_close`.
fn closes<S>(sse: Sse<S>) -> (SseBody<S>, mpsc::Receiver<CloseReason>)
where
    S: Stream,
    S::Item: Encode,
{
    let (sender, reasons) = mpsc::channel();
    // A test may have dropped the receiver.
    let body = sse.on_close(move |report| _ = sender.send(report.reason));
    (body.into_body(), reasons)
}

fn reasons(closes: &mpsc::Receiver<CloseReason>) -> Vec<CloseReason> {
    closes.try_iter().collect()
}

/// A source that yields these events and then panics.
fn panicking(events: usize) -> impl Stream<Item = Event> + Unpin {
    let mut left = events;
    stream::repeat_with(move || {
        if left == 0 {
            panic!("the source panics");
        }
        left -= 1;
        Event::data("a")
    })
}

#[test]
fn an_event_of_choice_precedes_a_failure() {
    const FAILED: EncodedEvent = EncodedEvent::from_static("data: failed\n\n");
    let (mut body, reasons_of) =
        closes(Sse::new(failing()).keep_alive(None).break_off_with(FAILED));
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: failed\n\n");
    assert!(is_pending(&mut body));
    let failed = StreamExt::next(&mut body).now_or_never();
    assert_eq!(failed.unwrap().unwrap().unwrap_err(), "gone");
    assert_eq!(reasons(&reasons_of), [CloseReason::Error]);

    let sse = Sse::new(panicking(1)).keep_alive(None);
    let mut body = sse.break_off_with(FAILED).into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: failed\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the source panics");

    let sse = Sse::new(failing()).keep_alive(None).break_off_with(FAILED);
    let mut body = sse.on_error(|_| panic!("on_error panics")).into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: failed\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "on_error panics");
}

#[test]
fn an_event_for_a_failure_is_not_sent_after_another_last_event() {
    let failed = || Event::data("failed");
    let source = PanicsWhenDropped(stream::iter([Event::data("a")]));
    let sse = Sse::new(source)
        .keep_alive(None)
        .end_with(Event::data("done"));
    let (mut body, closes) = closes(sse.break_off_with(failed()));
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: done\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the drop panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);

    let sse = Sse::new(PanicsWhenDropped(failing())).keep_alive(None);
    let sse = sse.on_error(Event::data).break_off_with(failed());
    let (mut body, closes) = self::closes(sse);
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: gone\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the drop panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[test]
fn an_event_for_a_failure_is_not_sent_at_another_end() {
    let sse = Sse::new(failing()).break_off_with(Event::data("failed"));
    let mut body = sse.on_error(Event::data).into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: gone\n\n");
    assert!(body.is_end_stream());

    let ends = stream::iter([Ok::<_, &str>(Event::data("a"))]);
    let mut body = Sse::new(ends)
        .break_off_with(Event::data("failed"))
        .into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    assert!(body.is_end_stream());
}

/// A source that yields an event and then fails.
fn failing() -> impl Stream<Item = Item> + Unpin {
    stream::iter([Ok(Event::data("a")), Err("gone")])
}

/// A source whose drop panics.
struct PanicsWhenDropped<S>(S);

impl<S: Stream + Unpin> Stream for PanicsWhenDropped<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<S> Drop for PanicsWhenDropped<S> {
    fn drop(&mut self) {
        panic!("the drop panics");
    }
}

#[test]
fn an_error_waits_until_the_connection_has_dropped_the_last_frame() {
    for keep_alive in [true, false] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let _entered = runtime.as_ref().unwrap().enter();
        let mut sse = Sse::new(stream::iter([Ok(Event::data("a")), Err("gone")]));
        if !keep_alive {
            sse = sse.keep_alive(None);
        }
        let (mut body, closes) = closes(sse);
        let last = frame(&mut body);
        assert_eq!(last, ":\ndata: a\n\n");
        for _ in 0..100 {
            assert!(is_pending(&mut body));
        }
        assert_eq!(reasons(&closes), []);
        drop(last);
        let error = StreamExt::next(&mut body).now_or_never();
        assert_eq!(error, Some(Some(Err("gone"))));
        assert_eq!(reasons(&closes), [CloseReason::Error]);
    }
}

#[test]
fn without_a_runtime_an_error_waits_one_turn() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let last = frame(&mut body);
    assert!(is_pending(&mut body));
    let error = StreamExt::next(&mut body).now_or_never();
    assert_eq!(error, Some(Some(Err("gone"))));
    drop(last);
}

#[test]
fn an_error_gives_the_connection_a_turn_though_it_copies_frames() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    drop(frame(&mut body));
    assert!(is_pending(&mut body));
    let error = StreamExt::next(&mut body).now_or_never();
    assert_eq!(error, Some(Some(Err("gone"))));
}

/// The frame that left before the failure is not tracked, so a comment follows it.
#[tokio::test(start_paused = true)]
async fn an_error_with_nothing_to_send_follows_a_comment() {
    let (events, source) = unbounded_channel::<Item>();
    let source = UnboundedReceiverStream::new(source);
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\n");
    events.send(Ok(Event::data("a"))).unwrap();
    assert_eq!(frame(&mut body), "data: a\n\n");
    assert!(is_pending(&mut body));
    events.send(Err("gone")).unwrap();
    let last = frame(&mut body);
    assert_eq!(last, ":\n");
    assert!(is_pending(&mut body));
    assert!(is_pending(&mut body));
    drop(last);
    let error = StreamExt::next(&mut body).now_or_never();
    assert_eq!(error, Some(Some(Err("gone"))));
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[tokio::test(start_paused = true)]
async fn an_error_waits_at_most_ten_seconds() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let last = frame(&mut body);
    assert!(is_pending(&mut body));
    assert!(is_pending(&mut body));
    let start = Instant::now();
    advance(Duration::from_millis(9_999)).await;
    assert!(is_pending(&mut body));
    advance(Duration::from_millis(2)).await;
    let error = StreamExt::next(&mut body).now_or_never();
    assert_eq!(error, Some(Some(Err("gone"))));
    assert_eq!(start.elapsed(), Duration::from_millis(10_001));
    drop(last);
}

/// The stream waits in a task, so each order has to wake it.
#[tokio::test(start_paused = true)]
async fn an_error_waits_no_longer_than_the_server_lets_the_stream_live() {
    const SECOND: Duration = Duration::from_secs(1);

    for (order, give, wait) in [
        (
            "a shutdown",
            Connections::shutdown as fn(&Connections),
            Duration::ZERO,
        ),
        (
            "a close",
            |all| assert_eq!(all.close_where(|_| true), 1),
            Duration::ZERO,
        ),
        (
            "a drain of no time",
            |all| all.drain(Duration::ZERO),
            Duration::ZERO,
        ),
        ("a short drain", |all| all.drain(3 * SECOND), 3 * SECOND),
        // Of its ten seconds one is over.
        ("a long drain", |all| all.drain(60 * SECOND), 9 * SECOND),
    ] {
        let connections = Connections::new().goodbye(Event::data("bye"));
        let permit = connections.admit("a").unwrap();
        let sse = Sse::new(failing()).keep_alive(None).permit(permit);
        let mut body = sse.into_body();
        let last = frame(&mut body);
        assert_eq!(last, ":\ndata: a\n\n");
        let start = Instant::now();
        let end = tokio::spawn(async move {
            let end = within("the error", StreamExt::next(&mut body)).await;
            (end, start.elapsed(), body)
        });
        sleep(SECOND).await;
        assert!(!end.is_finished(), "{order}");
        give(&connections);
        let (end, after, body) = finished("the stream", end).await;
        assert_eq!(end, Some(Err("gone")), "{order}");
        // Timers tick every millisecond.
        let late = after.checked_sub(SECOND + wait).expect(order);
        assert!(late <= Duration::from_millis(1), "{order}: {after:?}");
        assert_eq!(connections.totals().closed(CloseReason::Error), 1);
        drop((body, last));
        assert_eq!(connections.totals().opened, 1);
        assert_eq!(connections.totals().open, 0);
    }
}

#[test]
fn a_body_dropped_before_its_error_closes_with_error() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    drop(body);
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[test]
fn a_body_dropped_before_its_panic_closes_with_error() {
    let (mut body, closes) = closes(Sse::new(panicking(1)).keep_alive(None));
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    drop(body);
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[tokio::test(start_paused = true)]
async fn what_precedes_a_panic_of_the_source_leaves() {
    let (mut body, closes) = closes(Sse::new(panicking(2)).keep_alive(None));
    let last = frame(&mut body);
    assert_eq!(last, ":\ndata: a\n\ndata: a\n\n");
    assert!(!body.is_end_stream());
    assert!(is_pending(&mut body));
    assert!(is_pending(&mut body));
    assert_eq!(reasons(&closes), []);
    drop(last);
    assert_eq!(panics(&mut body), "the source panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
    assert!(body.is_end_stream());
    assert_eq!(StreamExt::next(&mut body).now_or_never(), Some(None));
    drop(body);
    assert_eq!(reasons(&closes), []);
}

#[test]
fn an_item_that_panics_leaves_nothing_of_itself() {
    #[derive(Clone, Copy)]
    struct Half(bool);

    impl Encode for Half {
        type Error = std::convert::Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Self::Error> {
            encoder.data("first half");
            if self.0 {
                let Ok(()) = Event::data("x".repeat(100_000)).encode(encoder);
                panic!("the item panics");
            }
            encoder.data("second half");
            Ok(())
        }
    }

    let source = stream::iter([Half(false), Half(true), Half(false)]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let last = frame(&mut body);
    assert_eq!(last, ":\ndata: first half\ndata: second half\n\n");
    drop(last);
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the item panics");
    assert_eq!(StreamExt::next(&mut body).now_or_never(), Some(None));

    let mut buffer = BytesMut::from("data: before\n\n");
    let encoded = catch_unwind(AssertUnwindSafe(|| {
        http_sse::encode(Half(true), &mut buffer)
    }));
    assert!(encoded.is_err());
    assert_eq!(buffer, "data: before\n\n");
}

#[test]
fn an_on_error_that_panics_is_an_error() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let sse = Sse::new(source).keep_alive(None);
    let (mut body, closes) = closes(sse.on_error(|_| panic!("the callback panics")));
    drop(frame(&mut body));
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the callback panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[test]
fn a_source_whose_drop_panics_is_closed_all_the_same() {
    let source = PanicsWhenDropped(stream::pending::<Event>());
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\n");
    catch_unwind(AssertUnwindSafe(|| drop(body))).unwrap_err();
    assert_eq!(reasons(&closes), [CloseReason::ClientGone]);

    let source = PanicsWhenDropped(stream::iter([Event::data("a")]));
    let (mut body, closes) = self::closes(Sse::new(source).keep_alive(None));
    let last = frame(&mut body);
    assert_eq!(last, ":\ndata: a\n\n");
    drop(last);
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the drop panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

/// Returns each response without a stream, with its name.
fn without_a_stream() -> Vec<(&'static str, Sse<stream::Pending<Event>>)> {
    let refusal = |full: Connections| full.admit("a").unwrap_err().into();
    let silent = Sse::new(stream::pending());
    vec![
        ("stop", Sse::stop()),
        ("429", refusal(Connections::new().max_per_key(0))),
        ("503", refusal(Connections::new().max(0))),
        ("HEAD", silent.for_method(&Method::HEAD)),
        ("HEAD of a stop", Sse::stop().for_method(&Method::HEAD)),
    ]
}

#[test]
fn a_response_without_a_stream_ends_when_it_is_polled() {
    for (response, sse) in without_a_stream() {
        let connections = Connections::new();
        let permit = connections.admit("a").unwrap();
        let (mut body, closes) = closes(sse.permit(permit));
        assert!(body.is_end_stream(), "{response}");
        assert_eq!(reasons(&closes), [], "{response}");
        let polled = StreamExt::next(&mut body).now_or_never();
        assert_eq!(polled, Some(None), "{response}");
        // Before the body is dropped.
        assert_eq!(reasons(&closes), [CloseReason::End], "{response}");
        assert_eq!(connections.totals().closed(CloseReason::End), 1);
        drop(body);
        assert_eq!(reasons(&closes), [], "{response}");
        assert_eq!(connections.totals().open, 0);
    }
}

#[test]
fn a_response_without_a_stream_ends_when_it_is_dropped() {
    for (response, sse) in without_a_stream() {
        let connections = Connections::new();
        let permit = connections.admit("a").unwrap();
        let (body, closes) = closes(sse.permit(permit));
        drop(body);
        assert_eq!(reasons(&closes), [CloseReason::End], "{response}");
        assert_eq!(connections.totals().closed(CloseReason::End), 1);
    }
}

/// axum leaves the body out for `HEAD`, and so does a middleware that answers otherwise.
#[test]
fn a_response_that_is_dropped_before_it_is_sent_ends() {
    let (body, closes) = closes(Sse::new(stream::pending::<Event>()));
    drop(body);
    assert_eq!(reasons(&closes), [CloseReason::End]);
}

#[test]
fn an_encoded_event_is_one_event_or_an_error() {
    struct Items(&'static [&'static str]);

    impl Encode for Items {
        type Error = std::convert::Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Self::Error> {
            for item in self.0 {
                match item.strip_prefix(':') {
                    Some(comment) => encoder.comment(comment),
                    None => encoder.data(item),
                }
                encoder.end_event();
            }
            Ok(())
        }
    }

    for (items, wire, events) in [
        (&["a"][..], Some("data: a\n\n"), 1),
        (&[":b", "a"], Some(": b\ndata: a\n\n"), 1),
        (&[":b"], Some(": b\n"), 0),
        (&[], None, 0),
        (&["a", "b"], None, 0),
        (&["a", ":b"], None, 0),
    ] {
        let encoded = EncodedEvent::new(Items(items));
        let Some(wire) = wire else {
            assert_eq!(encoded, Err(EncodeEventError::NotOneEvent), "{items:?}");
            continue;
        };
        let encoded = encoded.unwrap();
        assert_eq!(encoded.as_bytes(), wire.as_bytes());
        let again = EncodedEvent::try_from(encoded.clone().into_bytes());
        assert_eq!(again.unwrap().as_bytes(), wire.as_bytes());

        let (sender, counts) = mpsc::channel();
        let sse = Sse::new(stream::iter([encoded])).on_close(move |report| {
            sender.send(report.events).unwrap();
        });
        drop(frame(&mut sse.into_body()));
        assert_eq!(counts.try_recv(), Ok(events), "{items:?}");
    }
    let empty = EncodedEvent::from(Event::new());
    assert_eq!(empty.as_bytes(), b":\n");
    let again = EncodedEvent::try_from(empty.into_bytes()).unwrap();
    assert_eq!(
        again.as_bytes(),
        b":
"
    );
}

#[test]
fn a_body_is_sync_if_its_source_is() {
    fn assert_sync<T: Sync + Send + 'static>(_: &T) {}

    let sse = Sse::new(stream::pending::<Item>());
    let body = sse.on_error(Event::data).on_close(drop).into_body();
    assert_sync(&body);
    drop(BodyExt::boxed(body));
}

#[tokio::test]
async fn a_stream_of_comments_gives_others_their_turn() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    static PIECES: AtomicU32 = AtomicU32::new(0);
    let pieces = stream::repeat_with(|| {
        PIECES.fetch_add(1, Relaxed);
        Ok::<_, std::convert::Infallible>(&b": idle\n"[..])
    });
    let mut events = http_sse::decode::events(pieces, http_sse::decode::Decoder::new());
    assert!(StreamExt::next(&mut events).now_or_never().is_none());
    assert_eq!(PIECES.load(Relaxed), 256);
}

/// The clock is paused, so that a task that nothing wakes is at its deadline at once.
#[tokio::test(start_paused = true)]
async fn a_stream_of_comments_goes_on_after_its_turn() {
    let idle = stream::repeat(Ok::<_, std::convert::Infallible>(&b": idle\n"[..])).take(1_000);
    let pieces = idle.chain(stream::iter([Ok(&b"data: a\n\n"[..])]));
    let mut events = http_sse::decode::events(pieces, http_sse::decode::Decoder::new());
    let event = within("an event", StreamExt::next(&mut events)).await;
    assert_eq!(event.unwrap().unwrap(), Event::data("a"));
}

#[test]
fn without_a_runtime_the_panic_says_what_to_do() {
    let mut body = Sse::new(stream::pending::<Event>()).into_body();
    assert_eq!(frame(&mut body), ":\n");
    let polled = catch_unwind(AssertUnwindSafe(|| {
        StreamExt::next(&mut body).now_or_never()
    }));
    let panic = polled.expect_err("it panics");
    let message = panic.downcast_ref::<&str>().map(ToString::to_string);
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    assert!(message.expect("a message").contains("keep_alive(None)"));
}
