//! Errors that wait until the connection has written the frame before them.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_sse::{CloseReason, Connections, Event, Sse};
use tokio::{
    sync::mpsc::unbounded_channel,
    time::{Instant, advance, sleep},
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{Item, closes, failing, frame, is_pending, poll, reasons};
use crate::deadline::{finished, within};

#[test]
fn an_error_waits_until_the_connection_has_dropped_the_last_frame() {
    for keep_alive in [true, false] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let _entered = runtime.as_ref().unwrap().enter();
        let mut sse = Sse::new(stream::iter([Ok(Event::data("a")), Err("gone")]));
        if !keep_alive {
            sse = sse.keep_alive(None);
        }
        let (mut body, closes) = closes(sse);
        let last = frame(&mut body);
        assert_eq!(last, ":\ndata: a\n\n");
        for _ in 0..100 {
            assert!(is_pending(&mut body));
        }
        assert_eq!(reasons(&closes), []);
        drop(last);
        let error = poll(&mut body);
        assert_eq!(error, Some(Some(Err("gone"))));
        assert_eq!(reasons(&closes), [CloseReason::Error]);
    }
}

#[test]
fn without_a_runtime_an_error_waits_one_turn() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let last = frame(&mut body);
    assert!(is_pending(&mut body));
    let error = poll(&mut body);
    assert_eq!(error, Some(Some(Err("gone"))));
    drop(last);
}

#[test]
fn an_error_waits_one_turn_after_the_last_frame_is_dropped() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    drop(frame(&mut body));
    assert!(is_pending(&mut body));
    let error = poll(&mut body);
    assert_eq!(error, Some(Some(Err("gone"))));
}

/// The body does not track frames that it returned before the failure. It sends a comment, and
/// waits for that.
#[tokio::test(start_paused = true)]
async fn an_error_with_nothing_to_send_follows_a_comment() {
    let (events, source) = unbounded_channel::<Item>();
    let source = UnboundedReceiverStream::new(source);
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\n");
    events.send(Ok(Event::data("a"))).unwrap();
    assert_eq!(frame(&mut body), "data: a\n\n");
    assert!(is_pending(&mut body));
    events.send(Err("gone")).unwrap();
    let last = frame(&mut body);
    assert_eq!(last, ":\n");
    assert!(is_pending(&mut body));
    assert!(is_pending(&mut body));
    drop(last);
    let error = poll(&mut body);
    assert_eq!(error, Some(Some(Err("gone"))));
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}

#[tokio::test(start_paused = true)]
async fn an_error_waits_at_most_ten_seconds() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let mut body = Sse::new(source).keep_alive(None).into_body();
    let last = frame(&mut body);
    assert!(is_pending(&mut body));
    assert!(is_pending(&mut body));
    let start = Instant::now();
    advance(Duration::from_millis(9_999)).await;
    assert!(is_pending(&mut body));
    advance(Duration::from_millis(2)).await;
    let error = poll(&mut body);
    assert_eq!(error, Some(Some(Err("gone"))));
    assert_eq!(start.elapsed(), Duration::from_millis(10_001));
    drop(last);
}

/// The stream waits in a task, so each call has to wake it.
#[tokio::test(start_paused = true)]
async fn a_shutdown_drain_or_close_ends_the_wait_of_an_error() {
    const SECOND: Duration = Duration::from_secs(1);

    for (order, give, wait) in [
        (
            "a shutdown",
            Connections::shutdown as fn(&Connections),
            Duration::ZERO,
        ),
        (
            "a close",
            |all| assert_eq!(all.close_where(|_| true), 1),
            Duration::ZERO,
        ),
        (
            "an immediate drain",
            |all| all.drain(Duration::ZERO),
            Duration::ZERO,
        ),
        ("a short drain", |all| all.drain(3 * SECOND), 3 * SECOND),
        // One of the ten seconds has already passed.
        ("a long drain", |all| all.drain(60 * SECOND), 9 * SECOND),
    ] {
        let connections = Connections::new().goodbye(Event::data("bye"));
        let permit = connections.admit("a").unwrap();
        let sse = Sse::new(failing()).keep_alive(None).permit(permit);
        let mut body = sse.into_body();
        let last = frame(&mut body);
        assert_eq!(last, ":\ndata: a\n\n");
        let start = Instant::now();
        let end = tokio::spawn(async move {
            let end = within("the error", body.next()).await;
            (end, start.elapsed(), body)
        });
        sleep(SECOND).await;
        assert!(!end.is_finished(), "{order}");
        give(&connections);
        let (end, after, body) = finished("the stream", end).await;
        assert_eq!(end, Some(Err("gone")), "{order}");
        // Timers tick every millisecond.
        let late = after.checked_sub(SECOND + wait).expect(order);
        assert!(late <= Duration::from_millis(1), "{order}: {after:?}");
        assert_eq!(connections.totals().closed(CloseReason::Error), 1);
        drop((body, last));
        assert_eq!(connections.totals().opened, 1);
        assert_eq!(connections.totals().open, 0);
    }
}

#[test]
fn a_body_dropped_before_its_error_closes_with_error() {
    let source = stream::iter([Ok(Event::data("a")), Err("gone")]);
    let (mut body, closes) = closes(Sse::new(source).keep_alive(None));
    assert_eq!(frame(&mut body), ":\ndata: a\n\n");
    drop(body);
    assert_eq!(reasons(&closes), [CloseReason::Error]);
}
