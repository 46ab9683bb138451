//! Hubs of several servers on one log: one order, nothing lost or doubled but what is told.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http_sse::{
    AppendError, EncodedEvent, Entry, Event, Hub, LastEventId, Log, LogError, LogHub, MemoryLog,
    OnLag, Page, Position, PublishError, Subscription,
};
use proptest::{
    prelude::{Rng as _, RngExt as _},
    test_runner::{RngAlgorithm, TestRng},
};
use tokio::time::{sleep, timeout};

async fn node(log: &Arc<MemoryLog>, history: usize) -> LogHub {
    let hub = Hub::builder()
        .history(history)
        .log(log.clone())
        .await
        .unwrap();
    let follows = hub.clone();
    tokio::spawn(async move { follows.follow().await });
    hub
}

async fn publish(hub: &LogHub, topic: &str, data: &str) -> Position {
    hub.publish(topic, Event::data(data.to_owned()))
        .await
        .unwrap()
}

fn wire(data: &str, at: Position) -> String {
    format!("data: {data}\nid: {at}\n\n")
}

fn reset(reason: &str, at: Position) -> String {
    format!("event: reset\ndata: {reason}\nid: {at}\n\n")
}

fn last(position: impl ToString) -> LastEventId {
    position.to_string().parse().unwrap()
}

