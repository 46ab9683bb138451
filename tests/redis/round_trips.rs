//! Round trips to the server: one per batch of entries, and one per idle second.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub,
    hub::{EventLog as _, RedisLog},
};
use tokio::time::{Instant, sleep};

use crate::{
    deadline::{Background, within},
    log::{append, connect},
    proxy::Proxy,
    redis_server::{Engine, RedisServer},
};

#[tokio::test]
async fn a_tail_makes_one_round_trip_per_batch_and_one_per_idle_second() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let proxy = Proxy::start(&server).await;
        let log = connect(RedisLog::builder(&proxy.url)).await;
        let direct = connect(RedisLog::builder(&server.url())).await;

        // Pages of 50, 100, 200, 400 and at most 500.
        let hub = Hub::builder()
            .history(1_200)
            .distributed(Arc::new(log.clone()));
        let hub = within("the hub", hub).await.unwrap();
        let mut subscription = hub.subscribe(["topic"]);
        for _ in 0..1_200 {
            append(&direct, "a").await;
        }
        proxy.take();
        let follows = hub.clone();
        let _follows = Background::spawn(async move {
            within("the hub to be closed", follows.follow()).await;
        });
        let mut read = 0;
        while read < 1_200 {
            let events = within("an event", subscription.next()).await.unwrap();
            read += events.count();
        }
        let [tail, _] = proxy.take();
        // The next one may have begun.
        assert!((5..=6).contains(&tail), "{tail}");

        let idle = Duration::from_secs(4);
        let monitor = server.monitor().await;
        let start = Instant::now();
        within("the idle time", sleep(idle)).await;
        let [tail, others] = proxy.take();
        let seconds = start.elapsed().as_secs_f64();
        assert!(tail as f64 <= seconds / 0.9 + 1.0, "{tail} in {seconds} s");
        assert!(tail >= 3, "{tail} in {seconds} s");
        assert_eq!(others, 0);
        let lines = monitor.lines().await;
        let named = |name: &str| lines.iter().filter(|line| line.contains(name)).count() as u64;
        assert!(named("XREAD").abs_diff(tail) <= 1);
        assert!(named("\"GET\"").abs_diff(tail) <= 1);
        assert!(named("\"TYPE\"").abs_diff(tail) <= 1);
        assert!(lines.len() as u64 <= 3 * tail + 3, "{lines:?}");

        // Each event is a batch if the next one is published after its arrival.
        let mut subscription = hub.subscribe(["topic"]);
        proxy.take();
        let start = Instant::now();
        for _ in 0..200 {
            append(&direct, "a").await;
            let event = within("the event", subscription.next()).await;
            assert!(event.is_some());
        }
        let [tail, others] = proxy.take();
        let heartbeats = start.elapsed().as_secs() + 2;
        assert!((199..=200 + heartbeats).contains(&tail), "{tail}");
        assert_eq!(others, 0);

        // A publish is one round trip, and so is a page of a replay.
        for _ in 0..50 {
            let published = hub.publish("topic", Event::data("a"));
            within("a publish", published).await.unwrap();
        }
        let [_, others] = proxy.take();
        // A new connection introduces itself.
        assert!((50..=54).contains(&others), "{others}");
        let first = within("the first entry", log.first())
            .await
            .unwrap()
            .unwrap();
        proxy.take();
        within("a page", log.read(first.at, 500)).await.unwrap();
        assert_eq!(proxy.take()[1], 1);
        hub.close();
    }
}
