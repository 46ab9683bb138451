//! Errors of sources and items.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::stream;
use http_body::Body as _;
use http_sse::{CloseReason, Encode, EncodedEvent, Encoder, Event, EventId, Sse};

use super::{
    BUDGET, Item, channel, closed, closes, error, frame, is_over, is_pending, poll,
    sets_when_dropped,
};

#[test]
fn an_error_before_the_first_event_follows_the_opening() {
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
fn an_error_follows_the_events_before_it() {
    let dropped = Arc::new(AtomicBool::new(false));
    let items = [
        Ok(Event::data("a")),
        Ok(Event::data("b")),
        Err("gone"),
        Ok(Event::data("c")),
    ];
    let source = sets_when_dropped(stream::iter(items), &dropped);
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: b\n\n");
    assert!(dropped.load(Ordering::Relaxed));
    assert!(is_pending(&mut body)); // the connection writes
    assert_eq!(poll(&mut body), Some(Some(Err("gone"))));
    assert_eq!(closed(&closes), (CloseReason::Error, 2, 20, 0));
    assert!(is_over(&mut body));
}

#[test]
fn an_error_can_follow_a_pending_source() {
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

/// An item that may fail after it has written a part of itself.
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
fn a_failed_item_leaves_no_bytes() {
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

/// The blocks of the failed item were used before, and are kept for reuse.
#[test]
fn a_failed_item_leaves_no_bytes_in_a_busy_stream() {
    /// Enough events that a frame needs more than the smallest block.
    const EVENTS: usize = 40;
    const LINE: &str = "an event of between sixty and seventy bytes, with its syntax";

    for fail in [|| Failing::Late, || Failing::LateAndLarge] {
        let (events, source) = channel();
        let mut body = Sse::new(source).keep_alive(None).into_body();
        let event = format!("data: {LINE}\n\n");
        // The connection writes a frame after it has asked for the next one.
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

#[test]
fn a_body_dropped_after_its_source_failed_closes_with_error() {
    let (mut body, closes) = closes(Sse::new(stream::iter([Ok(Event::data("a")), Err("gone")])));
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    drop(body);
    assert_eq!(closed(&closes), (CloseReason::Error, 1, 11, 0));
}
