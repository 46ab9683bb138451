//! Streams that the server ends.

use std::{pin::pin, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{CloseReason, Connections, Event, Sse};
use tokio::time::Instant;

use super::{MILLISECOND, SECOND, assert_balanced, frame, silent};
use crate::deadline::{finished, within};

#[test]
fn the_id_of_a_closed_stream_closes_no_other() {
    let connections = Connections::new();
    let old = connections.admit("a").unwrap();
    let old_id = old.id();
    drop(old);
    let _body = silent(&connections, "a"); // reuses its slot
    assert!(!connections.close(old_id));
    let id = connections.snapshot()[0].id;
    assert!(connections.close(id));
}

#[tokio::test(start_paused = true)]
async fn a_drain_after_a_shutdown_changes_nothing() {
    let connections = Connections::new();
    connections.shutdown();
    connections.drain(1_000 * SECOND);
    let mut body = silent(&connections, "a");
    assert_eq!(frame(&mut body), ":\n");
    assert!(http_body::Body::is_end_stream(&body));
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_two_deadlines_ends_the_stream() {
    let connections = Connections::new();
    let permit = connections.admit("a").unwrap();
    let sse = Sse::new(stream::pending::<Event>()).permit(permit);
    let mut body = sse.keep_alive(None).max_age(SECOND).into_body();
    assert_eq!(frame(&mut body), ":\n");
    connections.drain(60 * SECOND);
    let start = Instant::now();
    let end = within("the end of the stream", body.next()).await;
    assert!(end.is_none());
    assert!(
        start.elapsed() <= SECOND + MILLISECOND,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(connections.totals().closed(CloseReason::MaxAge), 1);
}

#[tokio::test(start_paused = true)]
async fn the_reconnection_window_of_the_server_overrides_that_of_the_stream() {
    let connections = Connections::new().reconnect_within(MILLISECOND);
    let permit = connections.admit("a").unwrap();
    let sse = Sse::new(stream::pending::<Event>()).permit(permit);
    let mut body = sse.reconnect_within(1_000_000 * SECOND).into_body();
    assert_eq!(frame(&mut body), ":\n");
    connections.shutdown();
    assert_eq!(frame(&mut body), "retry: 1\n");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_stream() {
    let connections = Connections::new()
        .goodbye(Event::data("bye"))
        .reconnect_within(10 * SECOND);
    let mut silent = silent(&connections, "a");
    let busy = Sse::new(stream::repeat_with(|| Event::data("x")));
    let mut busy = busy.permit(connections.admit("b").unwrap()).into_body();
    let ends = Sse::new(stream::empty::<Event>());
    let mut new = ends.permit(connections.admit("c").unwrap()).into_body();
    assert_eq!(frame(&mut silent), ":\n");
    assert!(frame(&mut busy).ends_with(b"data: x\n\n"));

    let waits = tokio::spawn({
        let connections = connections.clone();
        async move { within("all streams to end", connections.closed()).await }
    });
    // The shutdown wakes a waiting body.
    let woken = tokio::spawn(async move { within("the goodbye", silent.next()).await });
    tokio::task::yield_now().await;
    assert!(!woken.is_finished() && !waits.is_finished());
    connections.shutdown();

    let is_goodbye = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).unwrap();
        let millis = text.strip_prefix("retry: ").unwrap();
        let millis = millis.strip_suffix("\ndata: bye\n\n").unwrap();
        assert!((1..=10_000).contains(&millis.parse::<u32>().unwrap()));
    };
    let woken = finished("the waiting body", woken).await;
    is_goodbye(&woken.unwrap().unwrap());
    is_goodbye(&frame(&mut busy));
    assert!(matches!(busy.next().now_or_never(), Some(None)));
    let opened = frame(&mut new);
    is_goodbye(opened.strip_prefix(b":\n").unwrap());

    // A stream that is opened later gets the same goodbye.
    let mut late = super::silent(&connections, "d");
    is_goodbye(frame(&mut late).strip_prefix(b":\n").unwrap());

    finished("the wait for all streams to end", waits).await;
    let totals = connections.totals();
    assert_eq!((totals.open, totals.closed(CloseReason::Shutdown)), (0, 4));
    assert_balanced(&totals);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_streams_end_until_its_deadline() {
    let connections = Connections::new().goodbye(Event::data("bye"));
    let ends_soon = stream::once(tokio::time::sleep(SECOND)).map(|()| Event::data("last"));
    let ends_soon = Sse::new(ends_soon.boxed());
    let mut ends_soon = ends_soon
        .permit(connections.admit("a").unwrap())
        .into_body();
    let mut goes_on = silent(&connections, "b");
    assert_eq!(frame(&mut ends_soon), ":\n");
    assert_eq!(frame(&mut goes_on), ":\n");
    let goes_on = tokio::spawn(async move { within("the goodbye", goes_on.next()).await });
    tokio::task::yield_now().await;

    let start = Instant::now();
    connections.drain(3 * SECOND);
    let mut late = silent(&connections, "c");
    assert_eq!(frame(&mut late), ":\n");
    let frame = within("the last event", ends_soon.next()).await;
    assert_eq!(frame.unwrap().unwrap(), "data: last\n\n");
    assert_eq!(start.elapsed(), SECOND);
    let frame = finished("the body that outlives the drain", goes_on).await;
    assert_eq!(frame.unwrap().unwrap(), "data: bye\n\n");
    assert_eq!(start.elapsed(), 3 * SECOND);
    let frame = within("the goodbye", late.next()).await;
    assert_eq!(frame.unwrap().unwrap(), "data: bye\n\n");
    assert_eq!(start.elapsed(), 3 * SECOND);
    drop(ends_soon);

    within("all streams to end", connections.closed()).await;
    let totals = connections.totals();
    assert_eq!(totals.closed(CloseReason::End), 1);
    assert_eq!(totals.closed(CloseReason::Shutdown), 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_drain() {
    let connections = Connections::new();
    let mut body = silent(&connections, "a");
    assert_eq!(frame(&mut body), ":\n");
    connections.drain(Duration::MAX);
    assert!(body.next().now_or_never().is_none());
    connections.shutdown();
    connections.drain(1_000 * SECOND);
    assert!(matches!(body.next().now_or_never(), Some(None)));
}

#[tokio::test(start_paused = true)]
async fn streams_are_closed_by_id_or_by_predicate() {
    let connections = Connections::new().goodbye(Event::data("bye"));
    let permit = connections.admit("a").unwrap();
    let id = permit.id();
    let one = Sse::new(stream::pending::<Event>()).keep_alive(None);
    let mut one = one.permit(permit).into_body();
    let mut others = ["a", "b", "b"].map(|key| silent(&connections, key));
    frame(&mut one);
    for other in &mut others {
        frame(other);
    }

    assert!(connections.close(id));
    assert!(
        matches!(one.next().now_or_never(), Some(None)),
        "a goodbye was sent"
    );
    assert!(!connections.close(id), "it was already closed");

    assert_eq!(
        connections.close_where(|c| &*c.key == "b" && c.bytes == 2),
        2
    );
    let [a, b, c] = &mut others;
    assert!(a.next().now_or_never().is_none());
    assert!(matches!(b.next().now_or_never(), Some(None)));
    assert!(matches!(c.next().now_or_never(), Some(None)));
    assert_eq!(connections.totals().closed(CloseReason::ByServer), 3);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_completes_a_partly_sent_event() {
    let connections = Connections::new();
    let large = "x".repeat(64 * 1024);
    let source = stream::iter([Event::data(large)]).chain(stream::pending());
    let mut body = Sse::new(source)
        .permit(connections.admit("a").unwrap())
        .into_body();
    assert_eq!(frame(&mut body), ":\ndata: ");
    connections.shutdown();
    assert_eq!(frame(&mut body).len(), 64 * 1024);
    assert_eq!(frame(&mut body), "\n\n");
    assert!(matches!(body.next().now_or_never(), Some(None)));
}

#[test]
fn closed_returns_when_the_last_stream_has_closed() {
    let connections = Connections::new();
    connections.closed().now_or_never().unwrap();
    let permits = ["a", "b"].map(|key| connections.admit(key).unwrap());
    let mut closed = pin!(connections.closed());
    for permit in permits {
        assert_eq!(closed.as_mut().now_or_never(), None);
        drop(permit);
    }
    assert_eq!(closed.now_or_never(), Some(()));
}
