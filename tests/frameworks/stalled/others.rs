//! The effect of a stalled client on the others.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use http_sse::CloseReason;
use tokio::time::sleep;

use super::{
    STALL,
    clients::{comes, request, stall, stalls, start, stream_to},
    servers::serve_hyper,
};
use crate::{raw_client::RawClient, serving::runtime};

/// A stalled client does not affect the others.
///
/// Each event is sent after the previous one has reached all clients, and arrives as one chunk.
/// The sources of the others are polled as often as without the stalled client: neither its stall
/// nor its end wakes them. `cargo bench -p http-sse-peers --bench stalled` prints the delay.
#[test]
fn the_other_999_do_not_notice() {
    const READERS: usize = 999;
    const EVENTS: u64 = 10;
    /// Long enough for all events to arrive earlier.
    const TIMEOUT: Duration = Duration::from_secs(5);

    // This process has both ends of 1,000 connections, and the soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let (_server, address, streams) = start(serve_hyper, |socket| {
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket.set_tcp_user_timeout(Some(TIMEOUT)).unwrap();
    });
    let connections = &streams.connections;
    runtime(1).block_on(async {
        let mut readers = Vec::new();
        for n in 0..READERS {
            let asked = request(&format!("fed-{n}"));
            let mut reader = RawClient::over(stream_to(address).await, asked).await;
            reader.head().await;
            reader.exactly(":\n").await;
            readers.push(reader);
        }
        let fed: Vec<_> = streams.fed.lock().unwrap().drain(..).collect();
        assert_eq!(fed.len(), READERS);

        let mut sent = 0;
        let mut send = async || {
            for _ in 0..EVENTS {
                for fed in &fed {
                    fed.events.send(sent).unwrap();
                }
                for reader in &mut readers {
                    let event = format!("data: {sent}\n\n");
                    assert_eq!(reader.exactly(&event).await, 1);
                }
                sent += 1;
            }
        };
        let mut counted = 0;
        // Returns the number of polls of their sources since the previous call.
        let mut polls = || {
            let now = fed.iter().map(|fed| fed.polls.load(Relaxed)).sum();
            now - std::mem::replace(&mut counted, now)
        };
        polls();
        send().await;
        let without = polls();

        let client = RawClient::over(stream_to(address).await, request("stalled")).await;
        stalls(connections, "stalled").await;
        send().await;
        assert!(stall(connections, "stalled").is_some());
        let with = polls();

        comes("the stalled client to be closed", || {
            connections.totals().closed(CloseReason::ClientGone) == 1
        })
        .await;
        sleep(STALL).await; // otherwise an event may coincide with a wake-up
        send().await;
        let after = polls();

        println!("999 others: {without} polls, {with} with a stalled client, {after} after it");
        // Occasionally an event arrives while the server polls for the next one.
        let woken = without + READERS as u64 / 2;
        assert!(with < woken && after < woken);
        assert_eq!(connections.totals().open, READERS);
        drop(client);
    });
}
