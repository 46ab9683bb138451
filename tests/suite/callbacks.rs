//! Panics in callbacks and values of the caller.

use std::{
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use bytes::BytesMut;
use futures_util::stream;
use http_body::Body as _;
use http_sse::{CloseReason, Connections, Encode, Encoder, Event, Sse, encode};
use serde::{Serialize, Serializer, ser::SerializeSeq as _};

use crate::body::{frame, is_pending};

#[test]
fn a_panic_of_on_close_comes_after_the_last_frame() {
    let connections = Connections::new();
    let mut body = Sse::new(stream::iter([Event::data("a")]))
        .keep_alive(None)
        .end_with(Event::data("[DONE]"))
        .permit(connections.admit("a").unwrap())
        .on_close(|_| resume_unwind(Box::new("on_close panics")))
        .into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: [DONE]\n\n");
    assert!(!body.is_end_stream(), "the panic is still to come");
    // The connection has a turn to write the frame.
    assert!(is_pending(&mut body));
    let panic = catch_unwind(AssertUnwindSafe(|| frame(&mut body))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"on_close panics"));
    assert!(body.is_end_stream());
    assert_eq!(connections.totals().open, 0);
    assert_eq!(connections.totals().closed(CloseReason::End), 1);
}

#[test]
fn a_body_dropped_before_its_last_frames_closes_with_client_gone() {
    let connections = Connections::new();
    let mut body = Sse::new(stream::iter([Event::data("a")]))
        .end_with(Event::data("b".repeat(100_000)))
        .permit(connections.admit("a").unwrap())
        .into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    let left = http_body::Body::size_hint(&body).exact();
    assert_eq!(left, Some(100_008), "the end of the source is known");
    drop(body);
    assert_eq!(connections.totals().closed(CloseReason::ClientGone), 1);
}

/// A value whose serialization panics after its first element.
struct PanicsHalfWay;

impl Serialize for PanicsHalfWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut elements = serializer.serialize_seq(None)?;
        elements.serialize_element("half")?;
        resume_unwind(Box::new("the value panics"))
    }
}

/// An item that catches the panic of a value and writes other data.
struct Recovers;

impl Encode for Recovers {
    type Error = Infallible;

    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        encoder.comment("first");
        let json = catch_unwind(AssertUnwindSafe(|| _ = encoder.json(&PanicsHalfWay)));
        assert!(json.is_err());
        encoder.data("instead");
        Ok(())
    }
}

#[test]
fn a_panic_in_json_leaves_no_partial_line() {
    let mut buffer = BytesMut::new();
    let Ok(()) = encode(Recovers, &mut buffer);
    assert_eq!(buffer, ": first\ndata: instead\n\n");
}
