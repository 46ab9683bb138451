//! The identifiers and the times of connections, at their bounds.

use std::{collections::HashSet, time::Duration};

use futures_util::stream;
use http_sse::{Connections, Event, Sse};
use tokio::time::advance;

use crate::body::frame;

/// Nothing advances the paused clock, so the time alone would give all of them one id.
#[tokio::test(start_paused = true)]
async fn ids_differ_while_the_clock_stands_still() {
    let connections = Connections::new();
    let mut ids = HashSet::new();
    for _ in 0..1_000 {
        let permit = connections.admit("a").unwrap();
        assert!(ids.insert(permit.id()), "{}", permit.id());
        drop(permit); // its place is used again
    }
    let permits: Vec<_> = (0..1_000)
        .map(|_| connections.admit("a").unwrap())
        .collect();
    for permit in &permits {
        assert!(ids.insert(permit.id()), "{}", permit.id());
    }
    let texts: HashSet<_> = ids.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), ids.len());
}

/// The time of the last frame is kept in milliseconds, which begin anew after 49 days.
#[tokio::test(start_paused = true)]
async fn a_stream_is_stalled_across_the_wrap_of_its_clock() {
    const WRAP: Duration = Duration::from_millis(1 << 32);
    let connections = Connections::new();
    let mut body = Sse::new(stream::repeat_with(|| Event::data("x")))
        .permit(connections.admit("a").unwrap())
        .into_body();
    advance(WRAP - Duration::from_millis(300)).await;
    frame(&mut body);
    advance(Duration::from_millis(700)).await;
    let stalled = connections.snapshot()[0].stalled_for;
    assert_eq!(stalled, Some(Duration::from_millis(700)));
}

#[test]
fn the_longest_retry_after_is_sent() {
    let connections = Connections::new().max(0).retry_after(Duration::MAX);
    let refused = connections.admit("a").unwrap_err();
    let response = Sse::<stream::Empty<Event>>::from(refused).into_response();
    assert_eq!(response.headers()["retry-after"], u64::MAX.to_string());
}
