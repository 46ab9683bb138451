//! The errors of `RedisLog`: what each says, and whether an append may be repeated.

use std::time::Duration;

use http_sse::hub::{AppendError, EventLog as _, Position, RedisLog, RedisLogError, RedisWarning};
use tokio::time::Instant;

use crate::{
    deadline::within,
    log::{STREAM, append, connect, event},
    redis_server::{Engine, RedisServer},
};

async fn connect_error(url: &str) -> RedisLogError {
    within("an error", RedisLog::connect(url))
        .await
        .unwrap_err()
}

/// Appends, and returns the kind of the error and the error itself.
async fn append_error(log: &RedisLog) -> (&'static str, RedisLogError) {
    let appended = within("an error", log.append("topic", event("a"), None)).await;
    let (kind, error) = match appended.unwrap_err() {
        AppendError::NotWritten(error) => ("not written", error),
        AppendError::Unknown(error) => ("unknown", error),
        AppendError::Rejected(error) => ("rejected", error),
        other => panic!("{other}"),
    };
    (kind, *error.downcast().unwrap())
}

#[tokio::test]
async fn a_malformed_address_is_rejected_at_once() {
    let urls = [
        "",
        "localhost",
        "http://localhost",
        "redis://",
        "redis://h/x",
        "redis://h:99999",
    ];
    for url in urls {
        let error = connect_error(url).await;
        assert!(
            matches!(error, RedisLogError::InvalidConfiguration(_)),
            "{url:?}: {error}"
        );
    }
    let builders = [
        RedisLog::builder("redis://h").prefix(""),
        RedisLog::builder("redis://h").prefix("}"),
        RedisLog::sentinel_builder("m", ["redis://h", "?"]),
        RedisLog::sentinel_builder("m", [] as [&str; 0]),
    ];
    for builder in builders {
        let error = within("an error", builder.connect()).await.unwrap_err();
        assert!(
            matches!(error, RedisLogError::InvalidConfiguration(_)),
            "{error}"
        );
    }
}

/// Without a server, with one that does not answer, and with Sentinels that are away.
#[tokio::test]
async fn an_absent_server_is_an_error_after_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://{}", silent.local_addr().unwrap());
    let absent = "redis://127.0.0.1:1";
    let time = Duration::from_millis(300);
    let builders = [
        (RedisLog::builder(absent), false),
        (RedisLog::sentinel_builder("m", [absent]), false),
        (RedisLog::builder(&silent), true),
        (RedisLog::sentinel_builder("m", [&silent]), true),
    ];
    for (builder, is_silent) in builders {
        let builder = builder.connect_timeout(time).command_timeout(time);
        let start = Instant::now();
        let error = within("an error", builder.clone().connect())
            .await
            .unwrap_err();
        assert!(matches!(error, RedisLogError::Unavailable(_)), "{error}");
        assert!(
            !is_silent || start.elapsed() >= time,
            "{:?}",
            start.elapsed()
        );

        let start = Instant::now();
        let patient = builder.retry_for(2 * time);
        let error = within("an error", patient.connect()).await.unwrap_err();
        assert!(matches!(error, RedisLogError::Unavailable(_)), "{error}");
        assert!(start.elapsed() >= 2 * time, "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_builder_waits_for_a_server_that_starts_later() {
    let Some(mut server) = RedisServer::start(Engine::Redis, &[]).await else {
        return;
    };
    server.kill();
    let builder = RedisLog::builder(&server.url()).retry_for(Duration::MAX);
    let waiting = tokio::spawn(connect(builder));
    within("the server to start", server.restart()).await;
    let log = within("the log", waiting).await.unwrap();
    append(&log, "a").await;
}

#[tokio::test]
async fn a_key_of_another_type_is_named() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let log = connect(RedisLog::builder(&server.url())).await;
        server.command(&["DEL", STREAM]).await;
        server.command(&["SET", STREAM, "x"]).await;
        let wrong = RedisLogError::WrongType(STREAM.to_owned());
        assert_eq!(append_error(&log).await, ("rejected", wrong.clone()));
        assert_eq!(connect_error(&server.url()).await, wrong);
        let read = within("a page", log.read(Position::new(1, 1), 9)).await;
        let read = *read.unwrap_err().downcast::<RedisLogError>().unwrap();
        assert_eq!(read, wrong);
        assert_eq!(
            wrong.to_string(),
            "the key {http-sse}:log in Redis holds something other than a log"
        );
    }
}

#[tokio::test]
async fn a_full_server_rejects_and_an_evicting_one_is_warned_of() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let log = connect(RedisLog::builder(&server.url())).await;
        assert!(log.warnings().is_empty());
        server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
        assert_eq!(
            append_error(&log).await,
            ("rejected", RedisLogError::OutOfMemory)
        );
        server.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
        append(&log, "a").await;

        let policy = ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"];
        server.command(&policy).await;
        let log = connect(RedisLog::builder(&server.url())).await;
        assert!(
            log.warnings().is_empty(),
            "without a limit nothing is evicted"
        );
        server
            .command(&["CONFIG", "SET", "maxmemory", "100mb"])
            .await;
        let log = connect(RedisLog::builder(&server.url())).await;
        let warning = RedisWarning::EvictionPolicy("allkeys-lru".to_owned());
        assert_eq!(log.warnings(), [warning]);
        assert_eq!(
            log.warnings()[0].to_string(),
            "Redis may drop the log or its keys, because its maxmemory-policy is allkeys-lru"
        );
    }
}

