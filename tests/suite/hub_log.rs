//! Hubs of several servers on one log: one order, nothing lost or doubled but what is told.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    ops::Deref,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use http_sse::{
    Encode, EncodedEvent, Encoder, Event, Hub, LastEventId, Subscription,
    hub::{
        AppendError, DistributedHub, EncodedEvents, Entry, EventLog, EventLogError, MemoryLog,
        OnLag, Page, Position, PublishError,
    },
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::{Instant, sleep};

use crate::{
    chance::{chance, fork},
    deadline::{Background, finished, until, within, within_time},
};

/// Longer than any test lasts on the paused clock.
const HOUR: Duration = Duration::from_secs(3_600);

/// A server: a hub on the log, and the task that follows it.
struct Node {
    hub: DistributedHub,
    _follows: Background,
}

impl Node {
    async fn start(log: &Arc<impl EventLog + 'static>, history: usize) -> Self {
        let hub = Hub::builder().history(history).distributed(log.clone());
        Self::of(within("the log to be loaded", hub).await.unwrap())
    }

    fn of(hub: DistributedHub) -> Self {
        let follows = hub.clone();
        let _follows = Background::spawn(async move {
            within_time(HOUR, "the hub to be closed", follows.follow()).await;
        });
        Self { hub, _follows }
    }

    /// Waits until it has read the log up to there.
    async fn reaches(&self, at: Position) {
        until(format_args!("the hub to read up to {at}"), || {
            self.head() == at
        })
        .await;
    }
}

impl Deref for Node {
    type Target = DistributedHub;

    fn deref(&self) -> &DistributedHub {
        &self.hub
    }
}

async fn publish(hub: &DistributedHub, topic: &str, data: &str) -> Position {
    let published = hub.publish(topic, Event::data(data.to_owned()));
    within("the log to take an event", published).await.unwrap()
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

/// Reads all that comes before the clock moves on by three seconds, which it does when nothing is
/// left to do.
async fn read(subscription: &mut Subscription) -> String {
    let read = subscription.take_until(sleep(Duration::from_secs(3)));
    let pieces: Vec<EncodedEvents> = within("all that there is", read.collect()).await;
    let pieces = pieces.iter().map(EncodedEvents::as_bytes);
    String::from_utf8(pieces.collect::<Vec<_>>().concat()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_one_server_publishes_all_servers_send_in_one_order() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let (a, b) = (Node::start(&log, 100).await, Node::start(&log, 100).await);
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
    let hub = Node::start(&log, 3).await;
    for n in 1..=EVENTS {
        publish(&hub, ["x", "y"][n as usize % 2], &n.to_string()).await;
    }
    hub.reaches(Position::new(7, EVENTS)).await;
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
    let hub = Node::start(&log, 1).await;
    const EVENTS: u64 = 10_501;
    for n in 1..=EVENTS {
        publish(&hub, "x", &n.to_string()).await;
    }
    let head = Position::new(7, EVENTS);
    hub.reaches(head).await;
    // Twenty pages of 500, and then one from the history: at the bound it is all. With one more
    // than that there are twenty pages, and a reset in place of the rest.
    let events = |range: std::ops::RangeInclusive<u64>| -> Vec<String> {
        range
            .map(|n| wire(&n.to_string(), Position::new(7, n)))
            .collect()
    };
    let mut too_many = events(500..=10_499);
    too_many.push(reset("expired", head));
    for (after, expected) in [(500, events(501..=EVENTS)), (499, too_many)] {
        let mut resumed = hub.subscribe(["x"]).after(last(Position::new(7, after)));
        let got = read(&mut resumed).await;
        let got: Vec<_> = got.split_inclusive("\n\n").collect();
        assert_eq!(got.len(), expected.len(), "after {after}");
        let differs = got
            .iter()
            .zip(&expected)
            .find(|(got, expected)| got != expected);
        assert_eq!(differs, None, "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_the_log_does_not_have_is_reset() {
    let log = Arc::new(MemoryLog::new(7, 10));
    let hub = Node::start(&log, 2).await;
    for _ in 0..20 {
        publish(&hub, "x", "").await;
    }
    let head = Position::new(7, 20);
    hub.reaches(head).await;
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
    let behind = Hub::builder().distributed(log.clone());
    let behind = within("the log to be loaded", behind).await.unwrap();
    let ahead = Node::start(&log, 100).await;
    publish(&ahead, "x", "1").await;
    let second = publish(&ahead, "x", "2").await;
    let mut client = behind.subscribe(["x"]).after(last(second));
    assert!(client.next().now_or_never().is_none());
    let third = publish(&ahead, "x", "3").await;
    let _follows = Node::of(behind.clone());
    assert_eq!(read(&mut client).await, wire("3", third));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_starts_has_what_the_log_has() {
    let log = Arc::new(MemoryLog::new(7, 2_000));
    let old = Node::start(&log, 10).await;
    for n in 1..=1_500 {
        publish(&old, "x", &n.to_string()).await;
    }
    let new = Node::start(&log, 10_000).await;
    assert_eq!(new.head(), Position::new(7, 1_500));
    assert_eq!(new.topics()[0].events, 1_499);
}

#[tokio::test(start_paused = true)]
async fn an_item_is_published_if_it_writes_one_event() {
    /// Writes so many events.
    struct Events(usize);

    impl Encode for Events {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            for n in 0..self.0 {
                encoder.data(&n.to_string());
                encoder.end_event();
            }
            Ok(())
        }
    }

    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 100).await;
    let mut client = hub.subscribe(["x"]);
    for events in [0, 2, 3] {
        let refused = within("the refusal", hub.publish("x", Events(events))).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, PublishError::NotOneEvent), "{refused:?}");
        let refused = within("the refusal", hub.publish_once("x", Events(events), "key")).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, PublishError::NotOneEvent), "{refused:?}");
    }
    let published = within("the log to take it", hub.publish("x", Events(1))).await;
    assert_eq!(
        published.unwrap(),
        Position::new(7, 1),
        "nothing precedes it"
    );
    assert_eq!(read(&mut client).await, wire("0", Position::new(7, 1)));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_published_once_with_a_key() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 100).await;
    let mut reader = hub.subscribe(["x"]);
    let published = hub.publish_once("x", Event::data("1"), "key");
    let first = within("the log to take it", published).await.unwrap();
    let published = hub.publish_once("x", Event::data("1"), "key");
    let again = within("the log to know it", published).await.unwrap();
    assert_eq!(first, again);
    assert_eq!(read(&mut reader).await, wire("1", first));
    hub.close();
    let refused = within("a refusal", hub.publish("x", Event::data("2"))).await;
    assert!(matches!(refused, Err(PublishError::Closed)));
    assert!(within("the end", reader.next()).await.is_none());
}

