//! `RedisLog` keeps the contract of an `EventLog`: positions, proofs, idempotency, and bounds.

use std::time::Duration;

use http_sse::{
    EncodedEvent, Event,
    hub::{AppendError, Entry, EventLog, Page, Position, Record, RedisLog, RedisLogBuilder, Tail},
};
use redis::{Value, from_redis_value};
use tokio::time::{Instant, timeout};

use crate::{
    deadline::{PATIENCE, within},
    redis_server::{Engine, RedisServer},
};

/// The keys of a log with the default prefix.
pub(crate) const STREAM: &str = "{http-sse}:log";
const NEWEST: &str = "{http-sse}:newest";

pub(crate) async fn connect(builder: RedisLogBuilder) -> RedisLog {
    within("the log to be opened", builder.connect())
        .await
        .unwrap()
}

/// Starts each engine that is installed, and opens a log on it.
macro_rules! for_each_engine {
    (|$server:ident, $log:ident| $body:block) => {
        for engine in Engine::ALL {
            let Some($server) = RedisServer::start(engine, &[]).await else {
                continue;
            };
            let $log = connect(RedisLog::builder(&$server.url())).await;
            $body
        }
    };
}

pub(crate) fn event(data: &str) -> Record {
    Record::Event {
        event: EncodedEvent::from(Event::data(data.to_owned())),
        coalesce: None,
    }
}

pub(crate) async fn append(log: &RedisLog, data: &str) -> Position {
    try_append(log, event(data), None).await.unwrap()
}

async fn try_append(
    log: &RedisLog,
    record: Record,
    key: Option<&str>,
) -> Result<Position, AppendError> {
    within("an append", log.append("topic", record, key)).await
}

async fn head(log: &RedisLog) -> Position {
    within("the head", log.head()).await.unwrap()
}

async fn read(log: &RedisLog, after: Position, max: usize) -> Page {
    within("a page", log.read(after, max)).await.unwrap()
}

pub(crate) async fn tail(log: &RedisLog, after: Position) -> Box<dyn Tail> {
    within("a tail", log.tail(after)).await.unwrap()
}

async fn next(tail: &mut Box<dyn Tail>) -> Page {
    within("the next page", tail.next(9)).await.unwrap()
}

async fn number(server: &RedisServer, command: &[&str]) -> i64 {
    from_redis_value(server.command(command).await).unwrap()
}

fn positions(page: Page) -> Option<Vec<Position>> {
    match page {
        Page::Entries(entries) => Some(entries.iter().map(|entry| entry.at).collect()),
        Page::Gap => None,
    }
}

#[tokio::test]
async fn every_record_comes_back_as_it_was_appended() {
    for_each_engine!(|_server, log| {
        let start = head(&log).await;
        assert_eq!(within("no entry", log.first()).await.unwrap(), None);
        let coalesced = |key: &str| Record::Event {
            event: EncodedEvent::from(Event::data("a\nb\u{e9}").event_type("t".parse().unwrap())),
            coalesce: Some(key.into()),
        };
        let large = "x".repeat(3 << 20);
        let records = [
            event(""),
            event(&large),
            coalesced(""),
            coalesced("key\r\n"),
            Record::Finish,
            Record::Remove,
            Record::Event {
                event: EncodedEvent::from_static(": comment\n"),
                coalesce: None,
            },
        ];
        let mut expected = Vec::new();
        for (n, record) in records.into_iter().enumerate() {
            let topic: std::sync::Arc<str> = ["", "t \r\n:\u{0}", "topic"][n % 3].into();
            let at = within("an append", log.append(&topic, record.clone(), None)).await;
            let at = at.unwrap();
            expected.push(Entry { at, topic, record });
        }
        let first = within("the first entry", log.first()).await.unwrap();
        assert_eq!(first.as_ref(), expected.first());
        let mut tail = tail(&log, start).await;
        let mut from_tail = Vec::new();
        let mut from_reads = Vec::new();
        let mut last = start;
        while from_tail.len() < expected.len() || from_reads.len() < expected.len() {
            let (Page::Entries(mut new), Page::Entries(mut more)) =
                (next(&mut tail).await, read(&log, last, 2).await)
            else {
                panic!(
                    "a gap after {} or {} entries",
                    from_tail.len(),
                    from_reads.len()
                );
            };
            last = more.last().map_or(last, |last| last.at);
            from_tail.append(&mut new);
            from_reads.append(&mut more);
        }
        assert!(from_tail == expected && from_reads == expected);
        assert_eq!(head(&log).await, last);
    });
}

