//! `MemoryLog`, the log in memory.

use std::time::Duration;

use http_sse::{
    EncodedEvent, Event,
    hub::{EventLog as _, MemoryLog, Page, Position, Record},
};
use tokio::time::{Instant, sleep};

use crate::deadline::{finished, within};

async fn entries(log: &MemoryLog, after: u64, max: usize) -> Option<Vec<u64>> {
    let at = |lo| Position::new(7, lo);
    // has a deadline: it is awaited below
    let page = log.read(at(after), max);
    match within("a page", page).await.unwrap() {
        Page::Entries(entries) => Some(entries.iter().map(|entry| entry.at.lo()).collect()),
        Page::Gap => None,
    }
}

async fn append(log: &MemoryLog, data: &str, key: Option<&str>) -> u64 {
    let record = Record::Event {
        event: EncodedEvent::new(Event::data(data.to_owned())).unwrap(),
        coalesce: None,
    };
    let at = within("an append", log.append("x", record, key)).await;
    at.unwrap().lo()
}

#[tokio::test(start_paused = true)]
async fn it_reads_after_a_kept_entry_or_the_last_dropped_one() {
    let log = MemoryLog::new(7, 4);
    assert_eq!(entries(&log, 0, 9).await, Some(vec![]));
    for n in 1..=6 {
        assert_eq!(append(&log, "x", None).await, n);
    }
    assert_eq!(entries(&log, 1, 9).await, None);
    assert_eq!(entries(&log, 2, 9).await, Some(vec![3, 4, 5, 6]));
    assert_eq!(entries(&log, 2, 3).await, Some(vec![3, 4, 5]));
    assert_eq!(entries(&log, 3, 9).await, Some(vec![4, 5, 6]));
    assert_eq!(entries(&log, 6, 9).await, Some(vec![]));
    assert_eq!(entries(&log, 7, 9).await, None);
    log.trim(1);
    assert_eq!(entries(&log, 4, 9).await, None);
    assert_eq!(entries(&log, 5, 9).await, Some(vec![6]));
    log.trim(0);
    assert_eq!(entries(&log, 6, 9).await, Some(vec![]));
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
async fn its_tail_waits_for_an_entry_or_a_second() {
    let log = MemoryLog::new(7, 4);
    append(&log, "x", None).await;
    let tail = within("a tail", log.tail(Position::new(7, 1))).await;
    let mut tail = tail.unwrap();
    let start = Instant::now();
    let page = within("a heartbeat", tail.next(9)).await.unwrap();
    assert_eq!(page, Page::Entries(vec![]));
    assert_eq!(start.elapsed(), Duration::from_secs(1));

    let waits = tokio::spawn(async move {
        let page = within("the entry", tail.next(9)).await.unwrap();
        (tail, page)
    });
    sleep(Duration::from_millis(500)).await;
    append(&log, "x", None).await;
    let (mut tail, page) = finished("the waiting task", waits).await;
    assert!(matches!(page, Page::Entries(entries) if entries.len() == 1));
    assert_eq!(start.elapsed(), Duration::from_millis(1_500));

    append(&log, "x", None).await;
    append(&log, "x", None).await;
    let page = within("one entry", tail.next(1)).await.unwrap();
    assert!(matches!(page, Page::Entries(entries) if entries[0].at == Position::new(7, 3)));
}

#[tokio::test(start_paused = true)]
async fn its_tail_counts_the_entries_after_its_answer() {
    let log = MemoryLog::new(7, 9);
    for _ in 0..5 {
        append(&log, "x", None).await;
    }
    let tail = within("a tail", log.tail(Position::new(7, 1))).await;
    let mut tail = tail.unwrap();
    assert_eq!(tail.behind(), None);
    for (max, behind) in [(1, 3), (2, 1), (9, 0)] {
        within("a page", tail.next(max)).await.unwrap();
        assert_eq!(tail.behind(), Some(behind));
    }
    append(&log, "x", None).await;
    assert_eq!(tail.behind(), Some(0), "it was not asked yet");
    log.lose(1);
    within("a gap", tail.next(9)).await.unwrap();
    assert_eq!(tail.behind(), None);
    let tail = within("a tail", log.tail(Position::new(7, 5))).await;
    let mut tail = tail.unwrap();
    within("a heartbeat", tail.next(9)).await.unwrap();
    assert_eq!(tail.behind(), Some(0));
}

/// A tail notices that entries were lost at either end, even if others have taken their place.
#[tokio::test(start_paused = true)]
async fn its_tail_notices_a_gap() {
    let losses: [fn(&MemoryLog); 3] = [|log| log.trim(0), |log| log.lose(1), |log| log.lose(9)];
    for (n, loss) in losses.into_iter().enumerate() {
        let log = MemoryLog::new(7, 9);
        append(&log, "x", None).await;
        append(&log, "x", None).await;
        let tail = within("a tail", log.tail(Position::new(7, 1))).await;
        let mut tail = tail.unwrap();
        loss(&log);
        assert_eq!(append(&log, "x", None).await, 3, "a position is given once");
        let page = within("a page", tail.next(9)).await.unwrap();
        assert_eq!(page, Page::Gap, "{n}");
    }
}
