//! Logs that go back: every subscription is reset, whatever its position and its topics.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Hub, Subscription,
    hub::{DistributedHub, MemoryLog, Position},
};

use super::{Node, engine::Engine, last, publish, read, reset, wire};
use crate::deadline::{finished, within};

/// The topics of the subscriptions. Only `x` has events.
const TOPICS: [&[&str]; 4] = [&["x"], &["quiet"], &["x", "quiet"], &["quiet", "other"]];

/// Subscriptions of all kinds of topics, at all kinds of positions.
struct Subscriptions {
    /// They have read everything.
    current: Vec<Subscription>,
    /// They were never polled.
    new: Vec<Subscription>,
    /// They resume from the middle of the log, and were never polled.
    resuming: Vec<Subscription>,
}

impl Subscriptions {
    async fn start(hub: &Node, middle: Position) -> Self {
        let mut current: Vec<_> = TOPICS.map(|topics| hub.subscribe(topics)).into();
        for middle in [Position::new(7, 0), middle, hub.head()] {
            let resumed = TOPICS.map(|topics| hub.subscribe(topics).after(last(middle)));
            current.extend(resumed);
        }
        for subscription in &mut current {
            read(subscription).await;
        }
        Self {
            current,
            new: TOPICS.map(|topics| hub.subscribe(topics)).into(),
            resuming: TOPICS
                .map(|topics| hub.subscribe(topics).after(last(middle)))
                .into(),
        }
    }

    /// Asserts that each gets one reset, and then the events that are published.
    async fn are_reset(self, hub: &Node, case: &str) {
        let head = hub.head();
        let (current, new) = (self.current.into_iter(), self.new.into_iter());
        let lagged = current.chain(new).map(|it| (it, "lagged"));
        let expired = self.resuming.into_iter().map(|it| (it, "expired"));
        let mut all: Vec<_> = lagged.chain(expired).collect();
        for (n, (subscription, reason)) in all.iter_mut().enumerate() {
            assert_eq!(
                read(subscription).await,
                reset(reason, head),
                "{case}, {n} of {TOPICS:?}"
            );
        }
        let x = publish(hub, "x", "x").await;
        let quiet = publish(hub, "quiet", "quiet").await;
        for (n, (subscription, _)) in all.iter_mut().enumerate() {
            let topics = TOPICS[n % TOPICS.len()];
            let mut expected = String::new();
            for (topic, at) in [("x", x), ("quiet", quiet)] {
                if topics.contains(&topic) {
                    expected += &wire(topic, at);
                }
            }
            assert_eq!(read(subscription).await, expected, "{case}, {topics:?}");
        }
    }
}

/// Returns a log of 100 events, with positions from 7-1 to 7-100.
fn log_of_100() -> Arc<Engine> {
    let log = Engine::default();
    log.state().floor = Position::new(7, 0);
    (1..=100).for_each(|n| log.push(Position::new(7, n), "x", &n.to_string()));
    Arc::new(log)
}

