//! `events`, which turns a stream of bytes into a stream of events.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{
    Event,
    decode::{DecodeError, Decoder, EventsError, events},
};

use crate::deadline::within;

#[test]
fn a_stream_of_bytes_ends_after_an_error() {
    let pieces = [Ok("data: a\n\nda"), Err("reset"), Ok("ta: b\n\n")];
    let mut failing = events(
        stream::iter(pieces).map(|p| p.map(str::as_bytes)),
        Decoder::new(),
    );
    let mut next = || failing.next().now_or_never().unwrap();
    assert_eq!(next().unwrap().unwrap(), Event::data("a"));
    assert!(matches!(next(), Some(Err(EventsError::Source("reset")))));
    assert!(next().is_none());

    let pieces = [Ok::<_, ()>("data: a\n\ndata: bc\n\n"), Ok("data: d\n\n")];
    let pieces = stream::iter(pieces).map(|p| p.map(str::as_bytes));
    let mut limited = events(pieces, Decoder::new().max_event(1));
    let mut next = || limited.next().now_or_never().unwrap();
    assert_eq!(next().unwrap().unwrap(), Event::data("a"));
    let error = next().unwrap().unwrap_err();
    assert!(matches!(
        error,
        EventsError::Decode(DecodeError::EventTooLong(1))
    ));
    assert!(next().is_none());
}

#[tokio::test]
async fn a_stream_of_comments_yields_to_other_tasks() {
    static PIECES: AtomicU32 = AtomicU32::new(0);
    let pieces = stream::repeat_with(|| {
        PIECES.fetch_add(1, Relaxed);
        Ok::<_, Infallible>(&b": idle\n"[..])
    });
    let mut events = events(pieces, Decoder::new());
    assert!(events.next().now_or_never().is_none());
    assert_eq!(PIECES.load(Relaxed), 256);
}

/// The clock is paused, so a task that nothing wakes reaches its deadline at once.
#[tokio::test(start_paused = true)]
async fn a_stream_of_comments_continues_after_it_yields() {
    let idle = stream::repeat(Ok::<_, Infallible>(&b": idle\n"[..])).take(1_000);
    let pieces = idle.chain(stream::iter([Ok(&b"data: a\n\n"[..])]));
    let mut events = events(pieces, Decoder::new());
    let event = within("an event", events.next()).await;
    assert_eq!(event.unwrap().unwrap(), Event::data("a"));
}