#[tokio::test]
async fn a_missing_permission_names_the_command() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        // Gives the user `sse` these commands alone.
        let permit = async |commands: &str| {
            let set = format!("ACL SETUSER sse reset on >secret ~* {commands}");
            server.command(&set.split(' ').collect::<Vec<_>>()).await;
        };
        let url = server.url().replace("redis://", "redis://sse:secret@");
        // All that is needed.
        const NEEDED: &str = "+info +evalsha +eval +get +set +type +xadd +xdel +xrange \
                              +xrevrange +xread +xtrim";
        permit(NEEDED).await;
        let log = connect(RedisLog::builder(&url).max_age(Duration::from_secs(9))).await;
        assert!(log.warnings().is_empty());
        let at = append(&log, "a").await;
        let keyed = within("an append", log.append("t", event("a"), Some("k"))).await;
        keyed.unwrap();
        let mut tail = within("a tail", log.tail(at)).await.unwrap();
        within("a page", tail.next(9)).await.unwrap();

        for missing in [
            "eval",
            "evalsha",
            "get",
            "set",
            "type",
            "xadd",
            "xdel",
            "xrange",
            "xread",
            "xrevrange",
            "xtrim",
        ] {
            server.command(&["SCRIPT", "FLUSH"]).await;
            permit(&format!("{NEEDED} -{missing}")).await;
            let RedisLogError::NoPermission(text) = connect_error(&url).await else {
                panic!("{missing}");
            };
            assert!(text.contains(&format!("'{missing}'")), "{text}");
        }
        permit(&format!("{NEEDED} -info")).await;
        let log = connect(RedisLog::builder(&url)).await;
        assert_eq!(log.warnings(), [RedisWarning::InfoDenied]);

        permit(&format!("{NEEDED} -xadd")).await;
        let (kind, error) = append_error(&log).await;
        assert_eq!(kind, "rejected");
        assert!(matches!(error, RedisLogError::NoPermission(_)), "{error}");

        // It fails after the entry was written, and the key is remembered.
        let builder = RedisLog::builder(&url).max_age(Duration::from_secs(9));
        permit(NEEDED).await;
        let log = connect(builder).await;
        permit(&format!("{NEEDED} -xtrim")).await;
        let (kind, error) = append_error(&log).await;
        assert_eq!(kind, "unknown");
        assert!(matches!(error, RedisLogError::NoPermission(_)), "{error}");
        let keyed = || within("an append", log.append("t", event("a"), Some("again")));
        // has a deadline: `keyed` calls `within`
        assert!(matches!(keyed().await, Err(AppendError::Unknown(_))));
        // has a deadline: `keyed` calls `within`
        keyed().await.unwrap();

        let wrong = server.url().replace("redis://", "redis://sse:wrong@");
        let error = connect_error(&wrong).await;
        assert!(
            matches!(error, RedisLogError::AuthenticationFailed(_)),
            "{error:?}"
        );
        let builder = RedisLog::builder(&wrong).credentials(Some("sse"), "secret");
        permit(NEEDED).await;
        append(&connect(builder).await, "a").await;
    }
}

#[tokio::test]
async fn a_missing_password_is_named() {
    for engine in Engine::ALL {
        let Some(server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let url = server.url();
        server
            .command(&["ACL", "SETUSER", "other", "on", "nopass", "~*", "+@all"])
            .await;
        server
            .command(&["ACL", "SETUSER", "default", ">secret"])
            .await;
        let other = url.replace("redis://", "redis://other:x@");
        let builder = RedisLog::builder(&other).credentials(None, "secret");
        append(&connect(builder).await, "a").await;
        for user in ["", "unknown:x@"] {
            let url = url.replace("redis://", &format!("redis://{user}"));
            let error = connect_error(&url).await;
            assert!(
                matches!(error, RedisLogError::AuthenticationFailed(_)),
                "{error:?}"
            );
        }
    }
}

/// A server that vanished, hangs, or became a replica.
#[tokio::test]
async fn an_append_says_whether_it_may_be_repeated() {
    for engine in Engine::ALL {
        let Some(mut server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let time = Duration::from_millis(300);
        let log = connect(RedisLog::builder(&server.url()).command_timeout(time)).await;
        append(&log, "a").await;
        server.freeze();
        let start = Instant::now();
        let (kind, error) = append_error(&log).await;
        assert_eq!(kind, "unknown", "{error}");
        assert!(matches!(error, RedisLogError::Unavailable(_)), "{error:?}");
        assert!(start.elapsed() >= time);
        server.thaw();
        append(&log, "a").await;

        // The first call finds the connection closed.
        server.kill();
        let (kind, error) = append_error(&log).await;
        assert_eq!(kind, "unknown", "{error}");
        let (kind, error) = append_error(&log).await;
        assert_eq!(kind, "not written", "{error}");
        within("the server to start", server.restart()).await;
        append(&log, "a").await;

        server.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
        let error = connect_error(&server.url()).await;
        assert!(matches!(error, RedisLogError::Unavailable(_)), "{error:?}");
        let (kind, error) = append_error(&log).await;
        assert_eq!(kind, "not written", "{error}");
        assert!(matches!(error, RedisLogError::Unavailable(_)), "{error:?}");
        server.command(&["REPLICAOF", "NO", "ONE"]).await;
        append(&log, "a").await;
        // The scripts are stored again.
        server.command(&["SCRIPT", "FLUSH"]).await;
        append(&log, "a").await;
    }
}