/// A log that fails now and then, loses answers, and comes back with less than it had.
struct Faulty {
    log: MemoryLog,
    chance: Mutex<TestRng>,
    faults: AtomicU64,
}

impl Faulty {
    /// One in `of` calls fails.
    fn fails(&self, of: u32) -> Result<(), EventLogError> {
        if self.chance.lock().unwrap().random_range(0..of) == 0 {
            self.faults.fetch_add(1, SeqCst);
            return Err("the engine is away".into());
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
        event: EncodedEvent,
        key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            self.fails(20).map_err(AppendError::NotWritten)?;
            let at = within("the log in memory", self.log.append(topic, event, key)).await;
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

    fn read(
        &self,
        after: Position,
        upto: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            self.fails(10)?;
            let page = within("the log in memory", self.log.read(after, upto, max)).await;
            self.delay().await;
            page
        })
    }

    fn wait(
        &self,
        after: Position,
        max: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<Entry>, EventLogError>> {
        Box::pin(async move {
            self.fails(50)?;
            let entries = within("an entry", self.log.wait(after, max, timeout)).await;
            self.delay().await;
            entries
        })
    }
}

/// What was dropped before the reader came to it is not passed over, however little is left.
#[tokio::test(start_paused = true)]
async fn what_the_log_drops_before_it_is_read_is_told() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let hub = Node::start(&log, 100).await;
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

/// A log whose entries and answers a test decides upon.
#[derive(Default)]
struct Engine(Mutex<EngineState>);

#[derive(Default)]
struct EngineState {
    entries: Vec<Entry>,
    /// The last that was dropped.
    floor: Position,
    /// What it says of its end, if not what it has.
    head: Option<Position>,
    is_away: bool,
    /// How long a read takes.
    delay: Duration,
    /// When each call of the reader that follows was.
    followed: Vec<Instant>,
    /// How many reads were for one client, are under way, and were at most.
    replays: [usize; 3],
}

impl Engine {
    fn state(&self) -> MutexGuard<'_, EngineState> {
        self.0.lock().unwrap()
    }