#[tokio::test]
async fn a_read_proves_that_its_start_is_in_the_log() {
    for_each_engine!(|server, log| {
        let start = head(&log).await;
        assert_eq!(positions(read(&log, start, 9).await), Some(vec![]));
        let a = append(&log, "a").await;
        let b = append(&log, "b").await;
        let c = append(&log, "c").await;
        assert!(start < a && a < b && b < c);
        assert_eq!(positions(read(&log, start, 9).await), Some(vec![a, b, c]));
        assert_eq!(positions(read(&log, start, 2).await), Some(vec![a, b]));
        assert_eq!(positions(read(&log, a, 9).await), Some(vec![b, c]));
        assert_eq!(positions(read(&log, c, 9).await), Some(vec![]));
        let never = [
            Position::default(),
            Position::new(start.hi() - 1, 0),
            Position::new(a.hi(), a.lo() + 99),
            Position::new(c.hi() + 99, 0),
            Position::new(u64::MAX, u64::MAX),
        ];
        for never in never {
            assert_eq!(read(&log, never, 9).await, Page::Gap, "{never}");
        }

        server.command(&["XTRIM", STREAM, "MAXLEN", "1"]).await;
        assert_eq!(read(&log, start, 9).await, Page::Gap);
        assert_eq!(read(&log, a, 9).await, Page::Gap);
        assert_eq!(positions(read(&log, c, 9).await), Some(vec![]));
        server.command(&["XTRIM", STREAM, "MAXLEN", "0"]).await;
        assert_eq!(positions(read(&log, c, 9).await), Some(vec![]));
        assert_eq!(read(&log, start, 9).await, Page::Gap);
        assert_eq!(within("no entry", log.first()).await.unwrap(), None);
        assert_eq!(head(&log).await, c);
        let d = append(&log, "d").await;
        assert_eq!(read(&log, c, 9).await, Page::Gap, "its mark is lost");
        assert_eq!(positions(read(&log, d, 9).await), Some(vec![]));
    });
}

/// An entry that was deleted in the middle, and one that something else has added.
#[tokio::test]
async fn a_broken_chain_is_a_gap() {
    for_each_engine!(|server, log| {
        let a = append(&log, "a").await;
        let b = append(&log, "b").await;
        let c = append(&log, "c").await;
        let mut tail = tail(&log, a).await;
        server.command(&["XDEL", STREAM, &b.to_string()]).await;
        assert_eq!(next(&mut tail).await, Page::Gap);
        assert_eq!(read(&log, a, 9).await, Page::Gap);
        assert_eq!(positions(read(&log, c, 9).await), Some(vec![]));

        let mut after_c = tail_at(&log, c).await;
        server.command(&["XADD", STREAM, "*", "c", "other"]).await;
        assert_eq!(next(&mut after_c).await, Page::Gap);
        assert_eq!(read(&log, c, 9).await, Page::Gap);
        // A log begins after the foreign entry, and nothing is lost from there on.
        let foreign = head(&log).await;
        assert!(foreign > c);
        let mut after_foreign = tail_at(&log, foreign).await;
        assert_eq!(positions(next(&mut after_foreign).await), Some(vec![]));
        let d = append(&log, "d").await;
        assert_eq!(positions(next(&mut after_foreign).await), Some(vec![d]));
        assert_eq!(read(&log, c, 9).await, Page::Gap);
        let e = append(&log, "e").await;
        assert_eq!(positions(read(&log, d, 9).await), Some(vec![e]));
        server.command(&["XTRIM", STREAM, "MAXLEN", "0"]).await;
        server.command(&["XADD", STREAM, "*", "other", "1"]).await;
        assert_eq!(within("no entry", log.first()).await.unwrap(), None);
        server.command(&["DEL", NEWEST]).await;
        let start = head(&log).await;
        let f = append(&log, "f").await;
        assert_eq!(
            positions(read(&log, start, 9).await),
            None,
            "no entry of ours"
        );
        assert_eq!(positions(read(&log, f, 9).await), Some(vec![]));
    });
}

