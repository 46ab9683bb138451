//! Counts of streams, events and bytes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future, stream};
use http_sse::{CloseReason, Connections, EncodedEvent, Event, KeepAlive, Sse};
use proptest::prelude::Rng as _;
use tokio::time::{advance, sleep};

use super::{MILLISECOND, REASONS, SECOND, assert_balanced, frame, silent};
use crate::{
    chance::chance,
    deadline::{finished, within},
};

#[tokio::test(start_paused = true)]
async fn a_snapshot_counts_events_bytes_and_keep_alives() {
    let connections = Connections::new();
    let keep_alive = KeepAlive::new().interval(10 * SECOND);
    let source = stream::iter([Event::data("a"), Event::data("b")]).chain(stream::pending());
    let sse = Sse::new(source).keep_alive(keep_alive);
    let permit = connections.admit("user 7").unwrap();
    let id = permit.id();
    let mut body = sse.permit(permit).into_body();
    advance(5 * SECOND).await;
    frame(&mut body);
    let frame = within("a keep-alive", body.next()).await;
    assert_eq!(frame.unwrap().unwrap(), ":\n");

    let [connection] = &connections.snapshot()[..] else {
        panic!()
    };
    assert_eq!((connection.id, &*connection.key), (id, "user 7"));
    assert_eq!(connection.age, 15 * SECOND);
    let counts = (connection.events, connection.bytes, connection.keep_alives);
    assert_eq!(counts, (2, 2 + 18 + 2, 1));
    let totals = connections.totals();
    assert_eq!((totals.events, totals.bytes, totals.keep_alives), counts);
    drop(body);
    let totals = connections.totals();
    assert_eq!((totals.events, totals.bytes, totals.keep_alives), counts);
    assert_eq!(
        (totals.open, totals.closed(CloseReason::ClientGone)),
        (0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_frames_are_not_taken_is_stalled() {
    let connections = Connections::new();
    let stalled = || connections.snapshot()[0].stalled_for;
    let mut body = Sse::new(stream::repeat_with(|| Event::data("x")))
        .permit(connections.admit("a").unwrap())
        .into_body();
    assert_eq!(stalled(), None);
    frame(&mut body);
    advance(700 * MILLISECOND).await;
    assert_eq!(stalled(), Some(700 * MILLISECOND));
    frame(&mut body);
    assert_eq!(stalled(), Some(Duration::ZERO));

    // A stream that waits for its source is not stalled.
    let connections = Connections::new();
    let mut body = silent(&connections, "a");
    frame(&mut body);
    assert!(body.next().now_or_never().is_none());
    advance(1_000 * SECOND).await;
    assert_eq!(connections.snapshot()[0].stalled_for, None);
}

#[test]
fn a_permit_is_returned_however_the_stream_ends() {
    let connections = Connections::new().max(1);
    let admit = || connections.admit("a").unwrap();
    drop(admit());
    drop(Sse::new(stream::pending::<Event>()).permit(admit()));
    drop(
        Sse::new(stream::pending::<Event>())
            .permit(admit())
            .into_body(),
    );

    let mut panics = Sse::new(stream::once(future::lazy(|_| -> Event {
        panic!("the source panics")
    })))
    .permit(admit())
    .into_body();
    drop(panics.next().now_or_never()); // the frame before the panic
    drop(panics.next().now_or_never());
    catch_unwind(AssertUnwindSafe(|| panics.next().now_or_never())).unwrap_err();
    drop(panics);

    let fails = Sse::new(stream::iter([Err::<Event, _>("gone")])).keep_alive(None);
    let mut fails = fails.permit(admit()).into_body();
    while !http_body::Body::is_end_stream(&fails) {
        fails.next().now_or_never();
    }
    let ends = Sse::new(stream::iter([EncodedEvent::from_static("data: x\n\n")]));
    let mut ends = ends.permit(admit()).into_body();
    assert_eq!(frame(&mut ends), ":\ndata: x\n\n");

    let head = Sse::new(stream::pending::<Event>()).permit(admit());
    drop(head.for_method(&http::Method::HEAD));

    let totals = connections.totals();
    assert_eq!((totals.open, totals.opened), (0, 7));
    assert_eq!(totals.closed(CloseReason::ClientGone), 1);
    assert_eq!(totals.closed(CloseReason::Error), 2);
    assert_eq!(totals.closed(CloseReason::End), 4);
    assert_eq!((totals.events, totals.bytes), (1, 2 + 2 + 2 + 9));
}

/// 10,000 streams end in every way at random times. Each is counted once.
#[tokio::test(start_paused = true)]
async fn counts_balance_when_streams_end_at_random() {
    const STREAMS: usize = 10_000;
    let mut random = chance();
    let connections = Connections::new();
    let on_closes = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for n in 0..STREAMS {
        let permit = connections.admit(format!("key {}", n % 100)).unwrap();
        let on_closes = on_closes.clone();
        let (events, fails) = (random.next_u32() % 20, random.next_u32() % 3 == 0);
        let source = stream::iter(0..events)
            .then(|n| async move {
                sleep(MILLISECOND).await;
                Ok(Event::data(n.to_string()))
            })
            .chain(stream::iter(fails.then_some(Err("failed"))));
        let sse = Sse::new(source.boxed()).permit(permit);
        let mut sse = sse.on_close(move |_| _ = on_closes.fetch_add(1, SeqCst));
        if random.next_u32() % 5 == 0 {
            sse = sse.max_age(10 * MILLISECOND);
        }
        let polls = random.next_u32() % 30;
        let leaves = random.next_u32() % 3 == 0;
        tasks.push(tokio::spawn(async move {
            let mut body = sse.into_body();
            let mut polled = 0;
            while !(leaves && polled == polls)
                && within("an event or the end", body.next()).await.is_some()
            {
                polled += 1;
            }
        }));
        if n % 100 == 99 {
            sleep(MILLISECOND).await; // lets the other tasks run
            assert_balanced(&connections.totals());
            connections.close_where(|connection| &*connection.key == "key 7");
        }
    }
    connections.drain(5 * MILLISECOND);
    sleep(2 * MILLISECOND).await;
    assert_balanced(&connections.totals());
    connections.shutdown();
    within("all streams to end", connections.closed()).await;
    for task in tasks {
        finished("a client", task).await;
    }
    let totals = connections.totals();
    assert_eq!((totals.open, totals.opened), (0, STREAMS as u64));
    assert_eq!(on_closes.load(SeqCst), STREAMS);
    assert_balanced(&totals);
    // Only a hub's subscription lags.
    for reason in REASONS
        .into_iter()
        .filter(|reason| *reason != CloseReason::Lagged)
    {
        assert!(totals.closed(reason) > 0, "{reason:?}: {totals:?}");
    }
    assert!(connections.snapshot().is_empty());
}
