//! Bounds of a replay from the log: events and bytes of the client's topics, and all entries read.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    EncodedEvent, Event, Hub,
    hub::{EventLog as _, MemoryLog, Position, Record},
};

use super::{Node, last, read, reset, wire};
use crate::deadline::within;

const FIRST: Position = Position::new(7, 1);

/// Returns a log of this many entries, whose topic and data `entry` returns.
async fn log_of<'a>(entries: u64, entry: impl Fn(u64) -> (&'a str, String)) -> Arc<MemoryLog> {
    let log = MemoryLog::new(7, entries as usize);
    for n in 1..=entries {
        let (topic, data) = entry(n);
        let record = Record::Event {
            event: EncodedEvent::new(Event::data(data)).unwrap(),
            coalesce: None,
        };
        within("an append", log.append(topic, record, None))
            .await
            .unwrap();
    }
    Arc::new(log)
}

/// Returns what a client gets that resumes after the first entry.
async fn resumed(hub: &Node) -> String {
    read(&mut hub.subscribe(["x"]).after(last(FIRST))).await
}

/// Returns a log with `foreign` entries between the first event of `x` and the last two.
async fn log_with_foreign(foreign: u64) -> (Arc<MemoryLog>, String) {
    let entry = |n: u64| {
        let is_foreign = (2..=foreign + 1).contains(&n);
        let topic = if is_foreign { "foreign" } else { "x" };
        let data = if is_foreign {
            String::new()
        } else {
            n.to_string()
        };
        (topic, data)
    };
    let log = log_of(foreign + 3, entry).await;
    let last_two = [foreign + 2, foreign + 3];
    let last_two = last_two.map(|n| wire(&n.to_string(), Position::new(7, n)));
    (log, last_two.concat())
}

#[tokio::test(start_paused = true)]
async fn events_of_other_topics_do_not_count_as_missed() {
    let (log, last_two) = log_with_foreign(11_000).await;
    let hub = Node::start(&log, 1).await;
    assert_eq!(resumed(&hub).await, last_two);
}

#[tokio::test(start_paused = true)]
async fn at_most_200_000_entries_are_read_for_a_client() {
    for (foreign, is_read) in [(199_998, true), (200_000, false)] {
        let (log, last_two) = log_with_foreign(foreign).await;
        let hub = Node::start(&log, 1).await;
        let expected = if is_read {
            last_two
        } else {
            reset("expired", hub.head())
        };
        assert_eq!(resumed(&hub).await, expected, "{foreign}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_missed_more_than_10_000_events_is_reset_once() {
    for (missed, is_read) in [(10_001, true), (10_501, false)] {
        let log = log_of(missed + 1, |n| ("x", n.to_string())).await;
        let hub = Node::start(&log, 1).await;
        let expected = if is_read {
            let missed = (2..=missed + 1).map(|n| wire(&n.to_string(), Position::new(7, n)));
            missed.collect()
        } else {
            reset("expired", hub.head())
        };
        assert!(resumed(&hub).await == expected, "{missed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_missed_more_than_4_mib_is_reset_once() {
    const LIMIT: usize = 4 << 20;
    for (bytes, is_read) in [(LIMIT, true), (LIMIT + 1, false), (10 * LIMIT, false)] {
        // The last event fills up what the others leave.
        let others = (bytes / 100_000) as u64 - 1;
        let data = |n: u64| "x".repeat(if n <= others { 99_000 } else { 1 });
        let missed = (2..=others + 1).map(|n| wire(&data(n), Position::new(7, n)));
        let sum: usize = missed.map(|event| event.len()).sum();
        let data = |n: u64| "x".repeat(data(n).len() + if n > others { bytes - sum } else { 0 });
        let log = log_of(others + 1, |n| ("x", data(n))).await;
        let hub = Node::start(&log, 1).await;
        let missed = (2..=others + 1).map(|n| wire(&data(n), Position::new(7, n)));
        let missed: String = missed.collect();
        assert_eq!(missed.len(), bytes);
        let expected = if is_read {
            missed
        } else {
            reset("expired", hub.head())
        };
        assert!(resumed(&hub).await == expected, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replay_comes_in_pieces_of_about_32_kib() {
    const BUDGET: usize = 32 * 1024;
    let data = "x".repeat(1_000);
    let event = wire(&data, Position::new(7, 1_000)).len();
    let log = log_of(3_000, |_| ("x", data.clone())).await;
    let hub = Node::start(&log, 1).await;
    let mut resumed = hub.subscribe(["x"]).after(last(FIRST));
    let mut pieces = vec![within("the first piece", resumed.next()).await.unwrap()];
    while let Some(Some(piece)) = resumed.next().now_or_never() {
        pieces.push(piece);
    }
    let events: u64 = pieces.iter().map(|piece| piece.count()).sum();
    assert_eq!(events, 2_999);
    // The last piece from the log and the one of the history may be smaller.
    let full = pieces.len() - 2;
    assert!(full > 80, "{full}");
    for piece in &pieces[..full] {
        let bytes = piece.as_bytes().len();
        assert!((BUDGET..BUDGET + event).contains(&bytes), "{bytes}");
    }
}

/// The bound on the history of all topics has no effect on a replay from the log.
#[tokio::test(start_paused = true)]
async fn a_hub_without_a_history_replays_from_the_log() {
    let log = log_of(600, |n| (["x", "y"][n as usize % 2], n.to_string())).await;
    let hub = Hub::builder().memory(0).distributed(log.clone());
    let hub = Node::of(within("the log to be loaded", hub).await.unwrap());
    let expected: String = (2..=600)
        .filter(|n| n % 2 == 0)
        .map(|n: u64| wire(&n.to_string(), Position::new(7, n)))
        .collect();
    assert_eq!(resumed(&hub).await, expected);
}
