//! Streams that end with their source, by their age, or with their client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, stream};
use http_body::Body;
use http_sse::{CloseReason, Event, KeepAlive, Retry, Sse, SseBody};
use tokio::time::{Instant, advance};

use super::{
    BUDGET, MILLISECOND, SECOND, channel, closed, closes, frame, is_over, is_pending, later,
    later_frame, poll, sets_when_dropped,
};

#[test]
fn the_body_ends_with_its_source() {
    let dropped = Arc::new(AtomicBool::new(false));
    let (events, source) = channel::<Event>();
    let (mut body, closes) = closes(Sse::new(sets_when_dropped(source, &dropped)).keep_alive(None));
    assert!(!body.is_end_stream());
    assert_eq!(frame(&mut body), ":\n");
    events.send(Event::data("a")).unwrap();
    assert_eq!(frame(&mut body), "data: a\n\n");
    assert!(!body.is_end_stream() && !dropped.load(Ordering::Relaxed));
    drop(events);
    assert!(closes.try_recv().is_err());
    assert!(matches!(poll(&mut body), Some(None)));
    assert!(dropped.load(Ordering::Relaxed));
    assert!(is_over(&mut body));
    drop(body);
    assert_eq!(closed(&closes), (CloseReason::End, 1, 2 + 9, 0));
}

