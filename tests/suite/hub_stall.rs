//! A subscriber that does not read has no effect on a thousand that do. Its memory is measured in
//! `tests/costs/hub_cost.rs`.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::{FutureExt as _, Stream as _, StreamExt as _};
use http_sse::{Event, Hub, Subscription, hub::OnLag};
use tokio::task::{LocalSet, spawn_local, yield_now};

use crate::deadline::{finished, within};

const READERS: usize = 999;
/// The number of events in the history of a topic.
const HISTORY: usize = 64;

/// A waker that counts its wake-ups.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The work of one reader for a burst of events.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Burst {
    events: u64,
    pieces: usize,
    polls: usize,
    /// The number of turns of the scheduler until all readers had all events.
    turns: usize,
}

/// Publishes bursts to 999 readers. Returns the work of each reader for each burst.
async fn bursts(hub: &Hub) -> Vec<Vec<Burst>> {
    const BURSTS: [usize; 6] = [1, 2, 8, 1, HISTORY, 8];
    let readers: Vec<_> = (0..READERS)
        .map(|_| Rc::new(RefCell::new(Burst::default())))
        .collect();
    let mut tasks = Vec::new();
    for reader in &readers {
        let (mut subscription, reader) = (hub.subscribe(["a"]), reader.clone());
        let next = hub.head().lo() + 1;
        tasks.push(spawn_local(async move {
            let mut next = next;
            let polled = poll_fn(move |cx| {
                reader.borrow_mut().polls += 1;
                while let Poll::Ready(events) = Pin::new(&mut subscription).poll_next(cx) {
                    let Some(events) = events else {
                        return Poll::Ready(());
                    };
                    let mut reader = reader.borrow_mut();
                    reader.pieces += 1;
                    reader.events += events.count();
                    for event in std::str::from_utf8(events.as_bytes()).unwrap().lines() {
                        if let Some(data) = event.strip_prefix("data: ") {
                            assert_eq!(data, next.to_string());
                            next += 1;
                        }
                    }
                }
                Poll::Pending
            });
            within("the end", polled).await;
        }));
    }
    yield_now().await;
    let mut all = Vec::new();
    for burst in BURSTS {
        for reader in &readers {
            assert_eq!(reader.take().events, 0);
        }
        for _ in 0..burst {
            let event = Event::data((hub.head().lo() + 1).to_string());
            hub.publish("a", event).unwrap();
        }
        let all_read = || {
            let mut events = readers.iter().map(|reader| reader.borrow().events);
            events.all(|events| events == burst as u64)
        };
        let mut turns = 0;
        while !all_read() {
            assert!(turns < 10_000, "an event does not arrive");
            yield_now().await;
            turns += 1;
        }
        // Late polls are counted too.
        for _ in 0..3 {
            yield_now().await;
        }
        let of_burst = readers.iter().map(|reader| Burst {
            turns,
            ..*reader.borrow()
        });
        all.push(of_burst.collect());
        readers.iter().for_each(|reader| _ = reader.take());
    }
    hub.close();
    for task in tasks {
        finished("a reader", task).await;
    }
    all
}

/// Returns a subscription that waits for an event and does not read when it is woken.
fn stalled(hub: &Hub, on_lag: OnLag) -> (Subscription, Arc<Wakes>) {
    let head = hub.head().to_string().parse().unwrap();
    let mut subscription = hub.subscribe(["a"]).after(head).on_lag(on_lag);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut subscription).poll_next(&mut cx).is_pending());
    (subscription, wakes)
}

/// Compares the readers with those of a hub without a stalled subscriber. For each burst, they need
/// one poll, one piece and the same number of turns. The stalled subscriber is woken once for all
/// bursts. Its policy applies when it reads again.
#[tokio::test(start_paused = true)]
async fn a_stalled_subscriber_delays_no_other() {
    let local = LocalSet::new();
    let test = local.run_until(async {
        let new = || Hub::builder().history(HISTORY).build();
        let without = bursts(&new()).await;
        for burst in without.iter().flatten() {
            assert_eq!((burst.pieces, burst.polls), (1, 1));
        }
        for on_lag in [OnLag::Reset, OnLag::Disconnect, OnLag::Latest] {
            let hub = new();
            let (mut stalled, wakes) = stalled(&hub, on_lag);
            let with = bursts(&hub).await;
            assert!(
                with == without,
                "{on_lag:?}: {with:?}\nand without {without:?}"
            );
            // The first event wakes it. The later ones and the close find no waker.
            assert_eq!(wakes.0.load(SeqCst), 1);
            let head = hub.head();
            let expected = match on_lag {
                OnLag::Disconnect => None,
                OnLag::Latest => Some(format!("data: {}\nid: {head}\n\n", head.lo())),
                _ => Some(format!("event: reset\ndata: lagged\nid: {head}\n\n")),
            };
            let read = stalled.next().now_or_never().unwrap();
            let read = read.map(|events| String::from_utf8(events.as_bytes().to_vec()).unwrap());
            let read = read.filter(|read| !read.is_empty()); // the last item has no events
            assert_eq!(read, expected);
            assert!(stalled.next().now_or_never().unwrap().is_none());
        }
    });
    within("the test", test).await;
}