    fn push(&self, at: Position, topic: &str, data: &str) {
        self.state().entries.push(Entry {
            at,
            topic: topic.into(),
            event: EncodedEvent::new(Event::data(data.to_owned())).unwrap(),
        });
    }
}

impl EngineState {
    fn head(&self) -> Position {
        let last = self.entries.last().map_or(self.floor, |entry| entry.at);
        self.head.unwrap_or(last)
    }

    fn behind(&self, after: Position, max: usize) -> Vec<Entry> {
        let behind = self.entries.iter().filter(|entry| entry.at > after);
        behind.take(max).cloned().collect()
    }

    fn is_there(&self) -> Result<(), EventLogError> {
        if self.is_away {
            return Err("the engine is away".into());
        }
        Ok(())
    }
}

impl EventLog for Engine {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        event: EncodedEvent,
        _key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async move {
            let mut state = self.state();
            let at = Position::new(state.head().hi(), state.head().lo() + 1);
            let topic = topic.into();
            state.entries.push(Entry { at, topic, event });
            Ok(at)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, EventLogError>> {
        Box::pin(async { Ok(self.state().head()) })
    }

    fn read(
        &self,
        after: Position,
        upto: Option<Position>,
        max: usize,
    ) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async move {
            let delay = {
                let mut state = self.state();
                if upto.is_some() {
                    let [all, now, most] = &mut state.replays;
                    (*all, *now) = (*all + 1, *now + 1);
                    *most = (*most).max(*now);
                } else {
                    state.followed.push(Instant::now());
                    assert!(state.followed.len() < 10_000, "the log is read for ever");
                    state.is_there()?;
                }
                state.delay
            };
            sleep(delay).await;
            let mut state = self.state();
            if upto.is_some() {
                state.replays[1] -= 1;
            }
            state.is_there()?;
            let known = |entry: &Entry| entry.at == after;
            if after != state.floor && !state.entries.iter().any(known) {
                return Ok(Page::Gap);
            }
            let mut entries = state.behind(after, max);
            entries.retain(|entry| upto.is_none_or(|upto| entry.at <= upto));
            Ok(Page::Entries(entries))
        })
    }

    fn wait(
        &self,
        after: Position,
        max: usize,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Vec<Entry>, EventLogError>> {
        Box::pin(async move {
            let end = Instant::now() + timeout;
            if timeout > Duration::ZERO {
                self.state().followed.push(Instant::now());
            }
            loop {
                let entries = {
                    let state = self.state();
                    state.is_there()?;
                    state.behind(after, max)
                };
                if !entries.is_empty() || Instant::now() >= end {
                    return Ok(entries);
                }
                sleep(Duration::from_millis(10)).await;
            }
        })
    }
}

