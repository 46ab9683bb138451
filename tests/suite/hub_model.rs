//! The hub against a simple model, a list of the events of each topic. With real threads, each
//! subscriber checks by itself that no event is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Event, Hub, LastEventId, Subscription,
    hub::{OnLag, Position},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};

use crate::{
    chance::{chance, fork},
    deadline::{joined, until_blocking, watch, within},
};

const TOPICS: usize = 12;
const PUBLISHERS: usize = 8;
const SUBSCRIBERS: usize = 32;
/// The number of events in the history of a topic.
const HISTORY: usize = 20;

type Topics = BTreeSet<usize>;

fn name(topic: usize) -> String {
    format!("topic {topic}")
}

fn some_topics(chance: &mut TestRng) -> Topics {
    let wanted = chance.random_range(1..=4);
    (0..wanted)
        .map(|_| chance.random_range(0..TOPICS))
        .collect()
}

/// An event or a reset that a client sees, with its position and its text.
#[derive(Clone, Debug, PartialEq)]
struct Seen(Position, String);

/// Reads all available events. Returns them, and `false` if the subscription has ended.
fn read(subscription: &mut Subscription) -> (Vec<Seen>, bool) {
    let mut seen = Vec::new();
    loop {
        match subscription.next().now_or_never() {
            Some(Some(events)) => {
                let wire = String::from_utf8(events.as_bytes().to_vec()).unwrap();
                let before = seen.len();
                seen.extend(wire.split_terminator("\n\n").map(|event| {
                    let (event, id) = event.rsplit_once("\nid: ").unwrap();
                    Seen(id.parse().unwrap(), event.to_owned())
                }));
                assert_eq!(events.count(), (seen.len() - before) as u64);
            }
            Some(None) => return (seen, false),
            None => return (seen, true),
        }
    }
}

/// The expected state of a hub.
struct Model {
    head: Position,
    topics: Vec<Topic>,
    /// The last position that a removed topic has lost.
    forgotten: Position,
    closed: bool,
}

#[derive(Clone, Default)]
struct Topic {
    events: Vec<Seen>,
    subscribers: usize,
    /// The last position that the topic has lost. `None` if the topic does not exist.
    lost: Option<Position>,
}

impl Model {
    fn new(head: Position) -> Self {
        Self {
            head,
            topics: vec![Topic::default(); TOPICS],
            forgotten: head,
            closed: false,
        }
    }

    fn publish(&mut self, topic: usize, at: Position, text: &str) {
        assert_eq!(at, Position::new(self.head.hi(), self.head.lo() + 1));
        self.head = at;
        let topic = &mut self.topics[topic];
        let lost = topic.lost.get_or_insert(self.forgotten);
        topic.events.push(Seen(at, format!("data: {text}")));
        if topic.events.len() > HISTORY {
            *lost = topic.events.remove(0).0;
        }
    }

    fn remove(&mut self, topic: usize) {
        let of_topic = &mut self.topics[topic];
        if let Some(last) = of_topic.events.last() {
            of_topic.lost = Some(last.0);
            of_topic.events.clear();
        }
        self.forget(topic);
    }

    fn join(&mut self, topics: &Topics) {
        for &topic in topics {
            self.topics[topic].lost.get_or_insert(self.forgotten);
            self.topics[topic].subscribers += 1;
        }
    }

    fn leave(&mut self, topics: &Topics) {
        for &topic in topics {
            self.topics[topic].subscribers -= 1;
            self.forget(topic);
        }
    }

    fn forget(&mut self, topic: usize) {
        let topic = &mut self.topics[topic];
        if topic.subscribers == 0 && topic.events.is_empty() {
            self.forgotten = self.forgotten.max(topic.lost.take().unwrap_or_default());
        }
    }

    /// Returns what a client sees next, and `false` if its subscription has ended.
    fn read(&self, client: &mut Client) -> (Vec<Seen>, bool) {
        if client.over {
            return (vec![], false);
        }
        let fresh = std::mem::take(&mut client.fresh);
        let topics = client.topics.iter().map(|&topic| &self.topics[topic]);
        let lost = topics
            .clone()
            .any(|topic| topic.lost.unwrap() > client.after);
        let reason = match fresh {
            Some(Fresh::Unknown) => Some("unknown"),
            Some(Fresh::New) if client.on_lag == OnLag::Latest => Some("unknown"),
            Some(Fresh::Resumed) if lost => Some("expired"),
            _ if lost => Some("lagged"),
            _ => None,
        };
        let newer = |topic: &Topic, after| {
            let events = topic.events.iter().filter(move |seen| seen.0 > after);
            events.cloned().collect::<Vec<_>>()
        };
        let after = match reason {
            Some("unknown") => Position::default(),
            _ => client.after,
        };
        let mut seen: Vec<_> = match (reason, client.on_lag) {
            (None, _) => topics.flat_map(|topic| newer(topic, after)).collect(),
            (Some(_), OnLag::Latest) => {
                let newest = topics.filter_map(|topic| newer(topic, after).pop());
                newest.collect()
            }
            (Some("lagged"), OnLag::Disconnect) => {
                client.over = true;
                return (vec![], false);
            }
            (Some(reason), _) => {
                vec![Seen(self.head, format!("event: reset\ndata: {reason}"))]
            }
        };
        seen.sort_by_key(|seen| seen.0);
        client.after = match reason {
            Some(_) => self.head,
            None => seen.last().map_or(client.after, |seen| seen.0),
        };
        client.over = self.closed;
        (seen, !self.closed)
    }
}

