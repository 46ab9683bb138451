//! Servers on a log that fails at random, and clients that switch between them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture};
use http_sse::{
    Event, Hub,
    hub::{
        AppendError, DistributedHub, Entry, EventLog, EventLogError, MemoryLog, OnLag, Page,
        Position, PublishError, PublishOptions, Record, Tail,
    },
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::sleep;

use super::{Node, last};
use crate::{
    chance::{chance, fork},
    deadline::{Background, finished, within},
};

/// A log that fails at random, loses answers and drops entries.
#[derive(Clone)]
struct Faulty {
    log: MemoryLog,
    chance: Arc<Mutex<TestRng>>,
    faults: Arc<AtomicU64>,
}

impl Faulty {
    /// Fails once in `of` calls on average.
    fn fails(&self, of: u32) -> Result<(), EventLogError> {
        if self.chance.lock().unwrap().random_range(0..of) == 0 {
            self.faults.fetch_add(1, SeqCst);
            return Err("the engine is unavailable".into());
        }
        Ok(())
    }

    async fn delay(&self) {
        let millis = self.chance.lock().unwrap().random_range(0..20);
        sleep(Duration::from_millis(millis)).await;
    }
}

impl EventLog for Faulty {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            self.fails(20).map_err(AppendError::NotWritten)?;
            let at = within("the log in memory", self.log.append(topic, record, key)).await;
            self.fails(20).map_err(AppendError::Unknown)?;
            at
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, EventLogError>> {
        Box::pin(async move {
            self.fails(10)?;
            within("the log in memory", self.log.head()).await
        })
    }

    fn first(&self) -> BoxFuture<'_, Result<Option<Entry>, EventLogError>> {
        Box::pin(async move {
            self.fails(10)?;
            within("the log in memory", self.log.first()).await
        })
    }

    fn read(&self, after: Position, max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            self.fails(10)?;
            let page = within("the log in memory", self.log.read(after, max)).await;
            self.delay().await;
            page
        })
    }

    fn tail(&self, after: Position) -> BoxFuture<'_, Result<Box<dyn Tail>, EventLogError>> {
        Box::pin(async move {
            self.fails(10)?;
            let log = self.clone();
            let tail = within("the log in memory", self.log.tail(after)).await?;
            let tail: Box<dyn Tail> = Box::new(FaultyTail { log, tail });
            Ok(tail)
        })
    }
}

/// A reader of a [`Faulty`] log.
struct FaultyTail {
    log: Faulty,
    tail: Box<dyn Tail>,
}

impl Tail for FaultyTail {
    fn next(&mut self, max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            self.log.fails(50)?;
            self.log.delay().await;
            within("an entry", self.tail.next(max)).await
        })
    }
}

/// Sixty clients switch between three servers with publishers, while the log fails and is trimmed.
///
/// Every client gets each event of its topics once and in order, or is reset.
#[tokio::test(start_paused = true)]
async fn clients_that_switch_servers_get_each_event_once_or_a_reset() {
    const TOPICS: usize = 6;
    let mut chance = chance();
    let log = Arc::new(Faulty {
        log: MemoryLog::new(7, 2_000),
        chance: Arc::new(Mutex::new(fork(&mut chance))),
        faults: Arc::default(),
    });
    let mut nodes = Vec::new();
    while nodes.len() < 3 {
        let hub = Hub::builder().history(50).distributed(log.clone());
        if let Ok(hub) = within("the result of loading the log", hub).await {
            nodes.push(Node::of(hub));
        }
        assert!(log.faults.load(SeqCst) < 1_000, "the log cannot be loaded");
    }
    let hubs: Vec<DistributedHub> = nodes.iter().map(|node| node.hub.clone()).collect();
    // One publisher counts in each topic. If it does not know that an event was written, it
    // publishes the event again with the same key.
    let publishers = (0..TOPICS).map(|topic| {
        let (hub, mut chance) = (hubs[topic % 3].clone(), fork(&mut chance));
        tokio::spawn(async move {
            let name = topic.to_string();
            for n in 0_u64..2_000 {
                let text = format!("{topic} {n}");
                let options = PublishOptions::new().idempotency_key(text.clone());
                for tries in 0.. {
                    assert!(tries < 100, "the log never accepts {text}");
                    let published = hub.publish_with(&name, Event::data(text.clone()), &options);
                    if within("the result of a publication", published)
                        .await
                        .is_ok()
                    {
                        break;
                    }
                }
                sleep(Duration::from_millis(chance.random_range(0..30))).await;
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let clients = (0..60).map(|_| {
        let (hubs, mut chance) = (hubs.clone(), fork(&mut chance));
        tokio::spawn(async move { hop(&hubs, &mut chance).await })
    });
    let clients: Vec<_> = clients.collect();
    let trims = Background::spawn({
        let (log, mut chance) = (log.clone(), fork(&mut chance));
        async move {
            loop {
                sleep(Duration::from_millis(chance.random_range(0..10_000))).await;
                log.log.trim(chance.random_range(0..300));
            }
        }
    });
    for publisher in publishers {
        finished("a publisher", publisher).await;
    }
    drop(trims);
    // Clients that are disconnected return, and all read on. They also publish, so the log is
    // never complete.
    sleep(Duration::from_secs(10)).await;
    hubs.iter().for_each(DistributedHub::close);
    let mut sums = [0_u64; 3];
    for client in clients {
        let counts = finished("a client", client).await;
        sums.iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    let [seen, resets, hops] = sums;
    let faults = log.faults.load(SeqCst);
    println!("{seen} events, {resets} resets, {hops} switches of the server, {faults} faults");
    assert!(seen > 50_000 && hops > 500 && faults > 500 && resets > 10);
}

/// Reads two topics from one random server after another until the hubs are closed.
///
/// Returns the numbers of events, resets and switches.
async fn hop(nodes: &[DistributedHub], chance: &mut TestRng) -> [u64; 3] {
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
        while let Some(events) = within("an event or the end", subscription.next()).await {
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
        // The subscription ended, because the hub is closed or could not read the log.
        if pieces > 0 {
            let probe = node.publish("nobody", Event::data(""));
            let probe = within("the result of a publication", probe).await;
            if matches!(probe, Err(PublishError::Closed)) {
                return counts;
            }
        }
        counts[2] += 1;
        sleep(Duration::from_millis(chance.random_range(0..2_000))).await;
    }
}