/// What the history has costs no read of the log.
#[tokio::test(start_paused = true)]
async fn a_log_is_read_for_a_client_only_if_the_history_does_not_reach_back() {
    let log = Arc::new(Engine::default());
    log.state().floor = Position::new(7, 3);
    let hub = Node::start(&log, 2).await;
    assert_eq!(hub.head(), Position::new(7, 3));
    let resumed = |at: u64| hub.subscribe(["x"]).after(last(Position::new(7, at)));
    // Of a history without an event the end is known.
    let mut at_end = resumed(3);
    assert_eq!(read(&mut at_end).await, "");
    for n in 4..=7 {
        publish(&hub, "x", &n.to_string()).await;
    }
    hub.reaches(Position::new(7, 7)).await;
    let events = |from: u64| -> String {
        (from..=7)
            .map(|n| wire(&n.to_string(), Position::new(7, n)))
            .collect()
    };
    for after in [7, 6] {
        assert_eq!(read(&mut resumed(after)).await, events(after + 1));
    }
    assert_eq!(log.state().replays[0], 0);
    for after in [5, 4, 3] {
        assert_eq!(
            read(&mut resumed(after)).await,
            events(after + 1),
            "{after}"
        );
        assert_eq!(log.state().replays[0], 6 - after as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_clients_that_come_back_four_read_the_log_at_once() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 1).await;
    let at = [publish(&hub, "x", "1").await, publish(&hub, "x", "2").await];
    hub.reaches(at[1]).await;
    log.state().delay = Duration::from_millis(10);
    let clients = (0..40).map(|_| {
        let mut resumed = hub.subscribe(["x"]).after(last(Position::default()));
        tokio::spawn(async move { read(&mut resumed).await })
    });
    let clients: Vec<_> = clients.collect();
    for client in clients {
        let got = finished("a client", client).await;
        assert_eq!(got, wire("1", at[0]) + &wire("2", at[1]));
    }
    assert_eq!(log.state().replays, [40, 0, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_is_tried_again_after_50_ms_and_then_at_most_every_second() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let mut reader = hub.subscribe(["x"]);
    for data in ["first", "second"] {
        sleep(Duration::from_secs(5)).await;
        log.state().is_away = true;
        // The wait that is under way fails, and is not one of the tries that follow.
        sleep(Duration::from_millis(20)).await;
        log.state().followed.clear();
        let lost = Instant::now();
        sleep(Duration::from_secs(6)).await;
        let tries = log.state().followed.clone();
        let pauses = tries.windows(2).map(|tries| tries[1] - tries[0]);
        let pauses: Vec<_> = pauses.map(|pause| pause.as_millis()).collect();
        assert!(tries[0] - lost <= Duration::from_millis(50));
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]);

        // The subscribers are still there.
        log.state().is_away = false;
        let at = publish(&hub, "x", data).await;
        assert_eq!(read(&mut reader).await, wire(data, at));
    }
}

/// Entries that were there before count once.
#[tokio::test(start_paused = true)]
async fn two_who_follow_bring_each_event_once() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let _again = Node::of(hub.hub.clone());
    let mut reader = hub.subscribe(["x"]);
    log.state().delay = Duration::from_millis(10);
    let at = [publish(&hub, "x", "1").await, publish(&hub, "x", "2").await];
    let both = wire("1", at[0]) + &wire("2", at[1]);
    assert_eq!(read(&mut reader).await, both);
    assert_eq!((hub.head(), hub.topics()[0].published), (at[1], 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_read_while_the_hub_is_closed_is_not_delivered() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let mut reader = hub.subscribe(["x"]);
    let first = publish(&hub, "x", "1").await;
    hub.reaches(first).await;
    log.state().delay = Duration::from_secs(1);
    let second = publish(&hub, "x", "2").await;
    let reads = log.state().followed.len();
    until("the read to begin", || log.state().followed.len() > reads).await;
    hub.close();
    until("the reader to end", || hub._follows.is_finished()).await;
    assert_eq!(hub.head(), first);
    assert!(log.state().head() == second);
    assert_eq!(read(&mut reader).await, wire("1", first));
}

/// An engine comes back with less than it had: nobody knows what was behind that, of any topic.
#[tokio::test(start_paused = true)]
async fn everybody_is_reset_if_the_log_has_lost_something() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let at: Vec<_> = (1..=4).map(|n| Position::new(0, n)).collect();
    for at in &at {
        assert_eq!(publish(&hub, "x", &at.lo().to_string()).await, *at);
    }
    hub.reaches(at[3]).await;
    let mut subscriptions = ["x", "quiet"].map(|topic| hub.subscribe([topic]));
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, "");
    }
    log.state().entries.truncate(2);
    let new = Position::new(9, 1);
    log.push(new, "y", "new");
    hub.reaches(new).await;
    for subscription in &mut subscriptions {
        assert_eq!(read(subscription).await, reset("lagged", new));
    }
    // Nor is it known to those who come back, with topics that the hub has and that it has not.
    for topics in [&["x"][..], &["quiet"], &["another"], &["x", "another"]] {
        let mut lost = hub.subscribe(topics).after(last(at[2]));
        assert_eq!(read(&mut lost).await, reset("expired", new), "{topics:?}");
    }
    // What the log has still it replays.
    for (topics, expected) in [
        (&["x"][..], wire("2", at[1])),
        (&["another"], String::new()),
    ] {
        let mut kept = hub.subscribe(topics).after(last(at[0]));
        assert_eq!(read(&mut kept).await, expected, "{topics:?}");
    }
}