async fn tail_at(log: &RedisLog, after: Position) -> Box<dyn Tail> {
    tail(log, after).await
}

/// The mark of the last entry is found again, so that its loss is none of the log.
#[tokio::test]
async fn the_chain_goes_on_without_the_key_of_the_last_entry() {
    for_each_engine!(|server, log| {
        let a = append(&log, "a").await;
        server.command(&["DEL", NEWEST]).await;
        let b = append(&log, "b").await;
        assert_eq!(positions(read(&log, a, 9).await), Some(vec![b]));
        server.command(&["DEL", NEWEST]).await;
        assert_eq!(head(&log).await, b);
    });
}

#[tokio::test]
async fn a_new_log_has_a_new_start() {
    for_each_engine!(|server, log| {
        let first_start = head(&log).await;
        for loss in [&["FLUSHALL"][..], &["DEL", STREAM]] {
            let start = head(&log).await;
            let a = append(&log, "a").await;
            server.command(loss).await;
            let new_start = head(&log).await;
            assert!(new_start > a, "{new_start} after {a}");
            let b = append(&log, "b").await;
            assert_eq!(positions(read(&log, new_start, 9).await), Some(vec![b]));
            for old in [first_start, start, a] {
                assert_eq!(read(&log, old, 9).await, Page::Gap);
            }
        }
        // An append begins the log too.
        let a = append(&log, "a").await;
        server.command(&["DEL", STREAM]).await;
        let b = append(&log, "b").await;
        assert!(b > a);
        assert_eq!(read(&log, a, 9).await, Page::Gap);
    });
}

#[tokio::test]
async fn an_idempotency_key_is_written_once_in_its_topic_and_window() {
    for_each_engine!(|server, _log| {
        let builder = RedisLog::builder(&server.url()).prefix("p");
        let log = connect(builder.idempotency_window(Duration::from_millis(300))).await;
        let keyed = |topic: &'static str, key: &'static str| {
            let log = log.clone();
            within("an append", async move {
                // has a deadline: the call of `within`
                log.append(topic, event("a"), Some(key)).await.unwrap()
            })
        };
        let written = Instant::now();
        // has a deadline: `keyed` calls `within`
        let first = keyed("t", "k").await;
        let mut all = vec![first];
        for (topic, key) in [("t:k", ""), ("t", ":k"), ("", "t:k"), ("t", "")] {
            // has a deadline: `keyed` calls `within`
            all.push(keyed(topic, key).await);
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5, "topics and keys are kept apart");
        let again = loop {
            // has a deadline: `keyed` calls `within`
            let at = keyed("t", "k").await;
            if at != first {
                break at;
            }
            assert!(written.elapsed() < PATIENCE, "the window does not end");
        };
        assert!(again > first);
        assert!(written.elapsed() >= Duration::from_millis(300));
    });
}

