//! The event that `break_off_with` sends before a failure.

use futures_util::stream;
use http_body::Body as _;
use http_sse::{CloseReason, EncodedEvent, Event, Sse};

use super::{
    closes, failing, frame, is_pending,
    panics::{panicking, panics},
    panics_when_dropped, poll, reasons,
};

#[test]
fn the_break_off_event_is_sent_before_a_failure() {
    const FAILED: EncodedEvent = EncodedEvent::from_static("data: failed\n\n");
    let (mut body, reasons_of) =
        closes(Sse::new(failing()).keep_alive(None).break_off_with(FAILED));
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: failed\n\n");
    assert!(is_pending(&mut body));
    let failed = poll(&mut body);
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
fn the_break_off_event_is_not_sent_after_another_last_event() {
    let failed = || Event::data("failed");
    let source = panics_when_dropped(stream::iter([Event::data("a")]));
    let sse = Sse::new(source)
        .keep_alive(None)
        .end_with(Event::data("done"));
    let (mut body, closes) = closes(sse.break_off_with(failed()));
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: done\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the drop panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);

    let sse = Sse::new(panics_when_dropped(failing())).keep_alive(None);
    let sse = sse.on_error(Event::data).break_off_with(failed());
    let (mut body, closes) = super::closes(sse);
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: gone\n\n");
    assert!(is_pending(&mut body));
    assert_eq!(panics(&mut body), "the drop panics");
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[test]
fn the_break_off_event_is_not_sent_at_a_clean_end() {
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