/// It is known when the engine is there again, also if nothing new is written.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_away_is_read_again_and_not_waited_for() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let first = publish(&hub, "x", "1").await;
    let second = publish(&hub, "x", "2").await;
    hub.reaches(second).await;
    log.state().is_away = true;
    sleep(Duration::from_secs(2)).await;
    log.state().entries.truncate(1);
    log.state().is_away = false;
    hub.reaches(first).await;
}

/// A log that says it has more than it gives does not hold up a server that starts.
#[tokio::test(start_paused = true)]
async fn a_server_starts_at_the_head_of_a_log_that_gives_nothing() {
    let log = Arc::new(Engine::default());
    let head = Position::new(0, 9);
    log.state().head = Some(head);
    let hub = Hub::builder().distributed(log.clone());
    let hub = within("the log to be loaded", hub).await.unwrap();
    assert_eq!(hub.head(), head);
    assert_eq!(log.state().followed.len(), 1);
}

mod memory_log {
    use super::*;

    async fn entries(
        log: &MemoryLog,
        after: u64,
        upto: Option<u64>,
        max: usize,
    ) -> Option<Vec<u64>> {
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
    async fn it_reads_from_what_it_has_and_from_the_last_that_it_dropped() {
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
    async fn it_knows_the_keys_of_the_entries_that_it_keeps() {
        let log = MemoryLog::new(7, 2);
        assert_eq!(append(&log, "x", Some("a")).await, 1);
        assert_eq!(append(&log, "x", None).await, 2);
        assert_eq!(append(&log, "x", None).await, 3, "no key is no key twice");
        assert_eq!(append(&log, "x", Some("b")).await, 4);
        assert_eq!(append(&log, "x", Some("b")).await, 4);
        assert_eq!(append(&log, "x", Some("a")).await, 5, "it was dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_for_an_entry_and_not_for_longer_than_that() {
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
            finished("the one that waits", waits).await,
            (1, Duration::from_secs(1))
        );
        append(&log, "x", None).await;
        assert_eq!(within("the entries", wait(9)).await, (2, Duration::ZERO));
        assert_eq!(within("the entries", wait(1)).await, (1, Duration::ZERO));
    }
}

/// Three servers, sixty clients that hop between them, publishers on each, and a log that fails
/// and is trimmed. Every client sees each event of its topics once and in order, or is reset.
#[tokio::test(start_paused = true)]
async fn clients_that_hop_between_servers_lose_and_double_nothing_untold() {
    const TOPICS: usize = 6;
    let mut chance = chance();
    let log = Arc::new(Faulty {
        log: MemoryLog::new(7, 2_000),
        chance: Mutex::new(fork(&mut chance)),
        faults: AtomicU64::new(0),
    });
    let mut nodes = Vec::new();
    while nodes.len() < 3 {
        let hub = Hub::builder().history(50).distributed(log.clone());
        if let Ok(hub) = within("the log to be loaded, or not", hub).await {
            nodes.push(Node::of(hub));
        }
        assert!(log.faults.load(SeqCst) < 1_000, "the log cannot be loaded");
    }
    let hubs: Vec<DistributedHub> = nodes.iter().map(|node| node.hub.clone()).collect();
    // One publisher counts in each topic. What is not known to be written is published again with
    // its key.
    let publishers = (0..TOPICS).map(|topic| {
        let (hub, mut chance) = (hubs[topic % 3].clone(), fork(&mut chance));
        tokio::spawn(async move {
            let name = topic.to_string();
            for n in 0_u64..2_000 {
                let text = format!("{topic} {n}");
                for tries in 0.. {
                    assert!(tries < 100, "the log does not take {text}");
                    let published = hub.publish_once(&name, Event::data(text.clone()), &text);
                    if within("the log to take it, or not", published)
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
    // Those who are away come back, and all read on; they publish too, so there is no end.
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
    println!("{seen} events were seen, {resets} resets, {hops} hops, {faults} faults");
    assert!(seen > 50_000 && hops > 500 && faults > 500 && resets > 10);
}

/// Reads two topics, now here, now there; tells how many events, resets and hops.
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
        // It was closed, or could not read the log.
        if pieces > 0 {
            let probe = node.publish("nobody", Event::data(""));
            let probe = within("the log to take it, or not", probe).await;
            if matches!(probe, Err(PublishError::Closed)) {
                return counts;
            }
        }
        counts[2] += 1;
        sleep(Duration::from_millis(chance.random_range(0..2_000))).await;
    }
}
