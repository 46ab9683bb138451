//! `MemoryLog`, the log in memory.

use std::{sync::Arc, time::Duration};

use http_sse::{
    EncodedEvent, Event,
    hub::{EventLog as _, MemoryLog, Page, Position},
};
use tokio::time::{Instant, sleep};

use crate::deadline::{finished, within};

async fn entries(log: &MemoryLog, after: u64, upto: Option<u64>, max: usize) -> Option<Vec<u64>> {
    let at = |lo| Position::new(7, lo);
    // has a deadline: it is awaited below
    let page = log.read(at(after), upto.map(at), max);
    match within("a page", page).await.unwrap() {
        Page::Entries(entries) => Some(entries.iter().map(|entry| entry.at.lo()).collect()),
        Page::Gap => None,
    }
}

async fn append(log: &MemoryLog, data: &str, key: Option<&str>) -> u64 {
    let event = EncodedEvent::new(Event::data(data.to_owned())).unwrap();
    let at = within("an append", log.append("x", event, key)).await;
    at.unwrap().lo()
}

#[tokio::test(start_paused = true)]
async fn it_reads_after_a_kept_entry_or_the_last_dropped_one() {
    let log = MemoryLog::new(7, 4);
    assert_eq!(entries(&log, 0, None, 9).await, Some(vec![]));
    for n in 1..=6 {
        assert_eq!(append(&log, "x", None).await, n);
    }
    assert_eq!(entries(&log, 1, None, 9).await, None);
    assert_eq!(entries(&log, 2, None, 9).await, Some(vec![3, 4, 5, 6]));
    assert_eq!(entries(&log, 2, None, 3).await, Some(vec![3, 4, 5]));
    assert_eq!(entries(&log, 2, Some(4), 9).await, Some(vec![3, 4]));
    assert_eq!(entries(&log, 3, Some(9), 9).await, Some(vec![4, 5, 6]));
    assert_eq!(entries(&log, 6, None, 9).await, Some(vec![]));
    assert_eq!(entries(&log, 7, None, 9).await, None);
    log.trim(1);
    assert_eq!(entries(&log, 4, None, 9).await, None);
    assert_eq!(entries(&log, 5, None, 9).await, Some(vec![6]));
    log.trim(0);
    assert_eq!(entries(&log, 6, None, 9).await, Some(vec![]));
    let head = within("the head", log.head()).await.unwrap();
    assert_eq!(head, Position::new(7, 6));
}

#[tokio::test(start_paused = true)]
async fn it_remembers_the_keys_of_kept_entries() {
    let log = MemoryLog::new(7, 2);
    assert_eq!(append(&log, "x", Some("a")).await, 1);
    assert_eq!(append(&log, "x", None).await, 2);
    assert_eq!(
        append(&log, "x", None).await,
        3,
        "without a key nothing is a duplicate"
    );
    assert_eq!(append(&log, "x", Some("b")).await, 4);
    assert_eq!(append(&log, "x", Some("b")).await, 4);
    assert_eq!(
        append(&log, "x", Some("a")).await,
        5,
        "its first entry was dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_an_entry_or_the_timeout() {
    let log = Arc::new(MemoryLog::new(7, 4));
    let wait = {
        let log = log.clone();
        move |max| {
            let log = log.clone();
            async move {
                let start = Instant::now();
                let entries = log.wait(Position::new(7, 1), max, Duration::from_secs(2));
                let entries = within("entries", entries).await.unwrap();
                (entries.len(), start.elapsed())
            }
        }
    };
    append(&log, "x", None).await;
    assert_eq!(
        within("the entries", wait(9)).await,
        (0, Duration::from_secs(2))
    );
    let waits = tokio::spawn(wait(9));
    sleep(Duration::from_secs(1)).await;
    append(&log, "x", None).await;
    assert_eq!(
        finished("the waiting task", waits).await,
        (1, Duration::from_secs(1))
    );
    append(&log, "x", None).await;
    assert_eq!(within("the entries", wait(9)).await, (2, Duration::ZERO));
    assert_eq!(within("the entries", wait(1)).await, (1, Duration::ZERO));
}
