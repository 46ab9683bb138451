//! Streams that open with an event.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures_util::stream;
use http::{Method, StatusCode};
use http_sse::{CloseReason, Connections, EncodedEvent, Event, Retry, Sse};

use super::{SECOND, channel, closed, closes, frame, is_over, is_pending, poll};

const HELLO: EncodedEvent = EncodedEvent::from_static("data: hello\n\n");

#[test]
fn the_first_event_does_not_wait_for_the_source() {
    let (events, source) = channel::<Event>();
    let sse = Sse::new(source).keep_alive(None).linger(SECOND);
    let (mut body, closes) = closes(sse.begin_with(HELLO).retry(Retry::from_millis(10)));
    assert_eq!(frame(&mut body), ":\nretry: 10\ndata: hello\n\n");
    assert!(is_pending(&mut body));
    drop(events);
    assert!(matches!(poll(&mut body), Some(None)));
    assert_eq!(closed(&closes), (CloseReason::End, 1, 2 + 10 + 13, 0));
    assert!(is_over(&mut body));
}

#[test]
fn the_first_event_precedes_ready_events() {
    let source = stream::iter([Event::data("a")]);
    let sse = Sse::new(source).begin_with(HELLO).end_with(HELLO);
    let (mut body, closes) = closes(sse);
    let all = ":\ndata: hello\n\ndata: a\n\ndata: hello\n\n";
    assert_eq!(frame(&mut body), all);
    assert_eq!(closed(&closes), (CloseReason::End, 3, all.len() as u64, 0));
}

#[test]
fn a_large_first_event_leaves_uncopied() {
    let large = EncodedEvent::from(Event::data("x".repeat(100_000)));
    let sse = Sse::new(stream::empty::<Event>()).begin_with(large.clone());
    let mut body = sse.into_body();
    assert_eq!(frame(&mut body), ":\n");
    let sent = frame(&mut body);
    assert!(std::ptr::eq(&*sent, large.as_bytes()));
}

#[test]
fn a_stream_that_fails_at_once_has_sent_its_first_event() {
    let source = stream::iter([Err::<Event, _>("gone")]);
    let mut body = Sse::new(source).begin_with(HELLO).into_body();
    assert_eq!(frame(&mut body), ":\ndata: hello\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(poll(&mut body).unwrap().unwrap().unwrap_err(), "gone");

    let source = stream::poll_fn(|_| -> std::task::Poll<Option<Event>> {
        resume_unwind(Box::new("the source panics"))
    });
    let mut body = Sse::new(source).begin_with(HELLO).into_body();
    assert_eq!(frame(&mut body), ":\ndata: hello\n\n");
    assert!(is_pending(&mut body));
    catch_unwind(AssertUnwindSafe(|| frame(&mut body))).unwrap_err();
}

#[test]
fn a_stream_that_opens_after_the_shutdown_sends_its_first_event() {
    let connections = Connections::new().goodbye(Event::data("bye"));
    connections.shutdown();
    let sse = Sse::new(stream::pending::<Event>()).begin_with(HELLO);
    let (mut body, closes) = closes(sse.permit(connections.admit("a").unwrap()));
    assert_eq!(frame(&mut body), ":\ndata: hello\n\ndata: bye\n\n");
    assert_eq!(closed(&closes), (CloseReason::Shutdown, 2, 2 + 13 + 11, 0));
}

#[test]
fn a_response_without_a_stream_has_no_first_event() {
    let sse = || Sse::new(stream::pending::<Event>()).begin_with(HELLO);
    for sse in [
        sse().for_method(&Method::HEAD),
        sse().status(StatusCode::NO_CONTENT),
        Sse::stop().begin_with(HELLO),
    ] {
        assert!(is_over(&mut sse.into_response().into_body()));
    }
}
