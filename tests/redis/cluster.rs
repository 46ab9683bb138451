//! The example `cluster`, as a program and in a browser.

use std::net::SocketAddr;

use crate::{
    http1::Answer,
    process::Process,
    raw_client::RawClient,
    redis_server::{Engine, RedisServer},
    skip::skipped,
    webdriver::Browser,
};

#[tokio::test]
async fn a_stream_continues_after_its_node_is_killed() {
    let Some(redis) = RedisServer::start(Engine::Redis, &[]).await else {
        return;
    };
    let (_front, address) = Process::serve_with("cluster", &[("REDIS_URL", &redis.url())]);

    let (mut client, mut body) = read(address, "").await;
    let (node, ..) = parse(&body);
    let killed = Answer::to(address, &format!("POST /kill/{node}"), "", "");
    assert!(killed.head.starts_with("http/1.1 204 "), "{}", killed.head);
    let end = loop {
        match client.chunk().await {
            Ok(Some(chunk)) => body += &chunk,
            end => break end,
        }
    };
    assert!(end.is_err(), "the stream ended as if it were complete");

    // The client is away for 50 numbers, which another one reads.
    read(address, "").await;
    let (_, mut numbers, last) = parse(&body);
    let (_client, body) = read(address, &format!("last-event-id: {last}\r\n")).await;
    let (_, after, _) = parse(&body);
    numbers.extend(after);
    let all: Vec<_> = (numbers[0]..).take(numbers.len()).collect();
    assert_eq!(numbers, all);
}

#[tokio::test]
async fn a_node_that_does_not_exist_is_not_found() {
    let Some(redis) = RedisServer::start(Engine::Redis, &[]).await else {
        return;
    };
    let (_front, address) = Process::serve_with("cluster", &[("REDIS_URL", &redis.url())]);
    for node in [0, 4] {
        let killed = Answer::to(address, &format!("POST /kill/{node}"), "", "");
        assert!(killed.head.starts_with("http/1.1 404 "), "{}", killed.head);
    }
}

#[tokio::test]
async fn the_page_misses_and_doubles_nothing_over_twenty_killed_nodes() {
    const KILLS: usize = 20;
    let Some(redis) = RedisServer::start(Engine::Redis, &[]).await else {
        return;
    };
    let Some(browser) = Browser::start("cluster") else {
        return skipped("chromium or chromedriver");
    };
    let (_front, address) = Process::serve_with("cluster", &[("REDIS_URL", &redis.url())]);
    browser.open(&format!("http://{address}/"));
    let shows = |id: &str| format!("Number(document.querySelector('#{id}').textContent)");
    let number = |id: &str| browser.run(&format!("return {}", shows(id)));
    let more_numbers = |more: usize| {
        let before = number("last");
        browser.wait_for(&format!("{} >= {before} + {more}", shows("last")));
    };

    browser.wait_for(&format!("{} > 0", shows("last")));
    for kills in 0..KILLS {
        more_numbers(10);
        let node = number("node");
        browser.run(&format!("document.querySelector('#kill-{node}').click()"));
        browser.wait_for(&format!("{} > {kills} + 1", shows("connections")));
    }
    more_numbers(100);
    for (id, expected) in [("missing", 0), ("doubled", 0), ("resets", 0)] {
        assert_eq!(number(id), expected, "{id}");
    }
    assert_eq!(number("connections"), 1 + KILLS);
    println!("{} is the last number", number("last"));
}

#[cfg(target_os = "linux")]
mod processes {
    use std::fs;

    use super::{Engine, Process, RedisServer};
    use crate::deadline::until_blocking;

    #[test]
    fn a_stopped_front_stops_its_nodes_and_its_redis() {
        if Engine::Redis.program().is_none() {
            return;
        }
        let (mut front, _) = Process::serve("cluster");
        let children = children(&front, 4);
        front.terminate();
        assert!(front.end().success());
        assert_all_end(&children);
    }

    #[tokio::test]
    async fn a_killed_front_stops_its_nodes() {
        let Some(redis) = RedisServer::start(Engine::Redis, &[]).await else {
            return;
        };
        let (front, _) = Process::serve_with("cluster", &[("REDIS_URL", &redis.url())]);
        let children = children(&front, 3);
        drop(front);
        assert_all_end(&children);
    }

    /// Waits until a process has this number of children, and returns their ids.
    #[track_caller]
    fn children(parent: &Process, number: usize) -> Vec<u32> {
        let parent = parent.id().to_string();
        let mut children = Vec::new();
        until_blocking(format!("{number} children of a process"), || {
            let all = fs::read_dir("/proc").unwrap();
            let all = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
            children = all
                .filter(|id| stat(*id).is_some_and(|stat| stat[1] == parent))
                .collect();
            children.len() == number
        });
        children
    }

    #[track_caller]
    fn assert_all_end(processes: &[u32]) {
        for id in processes {
            until_blocking("a child of a process that has ended to end", || {
                // A zombie has ended too.
                stat(*id).is_none_or(|stat| stat[0] == "Z")
            });
        }
    }

    /// Returns the state of a process, the id of its parent, and further fields.
    fn stat(id: u32) -> Option<Vec<String>> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (_, fields) = stat.rsplit_once(") ")?;
        Some(fields.split(' ').map(str::to_owned).collect())
    }
}

/// Opens a stream and reads 50 numbers.
async fn read(address: SocketAddr, headers: &str) -> (RawClient, String) {
    let mut client = RawClient::get(address, "/events", headers).await;
    let (status, headers) = client.head().await;
    assert_eq!(
        (status.as_u16(), &headers["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    let mut body = String::new();
    while body.matches("\nid: ").count() < 50 {
        let chunk = client.chunk().await.unwrap();
        body += &chunk.expect("a stream that goes on");
    }
    (client, body)
}

/// Returns the node of a stream, its numbers, and the last id.
fn parse(body: &str) -> (&str, Vec<u64>, &str) {
    let body = body.strip_prefix(":\nretry: 200\nevent: node\ndata: ");
    let (node, events) = body.unwrap().split_once("\n\n").unwrap();
    // The last event may be incomplete.
    let (events, _) = events.rsplit_once("\n\n").unwrap();
    let events = events.split("\n\n").map(|event| {
        let (number, id) = event.split_once("\nid: ").expect(event);
        let number = number.strip_prefix("data: ").expect(event);
        (number.parse::<u64>().unwrap(), id)
    });
    let (numbers, ids): (Vec<_>, Vec<_>) = events.unzip();
    (node, numbers, ids.last().unwrap())
}
