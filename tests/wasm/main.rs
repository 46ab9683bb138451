//! The crate on `wasm32-unknown-unknown`, which has no runtime, no clock and no unwinding.
//!
//! `node run.mjs PROGRAM.wasm` runs the compiled program.

use std::task::{Context, Poll, Waker};

use futures_util::{Stream, StreamExt, stream};
use http_sse::{
    EncodedEvent, Event, Json, Sse,
    decode::{Decoded, Decoder},
};

fn main() {
    encoding_and_decoding_work();
    a_body_without_keep_alives_works();
    an_error_waits_one_turn_for_the_last_frame();
}

fn encoding_and_decoding_work() {
    let event = EncodedEvent::new(Json([1, 2])).unwrap();
    assert_eq!(event, "data: [1,2]\n\n");
    let mut decoder = Decoder::new();
    let decoded = decoder.decode(&mut event.as_bytes()).unwrap();
    assert!(matches!(decoded, Some(Decoded::Event { data, .. }) if data == "[1,2]"));
}

fn a_body_without_keep_alives_works() {
    let source = stream::iter([Event::data("a"), Event::data("b")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let Poll::Ready(Some(Ok(frame))) = poll(&mut body) else {
        panic!("a frame is ready");
    };
    assert_eq!(frame, ":\ndata: a\n\ndata: b\n\n");
    assert!(matches!(poll(&mut body), Poll::Ready(None)));
}

fn an_error_waits_one_turn_for_the_last_frame() {
    let source = stream::iter([Ok(Event::data("a")), Err("no more")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let Poll::Ready(Some(Ok(last))) = poll(&mut body) else {
        panic!("a frame is ready");
    };
    assert!(poll(&mut body).is_pending());
    assert!(matches!(poll(&mut body), Poll::Ready(Some(Err("no more")))));
    drop(last);
}

fn poll<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    stream.poll_next_unpin(&mut Context::from_waker(Waker::noop()))
}
