//! Connections, on tokio's paused clock: limits, ends and counts.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, future, stream};
use http_sse::{
    CloseReason, Connections, Encode, EncodedEvent, Event, KeepAlive, Sse, SseBody, Totals,
};
use proptest::prelude::Rng as _;
use tokio::time::{Instant, advance, sleep};

use crate::{
    chance::chance,
    deadline::{finished, joined, within},
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A stream that is silent, with no keep-alive.
fn silent(connections: &Connections, key: &str) -> SseBody<stream::Pending<Event>> {
    Sse::new(stream::pending())
        .keep_alive(None)
        .permit(connections.admit(key).unwrap())
        .into_body()
}

fn frame<S>(body: &mut SseBody<S>) -> Bytes
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    let frame = body.next().now_or_never().expect("a frame is ready");
    frame.expect("the body goes on").unwrap()
}

fn assert_balanced(totals: &Totals) {
    let closed: u64 = REASONS.iter().map(|reason| totals.closed(*reason)).sum();
    assert_eq!(totals.opened, totals.open as u64 + closed, "{totals:?}");
}

const REASONS: [CloseReason; 6] = [
    CloseReason::End,
    CloseReason::Error,
    CloseReason::MaxAge,
    CloseReason::Shutdown,
    CloseReason::ByServer,
    CloseReason::ClientGone,
];

mod limits {
    use super::*;

    #[test]
    fn the_server_has_a_limit() {
        let connections = Connections::new().max(2);
        let first = connections.admit("a").unwrap();
        let _second = connections.admit("b").unwrap();
        let full = connections.admit("c").unwrap_err();
        assert!(!full.is_by_key());
        drop(first);
        let _third = connections.admit("c").unwrap();
        assert!(connections.admit("d").is_err());

        let totals = connections.totals();
        assert_eq!((totals.open, totals.opened), (2, 3));
        assert_eq!((totals.refused_by_server, totals.refused_by_key), (2, 0));
        assert_balanced(&totals);
    }

    #[test]
    fn a_key_has_a_limit() {
        let connections = Connections::new().max(3).max_per_key(1);
        let first = connections.admit("a").unwrap();
        let full = connections.admit("a").unwrap_err();
        assert!(full.is_by_key());
        let _other = connections.admit("b").unwrap();
        drop(first);
        let _again = connections.admit("a").unwrap();
        assert_eq!(connections.totals().refused_by_key, 1);
    }

    #[test]
    fn a_limit_of_zero_admits_nobody() {
        assert!(
            !Connections::new()
                .max(0)
                .admit("a")
                .unwrap_err()
                .is_by_key()
        );
        let by_key = Connections::new().max_per_key(0);
        assert!(by_key.admit("a").unwrap_err().is_by_key());
    }

    #[test]
    fn a_refusal_is_a_response() {
        let refused = |connections: Connections| {
            let full = connections.admit("a").unwrap_err();
            let response = Sse::<stream::Empty<Event>>::from(full).into_response();
            let retry_after = response.headers()["retry-after"]
                .to_str()
                .unwrap()
                .to_owned();
            assert_eq!(response.headers()["cache-control"], "no-store");
            assert!(!response.headers().contains_key("content-type"));
            assert!(http_body::Body::is_end_stream(response.body()));
            (response.status().as_u16(), retry_after)
        };
        assert_eq!(refused(Connections::new().max(0)), (503, "5".into()));
        let by_key = Connections::new().max_per_key(0);
        let retry_after = by_key.retry_after(Duration::from_millis(1_001));
        assert_eq!(refused(retry_after), (429, "2".into()));
    }

    /// 64 threads that want more than there is: never one too many, and all permits return.
    #[test]
    fn a_race_admits_never_one_too_many() {
        const TASKS: usize = 64;
        const MAX: usize = 10;
        let connections = Connections::new().max(MAX);
        let open = Arc::new(AtomicUsize::new(0));
        let barrier = Arc::new(Barrier::new(TASKS));
        let threads: Vec<_> = (0..TASKS)
            .map(|n| {
                let (connections, open) = (connections.clone(), open.clone());
                let barrier = barrier.clone();
                std::thread::spawn(move || {
                    barrier.wait(); // waits for good: for threads that have been started
                    let mut admitted = 0;
                    for _ in 0..500 {
                        if let Ok(permit) = connections.admit(format!("key {}", n % 7)) {
                            admitted += 1;
                            assert!(open.fetch_add(1, SeqCst) < MAX);
                            std::thread::yield_now();
                            open.fetch_sub(1, SeqCst);
                            drop(permit);
                        }
                    }
                    admitted
                })
            })
            .collect();
        let admitted: u64 = threads
            .into_iter()
            .map(|thread| joined("a thread that admits", thread))
            .sum();
        let totals = connections.totals();
        assert_eq!((totals.open, totals.opened), (0, admitted));
        assert_eq!(totals.refused_by_server, (TASKS * 500) as u64 - admitted);
        assert_balanced(&totals);
    }
}

mod ends {
    use super::*;

    #[test]
    fn the_name_of_a_closed_stream_closes_no_other() {
        let connections = Connections::new();
        let old = connections.admit("a").unwrap();
        let old_id = old.id();
        drop(old);
        let _body = silent(&connections, "a"); // takes its place
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
    async fn the_earlier_of_two_ends_counts() {
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
    async fn the_servers_window_for_reconnection_goes_before_the_streams_own() {
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
        // A body that waits is woken for it.
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
        let woken = finished("the body that waits", woken).await;
        is_goodbye(&woken.unwrap().unwrap());
        is_goodbye(&frame(&mut busy));
        assert!(matches!(busy.next().now_or_never(), Some(None)));
        let opened = frame(&mut new);
        is_goodbye(opened.strip_prefix(b":\n").unwrap());

        // One that comes later is told the same.
        let mut late = super::silent(&connections, "d");
        is_goodbye(frame(&mut late).strip_prefix(b":\n").unwrap());

        finished("the one that waits for all to end", waits).await;
        let totals = connections.totals();
        assert_eq!((totals.open, totals.closed(CloseReason::Shutdown)), (0, 4));
        assert_balanced(&totals);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_lets_streams_end_by_themselves_until_its_time() {
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
        let frame = finished("the body that goes on", goes_on).await;
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
    async fn streams_are_closed_one_by_one_or_as_somebody_says() {
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
            "no goodbye"
        );
        assert!(!connections.close(id), "it is not open any more");

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
    async fn nothing_that_waits_is_lost_when_a_stream_is_ended() {
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
    fn closed_is_at_once_where_nothing_is_open() {
        Connections::new().closed().now_or_never().unwrap();
    }
}

mod counts {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_open_is_known() {
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
    async fn a_stream_that_nobody_takes_from_is_seen() {
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

        // One that waits for its source is not stalled.
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
            panic!("its own")
        })))
        .permit(admit())
        .into_body();
        drop(panics.next().now_or_never()); // what precedes the panic
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

    /// 10,000 streams that end in every way at random moments: all are counted, once.
    #[tokio::test(start_paused = true)]
    async fn everything_balances_under_chaos() {
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
                sleep(MILLISECOND).await; // the others run
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
        for reason in REASONS {
            assert!(totals.closed(reason) > 0, "{reason:?}: {totals:?}");
        }
        assert!(connections.snapshot().is_empty());
    }
}
