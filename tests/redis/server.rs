//! The tests' own servers: what a killed, frozen or replaced one keeps and answers.

use std::{process::Command, time::Duration};

use redis::{Value, from_redis_value, sentinel::Sentinel};

use crate::{
    deadline::{PATIENCE, exited, within},
    redis_server::{Engine, RedisServer},
    sentinels::{SERVICE, Sentinels},
};

const EVERY_SECOND: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "everysec"];

/// The deadline of a command that a frozen server does not answer.
const SHORT: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_killed_server_keeps_acknowledged_writes_if_it_logs_them() {
    for engine in Engine::ALL {
        for (options, kept) in [(&EVERY_SECOND[..], "1"), (&[], "none")] {
            let Some(mut server) = RedisServer::start(engine, options).await else {
                continue;
            };
            let (url, port) = (server.url(), server.port());
            assert_eq!(url, format!("redis://127.0.0.1:{port}/"));
            set(&server, "a", "1").await;
            // The kernel then has the write, and keeps it unless the machine fails.
            if !options.is_empty() {
                within("the write to be logged", async {
                    while server.info("aof_buffer_length").await.unwrap() != "0" {}
                })
                .await;
            }
            server.kill();
            let killed = server.try_command(PATIENCE, &["PING"]).await;
            assert!(killed.unwrap_err().is_connection_refusal());
            server.restart().await;
            assert_eq!(server.url(), url);
            assert_eq!(get(&server, "a").await, kept, "{engine:?} {options:?}");
        }
    }
}

#[tokio::test]
async fn a_frozen_server_answers_after_it_thaws() {
    for engine in Engine::ALL {
        let Some(mut server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        set(&server, "a", "1").await;
        server.freeze();
        let frozen = server.try_command(SHORT, &["GET", "a"]).await;
        assert!(frozen.unwrap_err().is_timeout());
        server.thaw();
        assert_eq!(get(&server, "a").await, "1");
        server.freeze();
        server.restart().await;
        assert_eq!(get(&server, "a").await, "none");
        server.freeze(); // and dropped
    }
}

#[tokio::test]
async fn a_monitor_has_the_commands_of_each_client() {
    for engine in Engine::ALL {
        let Some(mut server) = RedisServer::start(engine, &[]).await else {
            continue;
        };
        let monitor = server.monitor().await;
        let client = redis::Client::open(server.url()).unwrap();
        let mut addresses = Vec::new();
        for sent in 1..=2 {
            let connection = client.get_multiplexed_async_connection();
            let mut connection = within("a connection", connection).await.unwrap();
            let mut send = async |command: &str| -> String {
                let command = redis::cmd(command.split(' ').next().unwrap())
                    .arg(command.split(' ').skip(1).collect::<Vec<_>>())
                    .to_owned();
                let answer = within("an answer", command.query_async(&mut connection)).await;
                answer.unwrap()
            };
            for _ in 0..sent {
                send("SET a 1").await;
            }
            let info = send("CLIENT INFO").await;
            let address = info
                .split(' ')
                .find_map(|field| field.strip_prefix("addr="));
            addresses.push(address.unwrap().to_owned());
        }
        set(&server, "a", "2").await;
        let sets = |lines: Vec<String>| lines.iter().filter(|it| it.contains("\"SET\"")).count();
        assert_eq!(sets(monitor.lines_of(&addresses[0]).await), 1);
        assert_eq!(sets(monitor.lines_of(&addresses[1]).await), 2);
        assert_eq!(sets(monitor.lines().await), 3);
        server.kill();
        assert_eq!(sets(monitor.lines().await), 3);
    }
}

#[tokio::test]
async fn a_failover_loses_acknowledged_writes() {
    for engine in Engine::ALL {
        let Some(mut sentinels) = Sentinels::start(engine, &EVERY_SECOND).await else {
            continue;
        };
        set(&sentinels.master, "a", "kept").await;
        sentinels.master.command(&["WAIT", "1", "0"]).await;
        sentinels.cut_off_replica().await;
        set(&sentinels.master, "a", "lost").await;
        let before = sentinels.master.port();
        sentinels.fail_over().await;
        assert_ne!(sentinels.master.port(), before);
        assert_eq!(get(&sentinels.master, "a").await, "kept");

        let mut client = Sentinel::build(sentinels.urls()).unwrap();
        let found = client.async_master_for(SERVICE, None);
        let found = within("a Sentinel's answer", found).await.unwrap();
        let connection = found.get_multiplexed_async_connection();
        let mut connection = within("the new master", connection).await.unwrap();
        let mut write = redis::cmd("SET");
        let write = write.arg("a").arg("new").query_async(&mut connection);
        let answer: Value = within("an answer", write).await.unwrap();
        assert_eq!(answer, Value::Okay);

        // The old master had logged its own write, and drops it as a replica.
        sentinels.restart_replica().await;
        assert_eq!(sentinels.replica.port(), before);
        assert_eq!(get(&sentinels.replica, "a").await, "new");
    }
}

#[tokio::test]
async fn a_server_with_tls_has_a_certificate_of_its_authority() {
    let Some(mut server) = RedisServer::start_tls(Engine::Redis, &[]).await else {
        return;
    };
    let port = server.port().to_string();
    assert_eq!(server.url(), format!("rediss://127.0.0.1:{port}/"));
    assert!(server.ca_pem().starts_with("-----BEGIN CERTIFICATE-----\n"));
    server.restart().await;
    for host in ["127.0.0.1", "localhost"] {
        // Part of the package that has the server.
        let mut client = Command::new("redis-cli");
        client
            .args(["-h", host, "-p", &port, "--tls", "--sni", host])
            .arg("--cacert")
            .arg(server.ca_path())
            .args(["SET", host, "1"]);
        let status = exited("redis-cli to end", &mut client.spawn().unwrap());
        assert!(status.success(), "{client:?}: {status}");
        assert_eq!(get(&server, host).await, "1");
    }
}

async fn set(server: &RedisServer, key: &str, value: &str) {
    let answer = server.command(&["SET", key, value]).await;
    assert_eq!(answer, Value::Okay);
}

/// Returns the value of a key, or `none`.
async fn get(server: &RedisServer, key: &str) -> String {
    let value = server.command(&["GET", key]).await;
    let value: Option<String> = from_redis_value(value).unwrap();
    value.unwrap_or_else(|| "none".to_owned())
}
