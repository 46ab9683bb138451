//! Events that wait for others to share their frame.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_body::Body as _;
use http_sse::{Event, KeepAlive, Sse};
use tokio::time::{Instant, advance};

use super::{BUDGET, MILLISECOND, channel, frame, is_pending, later_frame};

const LINGER: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn a_batch_is_sent_one_linger_after_its_first_event() {
    let (events, source) = channel();
    let mut body = Sse::new(source).linger(LINGER).into_body();
    assert_eq!(frame(&mut body), ":\n");
    for _ in 0..3 {
        assert!(is_pending(&mut body));
        let start = Instant::now();
        for _ in 0..5 {
            events.send(Event::data("x")).unwrap();
            assert!(is_pending(&mut body));
            advance(9 * MILLISECOND).await;
        }
        assert_eq!(later_frame(&mut body).await, "data: x\n\n".repeat(5));
        assert_eq!(start.elapsed(), LINGER);
    }
}

#[tokio::test(start_paused = true)]
async fn the_opening_does_not_wait() {
    let mut body = Sse::new(stream::iter([Event::data("x")]).chain(stream::pending()))
        .linger(LINGER)
        .into_body();
    assert_eq!(frame(&mut body), ":\ndata: x\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_full_frame_does_not_wait() {
    let (events, source) = channel();
    let mut body = Sse::new(source).linger(LINGER).into_body();
    assert_eq!(frame(&mut body), ":\n");
    events.send(Event::data("x".repeat(BUDGET - 9))).unwrap();
    assert!(is_pending(&mut body));
    events.send(Event::data("")).unwrap();
    assert_eq!(frame(&mut body).len(), BUDGET - 1 + 8);
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_partly_sent_event_does_not_wait() {
    let (events, source) = channel();
    let mut body = Sse::new(source).linger(LINGER).into_body();
    assert_eq!(frame(&mut body), ":\n");
    events.send(Event::data("x".repeat(2 * BUDGET))).unwrap();
    assert_eq!(frame(&mut body), "data: ");
    assert_eq!(frame(&mut body).len(), 2 * BUDGET);
    assert_eq!(frame(&mut body), "\n\n");
    // The next event waits again.
    events.send(Event::data("y")).unwrap();
    assert!(is_pending(&mut body));
    assert_eq!(later_frame(&mut body).await, "data: y\n\n");
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait() {
    let (events, source) = channel();
    let mut body = Sse::new(source).linger(LINGER).into_body();
    assert_eq!(frame(&mut body), ":\n");
    events.send(Event::data("x")).unwrap();
    assert!(is_pending(&mut body));
    drop(events);
    assert_eq!(frame(&mut body), "data: x\n\n");
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_does_not_overtake_a_waiting_event() {
    let (events, source) = channel();
    let keep_alive = KeepAlive::new().interval(20 * MILLISECOND);
    let mut body = Sse::new(source)
        .linger(LINGER)
        .keep_alive(keep_alive)
        .into_body();
    assert_eq!(frame(&mut body), ":\n");
    advance(10 * MILLISECOND).await;
    events.send(Event::data("x")).unwrap();
    let start = Instant::now();
    assert_eq!(later_frame(&mut body).await, "data: x\n\n");
    assert_eq!(start.elapsed(), 10 * MILLISECOND);
    assert_eq!(later_frame(&mut body).await, ":\n");
    assert_eq!(start.elapsed(), 30 * MILLISECOND);
}