#[tokio::test]
async fn the_log_keeps_the_newest_entries() {
    for_each_engine!(|server, _log| {
        let builder = RedisLog::builder(&server.url()).prefix("few");
        let log = connect(builder.max_entries(100)).await;
        for _ in 0..1_000 {
            append(&log, "a").await;
        }
        let kept = number(&server, &["XLEN", "{few}:log"]).await;
        assert!((100..=200).contains(&kept), "{kept}");

        let builder = RedisLog::builder(&server.url()).prefix("none");
        let log = connect(builder.max_entries(0)).await;
        let mut tail = tail(&log, head(&log).await).await;
        let a = append(&log, "a").await;
        assert_eq!(positions(next(&mut tail).await), Some(vec![a]));

        let builder = RedisLog::builder(&server.url()).prefix("young");
        let log = connect(builder.max_age(Duration::from_millis(100))).await;
        for _ in 0..300 {
            append(&log, "a").await;
        }
        let end = Instant::now() + Duration::from_millis(100);
        within("the entries to be old", tokio::time::sleep_until(end)).await;
        append(&log, "a").await;
        let kept = number(&server, &["XLEN", "{young}:log"]).await;
        assert!((1..=100).contains(&kept), "{kept}");

        // No bound at all, as far as the server can count.
        let builder = RedisLog::builder(&server.url()).prefix("all");
        let builder = builder.max_entries(usize::MAX).max_age(Duration::MAX);
        let log = connect(builder.idempotency_window(Duration::MAX)).await;
        let at = try_append(&log, event("a"), Some("k")).await.unwrap();
        assert_eq!(try_append(&log, event("a"), Some("k")).await.unwrap(), at);
        assert_eq!(number(&server, &["XLEN", "{all}:log"]).await, 1);
    });
}

#[tokio::test]
async fn a_tail_waits_about_a_second_and_notices_what_is_lost() {
    for_each_engine!(|server, log| {
        let start = head(&log).await;
        let mut tail = tail(&log, start).await;
        assert_eq!(tail.behind(), None);
        let waited = Instant::now();
        assert_eq!(positions(next(&mut tail).await), Some(vec![]));
        let waited = waited.elapsed();
        assert!(waited >= Duration::from_millis(850), "{waited:?}");
        assert_eq!(tail.behind(), Some(0));

        let a = append(&log, "a").await;
        let b = append(&log, "b").await;
        let page = within("one entry", tail.next(1)).await.unwrap();
        assert_eq!(positions(page), Some(vec![a]));
        assert_eq!(tail.behind(), Some(1));
        assert_eq!(positions(next(&mut tail).await), Some(vec![b]));
        // A dropped call loses nothing, and delays nothing.
        for _ in 0..20 {
            let dropped = timeout(Duration::from_millis(10), tail.next(9));
            assert!(within("the call to be dropped", dropped).await.is_err());
        }
        let start = Instant::now();
        let c = append(&log, "c").await;
        assert_eq!(positions(next(&mut tail).await), Some(vec![c]));
        assert_eq!(positions(next(&mut tail).await), Some(vec![]));
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );

        // All entries are trimmed: none is missing.
        server.command(&["XTRIM", STREAM, "MAXLEN", "0"]).await;
        assert_eq!(positions(next(&mut tail).await), Some(vec![]));
        // The log is trimmed beyond the tail.
        append(&log, "c").await;
        append(&log, "d").await;
        server.command(&["XTRIM", STREAM, "MAXLEN", "1"]).await;
        assert_eq!(next(&mut tail).await, Page::Gap);

        // It vanishes while nothing is appended, and when something is.
        let losses: [(bool, &[&str]); 3] = [
            (false, &["FLUSHALL"]),
            (true, &["FLUSHALL"]),
            (false, &["DEL", STREAM]),
        ];
        for (appends, loss) in losses {
            let at = head(&log).await;
            let mut tail = tail_at(&log, at).await;
            assert_eq!(positions(next(&mut tail).await), Some(vec![]));
            server.command(loss).await;
            if appends {
                append(&log, "e").await;
            }
            assert_eq!(next(&mut tail).await, Page::Gap);
        }
    });
}

