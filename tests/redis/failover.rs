//! Servers that change: a master that Sentinels replace, and one with TLS.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub,
    hub::{EventLog as _, Page, RedisLog, RedisLogError},
};

use crate::{
    deadline::{Background, within},
    log::{append, connect, event},
    redis_server::{Engine, RedisServer},
    sentinels::{SERVICE, Sentinels},
};

/// Acknowledged events are lost at the failover. Who had them is reset, and the hub goes on.
#[tokio::test]
async fn a_failover_that_loses_events_is_a_reset() {
    for engine in Engine::ALL {
        let Some(mut servers) = Sentinels::start(engine, &[]).await else {
            continue;
        };
        let time = Duration::from_millis(500);
        let builder = RedisLog::sentinel_builder(SERVICE, servers.urls());
        let log = connect(builder.command_timeout(time)).await;
        let hub = Hub::builder().distributed(Arc::new(log.clone()));
        let hub = within("the hub", hub).await.unwrap();
        let follows = hub.clone();
        let _follows = Background::spawn(async move {
            within("the hub to be closed", follows.follow()).await;
        });
        let mut subscription = hub.subscribe(["topic"]);
        let mut next = async || {
            let events = within("an event", subscription.next()).await.unwrap();
            String::from_utf8(events.into_bytes().to_vec()).unwrap()
        };
        let kept = append(&log, "kept").await;
        assert_eq!(next().await, format!("data: kept\nid: {kept}\n\n"));
        let length = ["XLEN", "{http-sse}:log"];
        let length = within("the length", servers.replica.command(&length)).await;
        assert_eq!(length, redis::Value::Int(1));
        servers.cut_off_replica().await;
        let lost = append(&log, "lost").await;
        assert_eq!(next().await, format!("data: lost\nid: {lost}\n\n"));
        servers.fail_over().await;

        let reset = next().await;
        assert!(reset.starts_with("event: reset\ndata: lagged\n"), "{reset}");
        let at = loop {
            let published = hub.publish("topic", Event::data("new"));
            if let Ok(at) = within("a publish", published).await {
                break at;
            }
        };
        assert!(at > kept, "{at} after {kept}");
        assert_eq!(next().await, format!("data: new\nid: {at}\n\n"));
        // The lost event is not in the log, so a client that has it is reset.
        let read = within("a page", log.read(lost, 9)).await.unwrap();
        assert_eq!(read, Page::Gap);
        let read = within("a page", log.read(kept, 9)).await.unwrap();
        assert!(matches!(read, Page::Entries(entries) if entries.len() == 1));
        hub.close();
    }
}

#[tokio::test]
async fn a_server_with_tls_is_verified() {
    let Some(server) = RedisServer::start_tls(Engine::Redis, &[]).await else {
        return;
    };
    let url = server.url();
    let verified = RedisLog::builder(&url).root_certificates(server.ca_pem());
    let log = connect(verified).await;
    let at = append(&log, "a").await;
    let mut tail = within("a tail", log.tail(at)).await.unwrap();
    let next = within("an append", log.append("topic", event("b"), None)).await;
    let page = within("a page", tail.next(9)).await.unwrap();
    assert!(matches!(page, Page::Entries(entries) if entries[0].at == next.unwrap()));

    let unknown = within("an error", RedisLog::connect(&url))
        .await
        .unwrap_err();
    assert!(
        matches!(unknown, RedisLogError::Unavailable(_)),
        "{unknown:?}"
    );
    let plain = url.replace("rediss://", "redis://");
    let plain = within("an error", RedisLog::connect(&plain))
        .await
        .unwrap_err();
    assert!(matches!(plain, RedisLogError::Unavailable(_)), "{plain:?}");
}
