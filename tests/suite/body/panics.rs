//! Sources, items and callbacks that panic. Bytes encoded before the panic are sent first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::BytesMut;
use futures_util::{Stream, stream};
use http_body::Body as _;
use http_sse::{CloseReason, Encode, Encoder, Event, Sse, SseBody};

use super::{closes, frame, is_pending, panics_when_dropped, poll, reasons};

/// Polls the body once, and returns the message of its panic.
pub(super) fn panics<S>(body: &mut SseBody<S>) -> String
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    let polled = catch_unwind(AssertUnwindSafe(|| poll(body)));
    let panic = polled.err().expect("the poll panics");
    panic
        .downcast_ref::<&str>()
        .expect("the message is a literal")
        .to_string()
}

/// Returns a source that yields this many events and then panics.
pub(super) fn panicking(events: usize) -> impl Stream<Item = Event> + Unpin {
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
fn a_body_dropped_before_its_panic_closes_with_error() {
    let (mut body, closes) = closes(Sse::new(panicking(1)).keep_alive(None));
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    drop(body);
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[tokio::test(start_paused = true)]
async fn events_before_a_panic_of_the_source_are_sent() {
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
    assert_eq!(poll(&mut body), Some(None));
    drop(body);
    assert_eq!(reasons(&closes), []);
}

#[test]
fn a_panicking_item_leaves_no_bytes() {
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
    assert_eq!(poll(&mut body), Some(None));

    let mut buffer = BytesMut::from("data: before\n\n");
    let encoded = catch_unwind(AssertUnwindSafe(|| {
        http_sse::encode(Half(true), &mut buffer)
    }));
    assert!(encoded.is_err());
    assert_eq!(buffer, "data: before\n\n");
}

#[test]
fn a_panic_of_on_error_closes_with_error() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let sse = Sse::new(source).keep_alive(None);
    let (mut body, closes) = closes(sse.on_error(|_| panic!("the callback panics")));
    drop(frame(&mut body));
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the callback panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[test]
fn a_source_whose_drop_panics_is_closed() {
    let source = panics_when_dropped(stream::pending::<Event>());
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\n");
    catch_unwind(AssertUnwindSafe(|| drop(body))).unwrap_err();
    assert_eq!(reasons(&closes), [CloseReason::ClientGone]);

    let source = panics_when_dropped(stream::iter([Event::data("a")]));
    let (mut body, closes) = super::closes(Sse::new(source).keep_alive(None));
    let last = frame(&mut body);
    assert_eq!(last, ":\ndata: a\n\n");
    drop(last);
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the drop panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}
