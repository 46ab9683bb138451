//! Cases of the delivery of events and keep-alives.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use http_sse::{Event, Sse};
use tokio::{sync::mpsc::unbounded_channel, time::sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::{
    server::Server,
    sources::{INTERVAL, channel, events, every, silence},
};

/// There is no event and no timer, so the opening itself must be flushed.
pub(super) async fn the_opening_arrives_at_once(server: &Server) {
    for _ in 0..3 {
        let silent = |_| Sse::new(silence()).keep_alive(None);
        let mut client = server.get(silent).await;
        client.head().await;
        assert_eq!(client.chunk().await.unwrap().unwrap(), ":\n");
    }
}

/// Each event is sent after the previous one has arrived. No timer could flush it.
pub(super) async fn events_arrive_as_they_are_sent(server: &Server) {
    let (events, source) = channel();
    let mut client = server.opened(|_| Sse::new(source).keep_alive(None)).await;
    for n in 0..20 {
        events.send(Event::data(n.to_string())).unwrap();
        assert_eq!(client.exactly(&format!("data: {n}\n\n")).await, 1);
    }
    // Events that are ready together share one frame, which the framework sends as one chunk.
    let all = "data: x\n\n".repeat(100);
    let (batches, source) = unbounded_channel::<Vec<Event>>();
    let source = UnboundedReceiverStream::new(source)
        .flat_map(stream::iter)
        .map(Ok);
    let mut client = server
        .opened(|_| Sse::new(source.boxed()).keep_alive(None))
        .await;
    batches
        .send((0..100).map(|_| Event::data("x")).collect())
        .unwrap();
    assert_eq!(client.exactly(&all).await, 1);
}

pub(super) async fn a_large_event_arrives_whole(server: &Server) {
    let text = "x".repeat(1 << 20);
    let wire = format!(":\ndata: {text}\n\ndata: y\n\n");
    let mut client = server
        .get(move |_| Sse::new(events([text, "y".into()])))
        .await;
    client.head().await;
    assert!(client.rest().await.unwrap() == wire);
}

pub(super) async fn a_hundred_thousand_events_arrive_in_order(server: &Server) {
    const EVENTS: u32 = 100_000;
    let source = stream::iter((0..EVENTS).map(|n| Ok(Event::data(n.to_string()).id(n))));
    let mut client = server.get(|_| Sse::new(source.boxed())).await;
    client.head().await;
    let all = client.rest().await.unwrap();
    let mut rest = all.strip_prefix(":\n").unwrap();
    for n in 0..EVENTS {
        rest = rest
            .strip_prefix(&format!("id: {n}\ndata: {n}\n\n"))
            .unwrap();
    }
    assert_eq!(rest, "");
}

pub(super) async fn keep_alives_are_sent_only_while_idle(server: &Server) {
    let (events, source) = channel();
    let mut client = server
        .opened(|_| Sse::new(source).keep_alive(every(INTERVAL)))
        .await;
    // No keep-alive is sent before the stream was idle for the interval. A busy machine may send
    // the events late, so the assertion measures the idle time.
    let mut sent = Instant::now() - INTERVAL; // the opening was sent earlier, at an unknown time
    for _ in 0..10 {
        sleep(INTERVAL / 2).await;
        let before = std::mem::replace(&mut sent, Instant::now());
        events.send(Event::data("x")).unwrap();
        loop {
            let chunk = client.chunk().await.unwrap().unwrap();
            if chunk == "data: x\n\n" {
                break;
            }
            assert_eq!(chunk, ": idle\n");
            let idle = before.elapsed();
            assert!(idle >= INTERVAL, "{idle:?}");
        }
    }
    for n in 1..=2 {
        assert_eq!(client.exactly(": idle\n").await, 1);
        let idle = sent.elapsed();
        assert!(idle >= n * INTERVAL, "keep-alive {n} after {idle:?}");
    }
}