/// A client and its expected state.
struct Client {
    subscription: Subscription,
    topics: Topics,
    on_lag: OnLag,
    after: Position,
    fresh: Option<Fresh>,
    over: bool,
}

enum Fresh {
    New,
    Resumed,
    Unknown,
}

impl Client {
    fn connect(hub: &Hub, model: &mut Model, chance: &mut TestRng) -> Self {
        let topics = some_topics(chance);
        let on_lag = [OnLag::Reset, OnLag::Disconnect, OnLag::Latest][chance.random_range(0..3)];
        let head = model.head;
        let (fresh, after, id) = match chance.random_range(0..10) {
            0..3 => (Fresh::New, head, String::new()),
            3 => (
                Fresh::Unknown,
                head,
                format!("{}-{}", head.hi(), head.lo() + 1),
            ),
            4 => (
                Fresh::Unknown,
                head,
                format!("{}-{}", head.hi() - 1, head.lo()),
            ),
            5 => (Fresh::Unknown, head, "garbage".into()),
            _ => {
                let back = chance.random_range(0..2 * (TOPICS * HISTORY) as u64);
                let after = Position::new(head.hi(), head.lo().saturating_sub(back));
                (Fresh::Resumed, after, after.to_string())
            }
        };
        let id: LastEventId = id.parse().unwrap();
        let names = topics.iter().map(|&topic| name(topic));
        model.join(&topics);
        Self {
            subscription: hub.subscribe(names).after(id).on_lag(on_lag),
            topics,
            on_lag,
            after,
            fresh: Some(fresh),
            over: false,
        }
    }

    fn leave(self, model: &mut Model) {
        model.leave(&self.topics);
    }
}

/// Runs a million operations. Each subscriber must see exactly what the model predicts.
#[test]
fn subscribers_see_what_the_model_predicts() {
    const OPERATIONS: usize = 1_000_000;
    /// The number of operations after which the hub is closed and replaced.
    const CLOSE: usize = 50_000;

    watch();
    let mut chance = chance();
    let new = || Hub::builder().history(HISTORY).build();
    let mut hub = new();
    let mut model = Model::new(hub.head());
    let mut clients: Vec<Client> = Vec::new();
    let (mut seen, mut resets) = (0, 0);
    for operation in 1..=OPERATIONS {
        if operation % CLOSE == 0 {
            hub.close();
            model.closed = true;
            for mut client in clients.drain(..) {
                assert_eq!(read(&mut client.subscription), model.read(&mut client));
            }
            hub = new();
            model = Model::new(hub.head());
        }
        let client = chance.random_range(0..SUBSCRIBERS);
        match chance.random_range(0..1_000) {
            0 => {
                let topic = chance.random_range(0..TOPICS);
                hub.remove(&name(topic));
                model.remove(topic);
            }
            1..20 if client < clients.len() => clients.swap_remove(client).leave(&mut model),
            20..60 if clients.len() < SUBSCRIBERS => {
                clients.push(Client::connect(&hub, &mut model, &mut chance));
            }
            60..500 if client < clients.len() => {
                let client = &mut clients[client];
                let (got, goes_on) = read(&mut client.subscription);
                seen += got.len();
                resets += got
                    .iter()
                    .filter(|seen| seen.1.starts_with("event"))
                    .count();
                assert_eq!((got, goes_on), model.read(client));
            }
            _ => {
                // Some topics are busier than others.
                let topic = chance
                    .random_range(0..TOPICS)
                    .min(chance.random_range(0..TOPICS));
                let text = format!("{operation} by {}", chance.random_range(0..PUBLISHERS));
                let at = hub
                    .publish(&name(topic), Event::data(text.clone()))
                    .unwrap();
                model.publish(topic, at, &text);
            }
        }
    }
    println!("{seen} events were seen, {resets} of them resets");
    assert!(seen > OPERATIONS && resets > OPERATIONS / 1_000);
}