#[tokio::test(start_paused = true)]
async fn every_subscription_is_reset_if_the_log_goes_back() {
    type Loss = fn(&Engine);
    let losses: [(&str, Position, Loss); 4] = [
        ("7-90", Position::new(7, 90), |log| {
            log.state().entries.truncate(90);
        }),
        ("6-90", Position::new(6, 90), |log| {
            log.state().entries.clear();
            log.state().floor = Position::new(6, 0);
            (1..=90).for_each(|n| log.push(Position::new(6, n), "x", "other"));
        }),
        ("7-90 with other entries", Position::new(7, 90), |log| {
            log.state().entries.clear();
            log.state().floor = Position::new(7, 89);
            log.push(Position::new(7, 90), "other", "other");
        }),
        ("empty", Position::new(7, 0), |log| {
            log.state().entries.clear();
        }),
    ];
    for (case, head, lose) in losses {
        for history in [3, 1_000] {
            let log = log_of_100();
            let hub = Node::start(&log, history).await;
            let subscriptions = Subscriptions::start(&hub, Position::new(7, 50)).await;
            lose(&log);
            hub.reaches(head).await;
            subscriptions.are_reset(&hub, case).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_subscription_is_reset_if_a_log_in_memory_loses_entries() {
    for lost in [1, 10, 100] {
        let log = Arc::new(MemoryLog::new(7, 1_000));
        let hub = Node::start(&log, 1_000).await;
        for n in 1..=100 {
            publish(&hub, "x", &n.to_string()).await;
        }
        hub.reaches(Position::new(7, 100)).await;
        let subscriptions = Subscriptions::start(&hub, Position::new(7, 50)).await;
        log.lose(lost);
        hub.reaches(Position::new(7, 100 - lost as u64)).await;
        let case = format!("{lost} lost");
        subscriptions.are_reset(&hub, &case).await;
    }
}

/// The log goes back and grows beyond its former head before the server reads it again.
#[tokio::test(start_paused = true)]
async fn a_loss_is_noticed_if_the_log_has_grown_since() {
    let log = Arc::new(MemoryLog::new(7, 1_000));
    let hub = Node::start(&log, 1_000).await;
    for n in 1..=5 {
        publish(&hub, "x", &n.to_string()).await;
    }
    hub.reaches(Position::new(7, 5)).await;
    let mut quiet = hub.subscribe(["quiet"]);
    let mut both = hub.subscribe(["x", "quiet"]);
    assert!(quiet.next().now_or_never().is_none());
    assert!(both.next().now_or_never().is_none());
    log.lose(0);
    assert_eq!(read(&mut quiet).await, "");
    log.lose(2);
    let mut at = Position::default();
    for n in 6..=20 {
        at = publish(&hub, "x", &n.to_string()).await;
    }
    for subscription in [&mut quiet, &mut both] {
        assert_eq!(read(subscription).await, reset("lagged", at));
    }
    let next = publish(&hub, "quiet", "next").await;
    for subscription in [&mut quiet, &mut both] {
        assert_eq!(read(subscription).await, wire("next", next));
    }
}

/// A server that has no subscription to a topic during the loss forgets the topic's events too.
#[tokio::test(start_paused = true)]
async fn lost_events_are_not_replayed() {
    let log = log_of_100();
    let hub = Node::start(&log, 1_000).await;
    log.state().entries.truncate(98);
    hub.reaches(Position::new(7, 98)).await;
    let kept = |hub: &Node| hub.topic("x").map(|topic| topic.events);
    assert_eq!(kept(&hub), Some(98));
    let mut last_three = hub.subscribe(["x"]).replay(3);
    let expected: String = (96..=98)
        .map(|n: u64| wire(&n.to_string(), Position::new(7, n)))
        .collect();
    assert_eq!(read(&mut last_three).await, expected);
    for id in ["7-99", "7-100"] {
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        assert_eq!(read(&mut resumed).await, reset("expired", hub.head()));
    }
}

/// Nothing proves that the log has no entries between the last one and its head.
#[tokio::test(start_paused = true)]
async fn a_head_beyond_the_entries_is_a_gap() {
    let log = log_of_100();
    let head = Position::new(7, 200);
    log.state().head = Some(head);
    let hub = Hub::builder().distributed(log);
    let hub = within("the log to be loaded", hub).await.unwrap();
    assert_eq!((hub.head(), hub.topics()), (head, vec![]));
    let mut resumed = hub.subscribe(["x"]).after(last("7-100"));
    assert_eq!(read(&mut resumed).await, reset("expired", head));
}

#[tokio::test]
async fn a_subscription_without_topics_ends_after_a_gap() {
    let log = log_of_100();
    let hub = Node::start(&log, 3).await;
    let mut idle = hub.subscribe::<&str>([]);
    let idle =
        tokio::spawn(async move { within("the end of the subscription", idle.next()).await });
    tokio::task::yield_now().await;
    log.state().entries.truncate(90);
    hub.reaches(Position::new(7, 90)).await;
    tokio::task::yield_now().await;
    hub.close();
    assert_eq!(finished("the subscription", idle).await, None);
}

/// A task that resumes another client as soon as it is woken.
struct Resumes {
    hub: DistributedHub,
    id: Position,
    seen: Mutex<Vec<String>>,
}

impl Wake for Resumes {
    fn wake(self: Arc<Self>) {
        let mut resumed = self.hub.subscribe(["x"]).after(last(self.id));
        let events = resumed.next().now_or_never().unwrap().unwrap();
        let wire = String::from_utf8(events.as_bytes().to_vec()).unwrap();
        self.seen.lock().unwrap().push(wire);
    }
}

/// The client has an id that is still in the log. It may have missed an entry that was lost.
#[tokio::test(start_paused = true)]
async fn a_client_that_resumes_while_others_are_reset_is_reset_too() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 100).await;
    for n in 1..=10 {
        publish(&hub, "x", &n.to_string()).await;
    }
    hub.reaches(Position::new(7, 10)).await;
    let resumes = Arc::new(Resumes {
        hub: hub.hub.clone(),
        id: Position::new(7, 5),
        seen: Mutex::default(),
    });
    let mut live = hub.subscribe(["x"]);
    let waker = Waker::from(resumes.clone());
    assert!(
        live.poll_next_unpin(&mut Context::from_waker(&waker))
            .is_pending()
    );
    log.lose(3);
    let head = Position::new(7, 7);
    hub.reaches(head).await;
    assert_eq!(read(&mut live).await, reset("lagged", head));
    assert_eq!(*resumes.seen.lock().unwrap(), [reset("expired", head)]);
}

/// The client was reset by another server, or has an event that was published after the loss.
#[tokio::test(start_paused = true)]
async fn a_client_with_an_id_from_after_the_loss_is_not_reset_again() {
    let log = Arc::new(MemoryLog::new(7, 100));
    let hub = Node::start(&log, 100).await;
    for n in 1..=5 {
        publish(&hub, "x", &n.to_string()).await;
    }
    hub.reaches(Position::new(7, 5)).await;
    log.lose(2);
    for n in 6..=20 {
        publish(&hub, "x", &n.to_string()).await;
    }
    let head = Position::new(7, 20);
    hub.reaches(head).await;
    for (id, expected) in [
        ("7-3", reset("expired", head)),
        ("7-5", reset("expired", head)),
        ("7-19", wire("20", head)),
    ] {
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        assert_eq!(read(&mut resumed).await, expected, "{id}");
    }
}

/// A server that has forgotten the first events of a topic reads them from the log again.
#[tokio::test(start_paused = true)]
async fn a_topic_has_its_start_again_after_the_log_was_loaded() {
    for goes_on in [false, true] {
        let log = Arc::new(MemoryLog::new(7, 200));
        let hub = Hub::builder().memory(20_000).distributed(log.clone());
        let hub = Node::of(within("the log to be loaded", hub).await.unwrap());
        for n in 1..=3 {
            publish(&hub, "x", &n.to_string()).await;
        }
        let data = "x".repeat(300);
        for n in 0..100 {
            publish(&hub, &n.to_string(), &data).await;
        }
        let mut lost = 100;
        if goes_on {
            publish(&hub, "x", "4").await;
            lost += 1;
        }
        hub.reaches(Position::new(7, 3 + lost)).await;
        if goes_on {
            let mut reader = hub.subscribe(["x"]).from_start();
            let expired = reset("expired", Position::new(7, 3 + lost));
            assert_eq!(read(&mut reader).await, expired);
        }
        log.lose(lost as usize);
        hub.reaches(Position::new(7, 3)).await;
        assert_eq!(hub.topics().len(), 1);
        let mut reader = hub.subscribe(["x"]).from_start();
        let all = (1..=3).map(|n| wire(&n.to_string(), Position::new(7, n)));
        assert_eq!(read(&mut reader).await, all.collect::<String>());
    }
}

/// A log may be trimmed while a server that starts reads it. The server begins again.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_trimmed_while_it_is_loaded_is_loaded_again() {
    for (trims, kept) in [(0, 100), (1, 98), (2, 96), (3, 0)] {
        let log = log_of_100();
        log.state().trims = trims;
        let node = Node::start(&log, 1_000).await;
        let events = node.topic("x").map_or(0, |topic| topic.events);
        assert_eq!(events, kept, "after {trims} trims");
        assert_eq!(node.head(), log.state().head());
    }
}