/// Reads until nothing has come for a while.
async fn read(subscription: &mut Subscription) -> String {
    let mut all = String::new();
    loop {
        match timeout(Duration::from_secs(3), subscription.next()).await {
            Ok(Some(events)) => all += std::str::from_utf8(events.as_bytes()).unwrap(),
            Ok(None) | Err(_) => return all,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_server_publishes_all_servers_send_in_one_order() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let (a, b) = (node(&log, 100).await, node(&log, 100).await);
    let mut of_a = a.subscribe(["x", "y"]);
    let mut of_b = b.subscribe(["x", "y"]);
    let first = publish(&a, "x", "1").await;
    let second = publish(&b, "y", "2").await;
    let other = publish(&b, "z", "3").await;
    assert_eq!((first, other), (Position::new(7, 1), Position::new(7, 3)));
    let both = wire("1", first) + &wire("2", second);
    assert_eq!(read(&mut of_a).await, both);
    assert_eq!(read(&mut of_b).await, both);
    assert_eq!((a.head(), b.head()), (other, other));
}

#[tokio::test(start_paused = true)]
async fn what_the_history_does_not_have_comes_from_the_log() {
    const EVENTS: u64 = 2_345;
    let log = Arc::new(MemoryLog::new(7, 10_000));
    let hub = node(&log, 3).await;
    for n in 1..=EVENTS {
        publish(&hub, ["x", "y"][n as usize % 2], &n.to_string()).await;
    }
    sleep(Duration::from_secs(2)).await;
    for after in [0, 1, 499, 500, 501, 999, 2_300, EVENTS - 1, EVENTS] {
        let id = last(Position::new(7, after));
        let mut resumed = hub.subscribe(["x"]).after(id);
        let missed = (after + 1..=EVENTS).filter(|n| n % 2 == 0);
        let missed: String = missed
            .map(|n| wire(&n.to_string(), Position::new(7, n)))
            .collect();
        assert_eq!(read(&mut resumed).await, missed, "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_missed_too_much_is_reset() {
    let log = Arc::new(MemoryLog::new(7, 20_000));
    let hub = node(&log, 1).await;
    for _ in 0..10_501 {
        publish(&hub, "x", "").await;
    }
    sleep(Duration::from_secs(2)).await;
    // Twenty pages of 500, and then one: at the bound it is all.
    for (after, is_reset) in [(501, false), (0, true)] {
        let mut resumed = hub.subscribe(["x"]).after(last(Position::new(7, after)));
        let got = read(&mut resumed).await;
        assert_eq!(
            got.contains("event: reset\ndata: expired\n"),
            is_reset,
            "{after}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_log_does_not_have_is_reset() {
    let log = Arc::new(MemoryLog::new(7, 10));
    let hub = node(&log, 2).await;
    for _ in 0..20 {
        publish(&hub, "x", "").await;
    }
    sleep(Duration::from_secs(2)).await;
    let head = Position::new(7, 20);
    for id in ["6-15", "8-1", "7-21", "7-9", "7-18446744073709551615"] {
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        assert_eq!(read(&mut resumed).await, reset("expired", head), "{id}");
    }
    for id in ["garbage", "7-020"] {
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        assert_eq!(read(&mut resumed).await, reset("unknown", head), "{id}");
    }
    let mut at_the_bound = hub.subscribe(["x"]).after(last("7-10"));
    assert_eq!(
        read(&mut at_the_bound).await.matches("data: \n").count(),
        10
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_from_a_server_that_is_ahead_is_served_from_its_own_id() {
    let log = Arc::new(MemoryLog::new(7, 100));
    // It does not follow yet.
    let behind = Hub::builder().log(log.clone()).await.unwrap();
    let ahead = node(&log, 100).await;
    publish(&ahead, "x", "1").await;
    let second = publish(&ahead, "x", "2").await;
    let mut client = behind.subscribe(["x"]).after(last(second));
    assert!(client.next().now_or_never().is_none());
    let third = publish(&ahead, "x", "3").await;
    let follows = behind.clone();
    tokio::spawn(async move { follows.follow().await });
    assert_eq!(read(&mut client).await, wire("3", third));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_has_what_the_log_has() {
    let log = Arc::new(MemoryLog::new(7, 2_000));
    let old = node(&log, 10).await;
    for n in 1..=1_500 {
        publish(&old, "x", &n.to_string()).await;
    }
    let new = node(&log, 10_000).await;
    assert_eq!(new.head(), Position::new(7, 1_500));
    assert_eq!(new.topics()[0].events, 1_499);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_published_once_with_a_key() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = node(&log, 100).await;
    let mut reader = hub.subscribe(["x"]);
    let first = hub
        .publish_once("x", Event::data("1"), "key")
        .await
        .unwrap();
    let again = hub
        .publish_once("x", Event::data("1"), "key")
        .await
        .unwrap();
    assert_eq!(first, again);
    assert_eq!(read(&mut reader).await, wire("1", first));
    hub.close();
    let refused = hub.publish("x", Event::data("2")).await;
    assert!(matches!(refused, Err(PublishError::Closed)));
    assert!(reader.next().await.is_none());
}

/// A log that fails now and then, loses answers, and comes back with less than it had.
struct Faulty {
    log: MemoryLog,
    chance: Mutex<TestRng>,
    faults: AtomicU64,
}

impl Faulty {
    /// One in `of` calls fails.
    fn fails(&self, of: u32) -> Result<(), LogError> {
        if self.chance.lock().unwrap().random_range(0..of) == 0 {
            self.faults.fetch_add(1, SeqCst);
            return Err("the engine is away".into());
        }
        Ok(())
    }

    fn delay(&self) -> tokio::time::Sleep {
        sleep(Duration::from_millis(
            self.chance.lock().unwrap().random_range(0..20),
        ))
    }
}

impl Log for Faulty {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        event: EncodedEvent,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            self.fails(20).map_err(AppendError::NotWritten)?;
            let at = self.log.append(topic, event, key).await;
            self.fails(20).map_err(AppendError::Unknown)?;
            at
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        Box::pin(async move {
            self.fails(10)?;
            self.log.head().await
        })
    }

    fn read(
        &self,
        after: Position,
        upto: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<Page, LogError>> {
        Box::pin(async move {
            self.fails(10)?;
            let page = self.log.read(after, upto, max).await;
            self.delay().await;
            page
        })
    }

    fn wait(
        &self,
        after: Position,
        max: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<Entry>, LogError>> {
        Box::pin(async move {
            self.fails(50)?;
            let entries = self.log.wait(after, max, timeout).await;
            self.delay().await;
            entries
        })
    }
}

/// What was dropped before the reader came to it is not passed over, however little is left.
#[tokio::test(start_paused = true)]
async fn what_the_log_drops_before_it_is_read_is_told() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let hub = node(&log, 100).await;
    let mut subscription = hub.subscribe(["x"]);
    let first = publish(&hub, "x", "1").await;
    assert_eq!(read(&mut subscription).await, wire("1", first));

    // The reader, which waits, is woken only when all of this has been.
    publish(&hub, "x", "2").await;
    log.trim(0);
    let third = publish(&hub, "x", "3").await;
    assert_eq!(read(&mut subscription).await, reset("lagged", third));

    // What was read before it was dropped is no loss.
    log.trim(0);
    let fourth = publish(&hub, "x", "4").await;
    assert_eq!(read(&mut subscription).await, wire("4", fourth));
}

/// Three servers, sixty clients that hop between them, publishers on each, and a log that fails
/// and is trimmed. Every client sees each event of its topics once and in order, or is reset.
#[tokio::test(start_paused = true)]
async fn clients_that_hop_between_servers_lose_and_double_nothing_untold() {
    const TOPICS: usize = 6;
    let mut seed = [0; 32];
    let number: u64 = std::env::var("HTTP_SSE_SEED").ok().map_or_else(
        || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |seed| seed.parse().unwrap(),
    );
    println!("HTTP_SSE_SEED={number}");
    seed[..8].copy_from_slice(&number.to_le_bytes());
    let mut chance = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut fork = || {
        let mut seed = [0; 32];
        chance.fill_bytes(&mut seed);
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
    };
    let log = Arc::new(Faulty {
        log: MemoryLog::new(7, 2_000),
        chance: Mutex::new(fork()),
        faults: AtomicU64::new(0),
    });
    let mut nodes = Vec::new();
    for _ in 0..3 {
        let hub = loop {
            if let Ok(hub) = Hub::builder().history(50).log(log.clone()).await {
                break hub;
            }
        };
        let follows = hub.clone();
        tokio::spawn(async move { follows.follow().await });
        nodes.push(hub);
    }
    // One publisher counts in each topic. What is not known to be written is published again with
    // its key.
    let publishers = (0..TOPICS).map(|topic| {
        let (hub, mut chance) = (nodes[topic % 3].clone(), fork());
        tokio::spawn(async move {
            for n in 0_u64..2_000 {
                let (data, key) = (format!("{topic} {n}"), format!("{topic} {n}"));
                while hub
                    .publish_once(&topic.to_string(), Event::data(data.clone()), &key)
                    .await
                    .is_err()
                {}
                sleep(Duration::from_millis(chance.random_range(0..30))).await;
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let clients = (0..60).map(|_| {
        let (nodes, mut chance) = (nodes.clone(), fork());
        tokio::spawn(async move { hop(&nodes, &mut chance).await })
    });
    let clients: Vec<_> = clients.collect();
    let trims = tokio::spawn({
        let (log, mut chance) = (log.clone(), fork());
        async move {
            loop {
                sleep(Duration::from_millis(chance.random_range(0..10_000))).await;
                log.log.trim(chance.random_range(0..300));
            }
        }
    });
    for publisher in publishers {
        publisher.await.unwrap();
    }
    trims.abort();
    sleep(Duration::from_secs(10)).await;
    nodes.iter().for_each(LogHub::close);
    let mut sums = [0_u64; 3];
    for client in clients {
        let counts = client.await.unwrap();
        sums.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    let [seen, resets, hops] = sums;
    let faults = log.faults.load(SeqCst);
    println!("{seen} events were seen, {resets} resets, {hops} hops, {faults} faults");
    assert!(seen > 50_000 && hops > 500 && faults > 500 && resets > 10);
}

/// Reads two topics, now here, now there; tells how many events, resets and hops.
async fn hop(nodes: &[LogHub], chance: &mut TestRng) -> [u64; 3] {
    let topics = [chance.random_range(0..3), chance.random_range(3..6)];
    let names = topics.map(|topic: usize| topic.to_string());
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut after: Option<Position> = None;
    let mut counts = [0; 3];
    loop {
        let node = &nodes[chance.random_range(0..nodes.len())];
        let mut subscription = node.subscribe(&names).on_lag(OnLag::Reset);
        if let Some(at) = after {
            subscription = subscription.after(last(at));
        }
        let mut pieces = chance.random_range(1..100);
        while let Some(events) = subscription.next().await {
            let wire = std::str::from_utf8(events.as_bytes()).unwrap();
            for event in wire.split_terminator("\n\n") {
                let (event, id) = event.rsplit_once("\nid: ").unwrap();
                let at: Position = id.parse().unwrap();
                if event.starts_with("event: reset") {
                    counts[1] += 1;
                    next.clear();
                } else {
                    counts[0] += 1;
                    let (topic, n) = event
                        .strip_prefix("data: ")
                        .unwrap()
                        .split_once(' ')
                        .unwrap();
                    let n: u64 = n.parse().unwrap();
                    assert!(after < Some(at), "{after:?} then {at}");
                    assert!(names.iter().any(|name| name == topic));
                    let expected = next.insert(topic.to_owned(), n + 1);
                    assert!(
                        expected.is_none_or(|expected| expected == n),
                        "{topic} {n} {expected:?}"
                    );
                }
                after = Some(at);
            }
            pieces -= 1;
            if pieces == 0 {
                break;
            }
        }
        // It was closed, or could not read the log.
        if pieces > 0 {
            let probe = node.publish("nobody", Event::data("")).await;
            if matches!(probe, Err(PublishError::Closed)) {
                return counts;
            }
        }
        counts[2] += 1;
        sleep(Duration::from_millis(chance.random_range(0..2_000))).await;
    }
}