/// A failover may lose an entry, and then give its position to another one.
#[tokio::test]
async fn a_tail_tells_an_entry_from_another_at_its_position() {
    for_each_engine!(|server, log| {
        let a = append(&log, "a").await;
        let keys = [STREAM, NEWEST];
        let mut dumps = Vec::new();
        for key in keys {
            let dump: Vec<u8> = from_redis_value(server.command(&["DUMP", key]).await).unwrap();
            dumps.push(dump);
        }
        let b = append(&log, "b").await;
        let mut tail = tail(&log, a).await;
        assert_eq!(positions(next(&mut tail).await), Some(vec![b]));
        // The log goes back, and another entry gets the same position.
        for (key, dump) in keys.into_iter().zip(&dumps) {
            restore(&server, key, dump).await;
        }
        let newest = server.command(&["GET", NEWEST]).await;
        let newest: String = from_redis_value(newest).unwrap();
        let (_, previous) = newest.rsplit_once(' ').unwrap();
        let link = format!("2 {:016x} {previous}", 7);
        let same = b.to_string();
        let fields = [
            "c",
            &link,
            "t",
            "topic",
            "k",
            "e",
            "d",
            "data: x\n\n",
            "o",
            "",
        ];
        let add: Vec<&str> = ["XADD", STREAM, &same].into_iter().chain(fields).collect();
        server.command(&add).await;
        let newest = format!("{same} 2 {:016x}", 7);
        server.command(&["SET", NEWEST, &newest]).await;
        // Also a new tail knows which entry was read.
        let mut again = tail_at(&log, b).await;
        assert_eq!(next(&mut tail).await, Page::Gap);
        append(&log, "c").await;
        assert_eq!(next(&mut again).await, Page::Gap);
        // After the gap, the new entry is the one to follow.
        let mut after_gap = tail_at(&log, b).await;
        assert!(matches!(next(&mut after_gap).await, Page::Entries(new) if new.len() == 1));
    });
}

async fn restore(server: &RedisServer, key: &str, dump: &[u8]) {
    let url = server.url();
    let client = redis::Client::open(url).unwrap();
    let connection = within("a connection", client.get_multiplexed_async_connection()).await;
    let mut connection = connection.unwrap();
    let mut restore = redis::cmd("RESTORE");
    restore.arg(key).arg(0).arg(dump).arg("REPLACE");
    let restored = restore.query_async::<Value>(&mut connection);
    within("the key to be restored", restored).await.unwrap();
}

/// Pages of large entries are short.
#[tokio::test]
async fn a_page_of_large_entries_is_short() {
    for_each_engine!(|_server, log| {
        let start = head(&log).await;
        let data = "x".repeat(1 << 20);
        let mut expected = Vec::new();
        for _ in 0..20 {
            expected.push(append(&log, &data).await);
        }
        let (mut found, mut last, mut longest) = (Vec::new(), start, 0);
        // The first read finds out how large they are.
        let first = positions(read(&log, start, 2).await).unwrap();
        assert_eq!(first.len(), 2);
        while last < expected[19] {
            let page = positions(read(&log, last, 500).await).unwrap();
            longest = longest.max(page.len());
            last = *page.last().unwrap();
            found.extend(page);
        }
        assert_eq!(found, expected);
        assert_eq!(longest, 3);
    });
}

/// Two logs do not share positions, even if many servers begin them in one millisecond.
#[tokio::test]
async fn a_position_is_given_once() {
    for_each_engine!(|server, log| {
        let mut given = std::collections::BTreeSet::new();
        for _ in 0..100 {
            server.command(&["FLUSHALL"]).await;
            for at in [
                head(&log).await,
                append(&log, "a").await,
                append(&log, "b").await,
            ] {
                assert!(given.insert(at), "{at} was given twice");
            }
        }
        // The clock goes back: a stream of later ids vanishes.
        let far = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let far = Position::new(far + 1_000_000, 7);
        server
            .command(&["XADD", STREAM, &far.to_string(), "c", "x"])
            .await;
        assert_eq!(head(&log).await, far);
        server.command(&["FLUSHALL"]).await;
        let start = head(&log).await;
        assert_eq!(start, Position::new(far.hi() + 1, 0));
        // A server that has seen nothing begins the log, and one that has seen more goes on.
        server.command(&["FLUSHALL"]).await;
        let other = connect(RedisLog::builder(&server.url())).await;
        let earlier = append(&other, "a").await;
        assert!(earlier < start);
        let later = append(&log, "b").await;
        assert_eq!(later, Position::new(start.hi() + 1, 0));
        assert_eq!(positions(read(&other, earlier, 9).await), Some(vec![later]));
    });
}