#[test]
fn the_body_is_over_after_its_last_frame() {
    let source = stream::iter([Event::data("a")]);
    let (mut body, closes) = closes(Sse::new(source).end_with(Event::data("[DONE]")));
    assert_eq!(frame(&mut body), ":\ndata: a\n\ndata: [DONE]\n\n");
    assert_eq!(closed(&closes), (CloseReason::End, 2, 2 + 9 + 14, 0));
    assert!(is_over(&mut body));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_ends_at_its_max_age() {
    let mut ages = Vec::new();
    for _ in 0..200 {
        let dropped = Arc::new(AtomicBool::new(false));
        let source = sets_when_dropped(stream::pending::<Event>(), &dropped);
        let sse = Sse::new(source).max_age(100 * SECOND).keep_alive(None);
        let (mut body, closes) = closes(sse.end_with(Event::data("[DONE]")));
        advance(1000 * SECOND).await; // the age counts from the first poll
        let start = Instant::now();
        assert_eq!(frame(&mut body), ":\n");
        assert!(is_pending(&mut body));
        assert_eq!(later(&mut body).await, None);
        assert_eq!(closed(&closes), (CloseReason::MaxAge, 0, 2, 0));
        assert!(is_over(&mut body) && dropped.load(Ordering::Relaxed));
        ages.push(start.elapsed());
    }
    ages.sort();
    let [first, .., last] = ages[..] else {
        unreachable!()
    };
    assert!(first >= 90 * SECOND && first < 92 * SECOND, "{first:?}");
    assert!(
        last > 98 * SECOND && last <= 100 * SECOND + MILLISECOND,
        "{last:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_ends_at_its_max_age() {
    let source = stream::repeat_with(|| Event::data("x"));
    let (mut body, closes) = closes(Sse::new(source).max_age(10 * SECOND));
    for _ in 0..9 {
        assert!(frame(&mut body).len() >= BUDGET);
        advance(SECOND).await;
    }
    advance(SECOND).await;
    assert!(matches!(poll(&mut body), Some(None)));
    assert_eq!(closed(&closes).0, CloseReason::MaxAge);
}

#[tokio::test(start_paused = true)]
async fn reconnection_times_are_spread_over_the_window() {
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let mut body = Sse::new(stream::pending::<Event>())
            .max_age(SECOND)
            .reconnect_within(10 * SECOND)
            .into_body();
        assert_eq!(frame(&mut body), ":\n");
        let last = String::from_utf8(later_frame(&mut body).await.into()).unwrap();
        assert!(body.is_end_stream());
        let millis = last
            .strip_prefix("retry: ")
            .and_then(|l| l.strip_suffix('\n'))
            .unwrap();
        times.push(millis.parse::<u64>().unwrap());
    }
    assert!(times.iter().all(|millis| (1..=10_000).contains(millis)));
    for second in 0..10 {
        let in_it = times
            .iter()
            .filter(|&&millis| millis / 1000 == second)
            .count();
        // A uniform choice is outside of these bounds once in 10^10 runs.
        assert!(
            (100..=300).contains(&in_it),
            "{in_it} of 2,000 in second {second}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn durations_of_any_length_are_accepted() {
    for (window, expected) in [(Duration::ZERO, Some("retry: 1\n")), (Duration::MAX, None)] {
        let mut body = Sse::new(stream::pending::<Event>())
            .max_age(SECOND)
            .reconnect_within(window)
            .into_body();
        assert_eq!(frame(&mut body), ":\n");
        let last = later_frame(&mut body).await;
        assert!(expected.is_none_or(|expected| last == expected));
        assert!(last.len() <= "retry: 2147483647\n".len());
    }
    let mut body = Sse::new(stream::pending::<Event>())
        .max_age(Duration::MAX)
        .linger(Duration::MAX)
        .retry(Retry::MAX)
        .keep_alive(KeepAlive::new().interval(Duration::MAX))
        .into_body();
    assert_eq!(frame(&mut body), ":\nretry: 2147483647\n");
    assert!(is_pending(&mut body));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_closes_with_client_gone() {
    let (events, source) = channel();
    let (mut body, closes) = closes(Sse::new(source));
    assert_eq!(frame(&mut body), ":\n");
    assert_eq!(later_frame(&mut body).await, ":\n");
    events.send(Event::data("a")).unwrap();
    assert_eq!(frame(&mut body), "data: a\n\n");
    assert!(is_pending(&mut body));
    drop(body);
    assert_eq!(closed(&closes), (CloseReason::ClientGone, 1, 2 + 2 + 9, 1));
    assert!(events.is_closed());
}

#[test]
fn a_body_dropped_within_an_event_closes_with_client_gone() {
    let source = stream::iter([Event::data("x".repeat(2 * BUDGET))]);
    let (mut body, closes) = closes(Sse::new(source));
    assert_eq!(frame(&mut body), ":\ndata: ");
    drop(body);
    assert_eq!(closed(&closes), (CloseReason::ClientGone, 1, 8, 0));
}

#[test]
fn the_size_hint_counts_the_bytes_left() {
    let source = stream::iter([Event::data("x".repeat(2 * BUDGET))]);
    let mut body = Sse::new(source).into_body();
    assert_eq!(
        (
            Body::size_hint(&body).lower(),
            Body::size_hint(&body).upper()
        ),
        (0, None)
    );
    assert_eq!(frame(&mut body), ":\ndata: ");
    assert_eq!(Body::size_hint(&body).lower(), 2 * BUDGET as u64 + 2);
    assert_eq!(frame(&mut body).len(), 2 * BUDGET);
    assert_eq!(frame(&mut body), "\n\n");
    assert!(is_over(&mut body));
}

#[test]
fn the_size_hint_is_a_lower_bound_while_more_events_can_come() {
    let bounds = |body: &SseBody<_>| {
        let hint = Body::size_hint(body);
        (hint.lower(), hint.upper())
    };
    let (events, source) = channel();
    let mut body = Sse::new(source).keep_alive(None).into_body();
    assert_eq!(frame(&mut body), ":\n");
    assert_eq!(bounds(&body), (0, None));
    events
        .send(Ok(Event::data("x".repeat(2 * BUDGET))))
        .unwrap();
    assert_eq!(frame(&mut body), "data: ");
    assert_eq!(bounds(&body), (2 * BUDGET as u64 + 2, None));
    assert_eq!(frame(&mut body).len(), 2 * BUDGET);
    assert_eq!(bounds(&body), (2, None));
    assert_eq!(frame(&mut body), "\n\n");
    assert_eq!(bounds(&body), (0, None));
    assert_eq!(Stream::size_hint(&body), (0, None));

    // The body does not end with these bytes, because an error follows.
    events
        .send(Ok(Event::data("x".repeat(2 * BUDGET))))
        .unwrap();
    events.send(Err("gone")).unwrap();
    assert_eq!(frame(&mut body), "data: ");
    assert_eq!(frame(&mut body).len(), 2 * BUDGET);
    assert_eq!(frame(&mut body), "\n\n");
    assert_eq!(bounds(&body), (0, None));
    assert!(!body.is_end_stream());
}
