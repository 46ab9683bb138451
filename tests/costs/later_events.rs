//! The memory of a stream after a few events of medium size, and of a decoder after comments.

use std::{cell::RefCell, rc::Rc, task::Poll};

use allocation_counter::measure;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{Event, Sse, decode::Decoder};

use crate::large_events::heap_of_decoder;

/// The heap, in bytes, that a stream may hold beyond one that sent only small events.
const SLACK: i64 = 4 * 1024;

/// Returns the heap of a body after events of this size, each in a frame that the client holds until
/// the last one. A small event follows.
fn heap_of_body(events: usize, size: usize) -> i64 {
    let mut body = None;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let _entered = runtime.as_ref().unwrap().enter();
    let measured = measure(|| {
        let next = Rc::new(RefCell::new(None));
        let source = next.clone();
        let source = stream::poll_fn(move |_| match source.borrow_mut().take() {
            Some(size) => Poll::Ready(Some(Event::data("x".repeat(size)))),
            None => Poll::Pending,
        });
        let body = body.insert(Sse::new(source).into_body());
        let mut send = |size| {
            *next.borrow_mut() = Some(size);
            body.next().now_or_never()
        };
        let frames: Vec<_> = (0..events).map(|_| send(size)).collect();
        drop(frames);
        drop(send(13));
        assert!(
            body.next().now_or_never().is_none(),
            "the server asks for more"
        );
    });
    measured.bytes_current
}

#[test]
fn a_few_events_of_medium_size_leave_little_behind() {
    for size in [1_000, 2_100, 3_000, 4_200, 6_000, 9_000, 17_000, 33_000] {
        for events in [1, 2, 3, 4, 20] {
            let more = heap_of_body(events, size) - heap_of_body(events, 13);
            println!("{events} events of {size} bytes: {more} bytes more");
            assert!(more <= SLACK, "{events} of {size} bytes: {more} bytes more");
        }
    }
}

#[test]
fn comments_and_ids_make_a_decoder_forget_a_large_event() {
    let text = "x".repeat(5_000_000);
    for large in [
        format!("data: {text}\n\n"),
        format!("event: {text}\n\n"),
        format!(": {text}\n"),
        format!("unknown: {text}\n"),
        format!("id: {text}\n\nid: 1\n\n"),
    ] {
        for then in [": idle\n", ": idle\n\n", "id: 2\n\n"] {
            for piece in [7, 16 * 1024, usize::MAX] {
                for decoder in [Decoder::new(), Decoder::new().with_comments()] {
                    // The id before it, if there is one, is kept until the next id.
                    let wire = [large.as_bytes(), then.repeat(2).as_bytes()].concat();
                    let more = heap_of_decoder(decoder, wire.chunks(piece));
                    let what = format!("{:.8?}… in {piece}, then {then:?}", large);
                    assert!(more <= SLACK, "{what}: {more} bytes more");
                }
            }
        }
    }
}
