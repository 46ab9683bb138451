//! Cases of slow clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use http_sse::{Event, Sse};
use tokio::time::sleep;

use super::{
    server::{BUFFER, Server, one_frame},
    sources::channel,
};
use crate::deadline::within;

pub(super) async fn a_slow_reader_costs_little_and_loses_nothing(server: &Server) {
    const EVENTS: u64 = 100_000; // of 1 kB each
    // Two buffers, each of which Linux doubles. Without a size they grow to 10 MiB in total.
    let socket_buffers = match server.framework.takes_listener {
        true => 4 * BUFFER as u64,
        false => 10 << 20,
    };
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let filler = "x".repeat(1_000 - 10);
    let source = stream::iter((0..EVENTS).map(move |n| {
        counter.fetch_add(1_000, Relaxed);
        Ok(Event::data(format!("{n:010}{filler}")))
    }));
    let mut client = server.get(|_| Sse::new(source.boxed())).await;
    client.head().await;
    let held = at_rest(&taken).await;
    println!(
        "{}: {held} bytes taken for a client that does not read",
        server.framework.name
    );
    assert!(held < socket_buffers + (1 << 20), "{held} bytes");

    assert_eq!(client.take(2).await, ":\n");
    for n in (0..EVENTS).step_by(100) {
        let events = client.take(100 * (1_000 + 8)).await;
        for (event, n) in events.chunks(1_000 + 8).zip(n..) {
            let start = format!("data: {n:010}x");
            assert!(event.starts_with(start.as_bytes()), "event {n}");
        }
    }
    assert_eq!(client.rest().await.unwrap(), "");
}

pub(super) async fn http2_streams_do_not_disturb_each_other(server: &Server) {
    let mut sender = server.http2().await;
    let mut streams = Vec::new();
    for _ in 0..99 {
        let (events, source) = channel();
        let path = server.set(|_| Sse::new(source).keep_alive(None));
        let mut body = sender.get(&path).await.into_body();
        assert_eq!(one_frame(&mut body).await, ":\n");
        streams.push((events, body));
    }
    // The source of one more stream has 100 MB, and its client reads nothing.
    let taken = Arc::new(AtomicU64::new(0));
    let counter = taken.clone();
    let filler = "x".repeat(1_000);
    let flood = stream::iter((0..100_000).map(move |_| {
        counter.fetch_add(1_000, Relaxed);
        Ok(Event::data(filler.clone()))
    }));
    let path = server.set(|_| Sse::new(flood.boxed()));
    let unread = sender.get(&path).await;
    assert!(at_rest(&taken).await > 0);
    for n in 0..10 {
        for (events, _) in &streams {
            events.send(Event::data(n.to_string())).unwrap();
        }
        for (_, body) in &mut streams {
            assert_eq!(one_frame(body).await, format!("data: {n}\n\n"));
        }
    }
    drop(unread);
}

/// Waits until a counter has not changed for a second, and returns its value.
async fn at_rest(counter: &AtomicU64) -> u64 {
    let mut last = counter.load(Relaxed);
    within("a counter to stop changing", async {
        loop {
            sleep(Duration::from_secs(1)).await;
            let now = counter.load(Relaxed);
            if std::mem::replace(&mut last, now) == now {
                return now;
            }
        }
    })
    .await
}
