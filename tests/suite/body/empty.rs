//! Responses without a stream, and responses that are dropped before they are sent.

use std::sync::mpsc;

use futures_util::stream;
use http::Method;
use http_body::Body as _;
use http_sse::{CloseReason, Connections, Event, Sse, SseBody};

use super::{channel, closed, closes, frame, is_over, poll, reasons};

#[test]
fn a_body_dropped_before_its_first_poll_closes_with_end() {
    let (events, source) = channel::<Event>();
    let (body, closes) = closes(Sse::new(source));
    drop(body);
    assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));
    assert!(events.is_closed());
}

#[test]
fn a_response_dropped_before_it_becomes_a_body_closes_with_end() {
    let (sender, closes) = mpsc::channel();
    drop(Sse::new(stream::pending::<Event>()).on_close(move |c| sender.send(c).unwrap()));
    assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));
}

#[test]
fn a_response_without_a_stream_is_over() {
    let (events, source) = channel::<Event>();
    let (mut body, closes) = closes(Sse::new(source).for_method(&Method::HEAD));
    assert!(events.is_closed());
    assert!(is_over(&mut body));
    assert_eq!(closed(&closes), (CloseReason::End, 0, 0, 0));

    let (body, closes) = super::closes(Sse::new(channel::<Event>().1).for_method(&Method::HEAD));
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
        let polled = poll(&mut body);
        assert_eq!(polled, Some(None), "{response}");
        // The report does not wait until the body is dropped.
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
