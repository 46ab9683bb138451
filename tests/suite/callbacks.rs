//! Panics in what a user passes in, at the end of a stream.

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
    assert!(!body.is_end_stream(), "or the panic would be lost");
    // The connection has a turn to write the frame.
    assert!(is_pending(&mut body));
    let panic = catch_unwind(AssertUnwindSafe(|| frame(&mut body))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"on_close panics"));
    assert!(body.is_end_stream());
    assert_eq!(connections.totals().open, 0);
    assert_eq!(connections.totals().closed(CloseReason::End), 1);
}

#[test]
fn a_client_that_leaves_before_the_last_frames_has_left() {
    let connections = Connections::new();
    let mut body = Sse::new(stream::iter([Event::data("a")]))
        .end_with(Event::data("b".repeat(100_000)))
        .permit(connections.admit("a").unwrap())
        .into_body();
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    let left = http_body::Body::size_hint(&body).exact();
    assert_eq!(left, Some(100_008), "the source has ended");
    drop(body);
    assert_eq!(connections.totals().closed(CloseReason::ClientGone), 1);
}

/// A value that panics after its first element.
struct PanicsHalfWay;

impl Serialize for PanicsHalfWay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut elements = serializer.serialize_seq(None)?;
        elements.serialize_element("half")?;
        resume_unwind(Box::new("the value panics"))
    }
}

/// An item that replaces a value that panics.
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
fn json_that_panics_leaves_whole_lines() {
    let mut buffer = BytesMut::new();
    let Ok(()) = encode(Recovers, &mut buffer);
    assert_eq!(buffer, ": first\ndata: instead\n\n");
}
