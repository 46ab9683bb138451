//! A storm of resumes: a node has just started, and all clients come back to it at the same moment.
//!
//! `cargo test -p http-sse-redis storm -- --nocapture` prints the reads, the time and the memory. With
//! `HTTP_SSE_REAL=required` there are 10,000 clients, and 1,000 otherwise.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use allocation_counter::measure;
use futures_util::{FutureExt as _, StreamExt as _, future::join_all};
use http_sse::{
    EncodedEvent, Event, Hub, Subscription,
    hub::{
        AppendError, DistributedHub, Entry, EventLog, LogFuture, Page, Position, Record, RedisLog,
        Tail,
    },
};
use tokio::{runtime, time::Instant};

use crate::{
    deadline::{Background, finished, until, within},
    redis_server::{Engine, RedisServer},
};

/// The number of different ids that the clients have.
const IDS: usize = 100;

/// The number of the topic's events from one id to the next.
const APART: usize = 40;

/// The number of events in the history of the node. Only the last id does not need the log.
const HISTORY: usize = APART / 2;

/// The maximum number of reads of the log.
const MAX_READS: usize = 300;

/// The maximum memory, in bytes per client.
const MAX_BYTES: u64 = 16 << 10;

#[test]
fn clients_that_resume_at_the_same_moment_share_the_reads_of_the_log() {
    let is_full = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let clients = if is_full { 10_000 } else { 1_000 };
    let mut runtime = runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let Some(storm) = runtime.block_on(Storm::prepare()) else {
        return;
    };
    let heap = measure(|| runtime.block_on(storm.strike(clients)));
    let bytes = heap.bytes_max / clients as u64;
    println!("{bytes} bytes of heap per client");
    assert!(bytes <= MAX_BYTES);
}

struct Storm {
    log: Arc<CountedLog>,
    hub: DistributedHub,
    /// Everything that was published to the topic, as a client gets it.
    wire: Arc<str>,
    /// The ids of the clients. Each has the offset in `wire` of what follows it.
    ids: Vec<(Position, usize)>,
    _following: Background,
    _server: RedisServer,
}

impl Storm {
    /// Fills a log and starts a node. Returns `None` if Redis is not installed.
    async fn prepare() -> Option<Self> {
        let server = RedisServer::start(Engine::Redis, &[]).await?;
        let log = within("a connection", RedisLog::connect(&server.url())).await;
        let log = Arc::new(CountedLog {
            log: log.unwrap(),
            reads: AtomicUsize::new(0),
        });
        let mut wire = String::new();
        let mut ids = Vec::new();
        for first in (0..IDS * APART).step_by(APART) {
            // Every fifth entry belongs to another topic.
            let appends = (first..first + APART).map(async |n| {
                if n % 4 == 0 {
                    log.publish("other", n).await;
                }
                (log.publish("x", n).await, n)
            });
            let mut appended = within("events to be appended", join_all(appends)).await;
            appended.sort_unstable();
            for (at, n) in appended {
                wire += &on_wire(n, at);
                ids.push((at, wire.len()));
            }
        }
        // The last event is one after the newest id.
        ids.pop();
        let ids = ids.into_iter().rev().step_by(APART).collect();

        let hub = Hub::builder().history(HISTORY).distributed(log.clone());
        let hub = within("a hub", hub).await.unwrap();
        let follower = hub.clone();
        // waits for good: in a task that is aborted
        let following = Background::spawn(async move { follower.follow().await });
        until("the hub to follow", || hub.status().is_connected).await;
        Some(Self {
            log,
            hub,
            wire: wire.into(),
            ids,
            _following: following,
            _server: server,
        })
    }

    /// Resumes all clients. Each gets what it has missed, and then a new event.
    async fn strike(&self, clients: usize) {
        let before = self.log.reads.load(SeqCst);
        let start = Instant::now();
        let clients = (0..clients).map(|client| {
            let (at, offset) = self.ids[client % IDS];
            let last = at.to_string().parse().unwrap();
            let mut subscription = self.hub.subscribe(["x"]).after(last);
            let wire = self.wire.clone();
            tokio::spawn(async move {
                reads(&mut subscription, &wire[offset..]).await;
                assert!(subscription.next().now_or_never().is_none());
                subscription
            })
        });
        let clients: Vec<_> = clients.collect();
        let mut subscriptions = Vec::with_capacity(clients.len());
        for client in clients {
            subscriptions.push(finished("a client to get what it missed", client).await);
        }
        let took = start.elapsed();
        let reads_of_log = self.log.reads.load(SeqCst) - before;
        println!("{reads_of_log} reads of the log, all clients live after {took:.1?}");
        assert!(reads_of_log <= MAX_READS);

        let at = self.log.publish("x", 0).await;
        for subscription in &mut subscriptions {
            reads(subscription, &on_wire(0, at)).await;
            assert!(subscription.next().now_or_never().is_none());
        }
    }
}

/// Reads exactly these events.
async fn reads(subscription: &mut Subscription, mut wire: &str) {
    while !wire.is_empty() {
        let events = within("events", subscription.next()).await;
        let events = events.expect("the subscription goes on");
        let events = std::str::from_utf8(events.as_bytes()).unwrap();
        let rest = wire.strip_prefix(events);
        wire = rest.unwrap_or_else(|| panic!("got {events:.300}\nexpected {wire:.300}"));
    }
}

/// The data of the nth event, of 200 bytes.
fn data(n: usize) -> String {
    format!("{n:0200}")
}

fn on_wire(n: usize, at: Position) -> String {
    format!("data: {}\nid: {at}\n\n", data(n))
}

/// A log that counts its reads.
struct CountedLog {
    log: RedisLog,
    reads: AtomicUsize,
}

impl CountedLog {
    async fn publish(&self, topic: &str, n: usize) -> Position {
        let record = Record::Event {
            event: EncodedEvent::new(Event::data(data(n))).unwrap(),
            coalesce: None,
        };
        within("an append", self.append(topic, record, None))
            .await
            .unwrap()
    }
}

impl EventLog for CountedLog {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError> {
        self.log.append(topic, record, idempotency_key)
    }

    fn head(&self) -> LogFuture<'_, Position> {
        self.log.head()
    }

    fn first(&self) -> LogFuture<'_, Option<Entry>> {
        self.log.first()
    }

    fn read(&self, after: Position, max: usize) -> LogFuture<'_, Page> {
        self.reads.fetch_add(1, SeqCst);
        self.log.read(after, max) // has a deadline: that of the hub
    }

    fn tail(&self, after: Position) -> LogFuture<'_, Box<dyn Tail>> {
        self.log.tail(after)
    }
}
