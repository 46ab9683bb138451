//! A server that hangs: nothing waits for it longer than its deadline, and streams stay alive.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use http_sse::{
    Event, Hub, KeepAlive, Sse,
    hub::{AppendError, DistributedHub, EventLog as _, Position, PublishError, RedisLog},
};
use tokio::time::{Instant, timeout};

use crate::{
    deadline::{Background, PATIENCE, until, within, within_time},
    log::{append, connect, event},
    proxy::Proxy,
    redis_server::{Engine, RedisServer},
};

/// Far longer than anything that does not wait for the server.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The longest time that a hub waits for one call of its log, with a margin for a busy machine.
const CALL: Duration = Duration::from_secs(7);

async fn hub(log: &RedisLog, history: usize) -> DistributedHub {
    let hub = Hub::builder()
        .history(history)
        .distributed(Arc::new(log.clone()));
    within("the hub", hub).await.unwrap()
}

fn follow(hub: &DistributedHub) -> Background {
    let hub = hub.clone();
    Background::spawn(async move { within("the hub to be closed", hub.follow()).await })
}

/// Everything here runs on one thread, which a blocking call would stop.
#[tokio::test]
async fn keep_alives_go_on_while_the_server_hangs() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let log = connect(RedisLog::builder(&server.url())).await;
        let hub = hub(&log, 9).await;
        let _follows = follow(&hub);
        let keep_alive = KeepAlive::new().interval(Duration::from_millis(200));
        let response = Sse::new(hub.subscribe(["topic"])).keep_alive(keep_alive);
        let mut body = response.into_response().into_body();
        server.freeze();
        let publishes = {
            let hub = hub.clone();
            tokio::spawn(async move {
                let published = hub.publish("topic", Event::data("a"));
                within("a publish", published).await
            })
        };
        let frozen = Instant::now();
        let (mut frames, mut longest) = (0, Duration::ZERO);
        let mut last = Instant::now();
        // The tail is asked for again in this time.
        while frozen.elapsed() < Duration::from_secs(6) {
            let frame = within("a keep-alive", body.frame()).await.unwrap().unwrap();
            let bytes = frame.into_data().unwrap();
            assert!(bytes.starts_with(b":"), "{bytes:?}");
            frames += 1;
            longest = longest.max(last.elapsed());
            last = Instant::now();

            let start = Instant::now();
            assert_eq!(hub.topics().len(), 1);
            assert!(hub.memory() > 0);
            drop(hub.subscribe(["other"]));
            drop(hub.status());
            assert!(start.elapsed() < AT_ONCE);
        }
        assert!(frames >= 20, "{frames}");
        assert!(longest < AT_ONCE, "{longest:?}");
        assert!(!hub.status().is_connected);
        let published = within("the publish to fail", publishes).await.unwrap();
        assert!(matches!(
            published,
            Err(PublishError::Append(
                AppendError::NotWritten(_) | AppendError::Unknown(_)
            ))
        ));

        server.thaw();
        until("the connection to be back", || hub.status().is_connected).await;
        let at = within("a publish", hub.publish("topic", Event::data("b"))).await;
        let expected = format!("data: b\nid: {}\n\n", at.unwrap());
        let mut seen = String::new();
        while !seen.contains(&expected) {
            let frame = within("the event", body.frame()).await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
        hub.close();
    }
}

#[tokio::test]
async fn a_publish_fails_at_its_deadline() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let time = Duration::from_millis(200);
        let limits = [(time, time), (Duration::MAX, Duration::from_secs(5))];
        for (limit, earliest) in limits {
            let log = connect(RedisLog::builder(&server.url()).command_timeout(limit)).await;
            append(&log, "a").await;
            let hub = hub(&log, 9).await;
            server.freeze();
            let start = Instant::now();
            let published = within("a publish", hub.publish("topic", Event::data("a"))).await;
            let took = start.elapsed();
            server.thaw();
            assert!(matches!(
                published,
                Err(PublishError::Append(AppendError::Unknown(_)))
            ));
            assert!(took >= earliest && took < earliest + AT_ONCE, "{took:?}");
        }
    }
}

/// With a tail that waits, and with clients that read a replay.
#[tokio::test]
async fn a_hub_closes_while_the_server_hangs() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let log = connect(RedisLog::builder(&server.url())).await;
        let first = append(&log, "0").await;
        for _ in 0..100 {
            append(&log, "a").await;
        }
        let hub = hub(&log, 9).await;
        let follows = follow(&hub);
        until("the connection", || hub.status().is_connected).await;
        let after = |at: Position| at.to_string().parse().unwrap();
        server.freeze();
        let mut live = hub.subscribe(["topic"]);
        let mut replays = hub.subscribe(["topic"]).after(after(first));
        let waits = timeout(Duration::from_millis(300), replays.next());
        let waits = within("the time to be over", waits).await;
        assert!(waits.is_err(), "it waits for the server");

        let start = Instant::now();
        hub.close();
        assert!(start.elapsed() < AT_ONCE);
        follows.finished("`follow` to return").await;
        assert!(start.elapsed() < AT_ONCE);
        // Without events it ends with its reason.
        while within_time(AT_ONCE, "the live client's end", live.next())
            .await
            .is_some()
        {}
        while within_time(CALL, "the replay's end", replays.next())
            .await
            .is_some()
        {}
        server.thaw();
    }
}

/// Callers that give up early do not see that the connection fails.
#[tokio::test]
async fn a_silent_connection_is_replaced_although_its_callers_give_up() {
    let Some(server) = RedisServer::start(Engine::Redis, &[]).await else {
        return;
    };
    let proxy = Proxy::start(&server).await;
    let builder = RedisLog::builder(&proxy.url).command_timeout(Duration::from_millis(500));
    let log = connect(builder).await;
    append(&log, "a").await;
    proxy.silence();
    let start = Instant::now();
    loop {
        let appended = log.append("topic", event("b"), None);
        let appended = timeout(Duration::from_millis(100), appended);
        if let Ok(appended) = within("the caller to give up", appended).await {
            appended.unwrap();
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the connection is not replaced");
    }
    assert!(start.elapsed() >= Duration::from_millis(400));
}

/// A page that takes too long to arrive is read again in smaller ones.
#[tokio::test]
async fn a_slow_connection_carries_large_entries() {
    let Some(server) = RedisServer::start(Engine::Redis, &[]).await else {
        return;
    };
    let direct = connect(RedisLog::builder(&server.url())).await;
    let proxy = Proxy::start(&server).await;
    let builder = RedisLog::builder(&proxy.url).command_timeout(Duration::from_millis(500));
    let log = connect(builder).await;
    let hub = hub(&log, 1_000).await;
    let mut last = Position::default();
    for _ in 0..60 {
        last = append(&direct, &"x".repeat(100_000)).await;
    }
    // The first page would take 2.5 s.
    proxy.limit(2_000);
    let _follows = follow(&hub);
    until("the hub to read all entries", || hub.head() == last).await;
    let other = http_sse::Hub::builder().distributed(Arc::new(log.clone()));
    let other = within("another hub", other).await.unwrap();
    assert_eq!(other.head(), last);
    hub.close();
}