/// Runs eight publishers and thirty-two subscribers in threads of their own. Each publisher numbers
/// the events of its own topics. So a subscriber detects events that are missing, repeated or out
/// of order. Only a reset may be followed by any number.
#[test]
fn threads_see_each_event_once_and_in_order() {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let rounds = if required { 60 } else { 1 };
    let hub = Hub::builder().history(200).build();
    let over = Arc::new(AtomicBool::new(false));
    let mut chance = chance();
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let (hub, over, mut chance) = (hub.clone(), over.clone(), fork(&mut chance));
        thread::spawn(move || {
            let mut counts = [0_u64; 4];
            while !over.load(SeqCst) {
                for _ in 0..chance.random_range(1..50) {
                    let topic = chance.random_range(0..counts.len());
                    let event = Event::data(format!("{publisher}.{topic} {}", counts[topic]));
                    hub.publish(&format!("{publisher}.{topic}"), event).unwrap();
                    counts[topic] += 1;
                }
                thread::yield_now();
            }
            counts.iter().sum::<u64>()
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let totals = Arc::new(Mutex::new([0_u64; 3]));
    let subscribers = (0..SUBSCRIBERS).map(|_| {
        let (hub, over, mut chance, totals) =
            (hub.clone(), over.clone(), fork(&mut chance), totals.clone());
        thread::spawn(move || {
            while !over.load(SeqCst) {
                let names: BTreeSet<String> = (0..chance.random_range(1..6))
                    .map(|_| {
                        let publisher = chance.random_range(0..PUBLISHERS);
                        format!("{publisher}.{}", chance.random_range(0..4))
                    })
                    .collect();
                let read = follow(&hub, &names, &over, &mut chance);
                let mut totals = totals.lock().unwrap();
                totals
                    .iter_mut()
                    .zip(read)
                    .for_each(|(total, read)| *total += read);
            }
        })
    });
    let subscribers: Vec<_> = subscribers.collect();
    for round in 1..=rounds {
        until_blocking("enough events and resumes", || {
            let [seen, _, resumes] = *totals.lock().unwrap();
            let failed = publishers.iter().any(thread::JoinHandle::is_finished)
                || subscribers.iter().any(thread::JoinHandle::is_finished);
            failed || (seen > round * 200_000 && resumes > round * 2_000)
        });
    }
    over.store(true, SeqCst);
    let published = publishers
        .into_iter()
        .map(|thread| joined("a publisher to end", thread));
    let published: u64 = published.sum();
    hub.close(); // wakes the subscribers that wait
    for thread in subscribers {
        joined("a subscriber to end", thread);
    }
    let [seen, resets, resumes] = *totals.lock().unwrap();
    println!("{published} published, {seen} seen, {resets} resets, {resumes} resumes");
}

/// Reads some topics, and resumes at times. Returns the numbers of events, resets and resumes.
fn follow(
    hub: &Hub,
    names: &BTreeSet<String>,
    over: &AtomicBool,
    chance: &mut TestRng,
) -> [u64; 3] {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut after = None;
    let mut counts = [0; 3];
    let mut subscription = hub.subscribe(names);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..chance.random_range(1..200) {
        // With a lost wake-up, this would wait until the deadline.
        let events = within("an event or the end of the hub", subscription.next());
        let Some(events) = runtime.block_on(events) else {
            return counts;
        };
        let wire = std::str::from_utf8(events.as_bytes()).unwrap();
        for event in wire.split_terminator("\n\n") {
            let (event, id) = event.rsplit_once("\nid: ").unwrap();
            let at: Position = id.parse().unwrap();
            counts[0] += 1;
            if event.starts_with("event: reset") {
                counts[1] += 1;
                next.clear();
            } else {
                let (topic, count) = event
                    .strip_prefix("data: ")
                    .unwrap()
                    .split_once(' ')
                    .unwrap();
                let count: u64 = count.parse().unwrap();
                assert!(after < Some(at), "{at} is out of order");
                assert!(names.contains(topic), "not subscribed to {topic}");
                let expected = next.insert(topic.to_owned(), count + 1);
                assert!(
                    expected.is_none_or(|expected| expected == count),
                    "{topic} {count}"
                );
            }
            after = Some(at);
        }
        if let Some(at) = after.filter(|_| chance.random_range(0..4) == 0) {
            counts[2] += 1;
            if chance.random_range(0..2) == 0 && !over.load(SeqCst) {
                thread::sleep(Duration::from_millis(1)); // stays away for a while
            }
            let last = at.to_string().parse().unwrap();
            subscription = hub.subscribe(names).after(last);
        }
    }
    counts
}
