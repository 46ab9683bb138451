//! Deadlines of the calls of a log that hangs or is unavailable.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture};
use http_sse::{
    CloseReason, Event, Hub, Sse,
    hub::{
        AppendError, Entry, EventLog, EventLogError, Page, Position, PublishError, Record, Tail,
    },
};
use tokio::time::{Instant, sleep};

use super::{Node, engine::Engine, last, publish, read, wire};
use crate::deadline::{finished, until, within, within_time};

const SECOND: Duration = Duration::from_secs(1);

/// A hub with a history of one event, on a log of five events.
async fn hub_of_5() -> (Arc<Engine>, Node) {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 1).await;
    let mut at = Position::default();
    for n in 1..=5 {
        at = publish(&hub, "x", &n.to_string()).await;
    }
    hub.reaches(at).await;
    (log, hub)
}

#[tokio::test(start_paused = true)]
async fn following_ends_at_once_when_the_hub_is_closed() {
    // In the first call of the tail, after a timeout, during a pause, in a new tail, in a load.
    for millis in [0, 5, 100, 2_000, 5_000, 5_020, 5_100, 9_000, 60_000] {
        for goes_back in [false, true] {
            let (log, hub) = hub_of_5().await;
            {
                let mut state = log.state();
                state.hangs = true;
                if goes_back {
                    state.entries.truncate(2);
                }
            }
            sleep(Duration::from_millis(millis)).await;
            let closed = Instant::now();
            hub.close();
            until("the task to end", || hub.follows.is_finished()).await;
            let delay = closed.elapsed();
            assert!(
                delay <= Duration::from_millis(2),
                "after {millis} ms: {delay:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn following_a_closed_hub_ends_at_once() {
    let (log, hub) = hub_of_5().await;
    log.state().hangs = true;
    hub.close();
    let closed = Instant::now();
    within("the end", hub.follow()).await;
    assert_eq!(closed.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn following_goes_on_after_a_call_that_hung() {
    let (log, hub) = hub_of_5().await;
    let mut reader = hub.subscribe(["x"]);
    log.state().hangs = true;
    sleep(SECOND / 10).await;
    // The call in progress never returns.
    log.state().hangs = false;
    let at = publish(&hub, "x", "6").await;
    let start = Instant::now();
    hub.reaches(at).await;
    assert!(start.elapsed() < 6 * SECOND);
    assert_eq!(read(&mut reader).await, wire("6", at));
}

#[tokio::test(start_paused = true)]
async fn a_publish_fails_after_5_s_with_an_unknown_outcome() {
    let (log, hub) = hub_of_5().await;
    log.state().hangs = true;
    let start = Instant::now();
    let published = within("the failure", hub.publish("x", Event::data("6"))).await;
    assert_eq!(start.elapsed(), 5 * SECOND);
    let is_unknown = matches!(
        published,
        Err(PublishError::Append(AppendError::Unknown(_)))
    );
    assert!(is_unknown, "{published:?}");

    let start = Instant::now();
    for failed in [
        within("the failure", hub.finish("x")).await,
        within("the failure", hub.remove("x")).await,
    ] {
        let is_unknown = matches!(failed, Err(PublishError::Append(AppendError::Unknown(_))));
        assert!(is_unknown, "{failed:?}");
    }
    assert_eq!(start.elapsed(), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_hub_fails_to_start_after_5_s() {
    let log = Arc::new(Engine::default());
    log.state().hangs = true;
    let start = Instant::now();
    let hub = within("the failure", Hub::builder().distributed(log)).await;
    assert!(hub.is_err());
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_the_log_ends_after_30_s() {
    let goodbye = || Event::data("goodbye");
    for hangs in [true, false] {
        let (log, hub) = hub_of_5().await;
        {
            let mut state = log.state();
            (state.hangs, state.is_unavailable) = (hangs, !hangs);
        }
        let clients = [0, 1].map(|_| {
            let (sender, reasons) = mpsc::channel();
            let resumed = hub.subscribe(["x"]).after(last("0-1"));
            let mut body = Sse::new(resumed)
                .keep_alive(None)
                .end_with(goodbye())
                .on_close(move |report| sender.send(report.reason).unwrap())
                .into_body();
            tokio::spawn(async move {
                let start = Instant::now();
                let mut sent = Vec::new();
                while let Some(Ok(frame)) = within_time(60 * SECOND, "a frame", body.next()).await {
                    sent.extend_from_slice(&frame);
                }
                (start.elapsed(), sent, reasons.try_recv())
            })
        });
        for client in clients {
            let (time, sent, reason) = finished("a client", client).await;
            assert!((29 * SECOND..=30 * SECOND).contains(&time), "{time:?}");
            assert!(!hangs || time == 30 * SECOND, "{time:?}");
            assert_eq!(String::from_utf8(sent).unwrap(), ":\n", "{hangs}");
            assert_eq!(reason, Ok(CloseReason::Error));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_the_log_resumes_when_it_is_available() {
    let (log, hub) = hub_of_5().await;
    log.state().is_unavailable = true;
    let mut resumed = hub.subscribe(["x"]).after(last("0-1"));
    assert_eq!(read(&mut resumed).await, "");
    log.state().is_unavailable = false;
    let expected: String = (2..=5)
        .map(|n: u64| wire(&n.to_string(), Position::new(0, n)))
        .collect();
    assert_eq!(read(&mut resumed).await, expected);
}

/// Subscriptions without an id need no read of the log, so they are open while it is unavailable.
#[tokio::test(start_paused = true)]
async fn calls_of_an_unavailable_log_are_bounded() {
    let (log, hub) = hub_of_5().await;
    log.state().is_unavailable = true;
    sleep(SECOND).await;
    log.state().followed.clear();
    let mut live = hub.subscribe(["x"]);
    let clients = (1..=4).map(|id| {
        let mut resumed = hub.subscribe(["x"]).after(last(Position::new(0, id)));
        tokio::spawn(async move { within_time(60 * SECOND, "the end", resumed.next()).await })
    });
    for client in clients.collect::<Vec<_>>() {
        finished("a client", client).await;
    }
    // Each client, except for the one whose events are in the history, reads after 0, 0.05, 0.15,
    // 0.35, 0.75, 1.55, 2.55, ... seconds.
    let reads = log.state().reads[0];
    assert!((3 * 30..=3 * 40).contains(&reads), "{reads}");
    let calls = log.state().followed.len();
    assert!((25..=40).contains(&calls), "{calls}");
    assert_eq!(read(&mut live).await, "");
    log.state().is_unavailable = false;
    let at = publish(&hub, "x", "6").await;
    assert_eq!(read(&mut live).await, wire("6", at));
}

/// Four reads run at a time, for 5 s each. At its deadline, a client may begin one more.
#[tokio::test(start_paused = true)]
async fn calls_of_a_log_that_hangs_are_bounded() {
    let (log, hub) = hub_of_5().await;
    log.state().hangs = true;
    let clients = (0..40).map(|n| {
        let id = Position::new(0, n % 4);
        let mut resumed = hub.subscribe(["x"]).after(last(id));
        tokio::spawn(async move { within_time(60 * SECOND, "the end", resumed.next()).await })
    });
    for client in clients.collect::<Vec<_>>() {
        finished("a client", client).await;
    }
    let reads = log.state().reads[0];
    assert!((4 * 6..=4 * 6 + 40).contains(&reads), "{reads}");
}

/// A log whose tail never waits.
struct Hasty {
    page: fn() -> Page,
    calls: Arc<AtomicUsize>,
}

impl Tail for Hasty {
    fn next(&mut self, _max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        self.calls.fetch_add(1, SeqCst);
        Box::pin(async { Ok((self.page)()) })
    }
}

impl EventLog for Hasty {
    fn append<'a>(
        &'a self,
        _topic: &'a str,
        _record: Record,
        _key: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Position, AppendError>> {
        Box::pin(async { Err(AppendError::NotWritten("it is full".into())) })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, EventLogError>> {
        Box::pin(async { Ok(Position::new(7, 0)) })
    }

    fn first(&self) -> BoxFuture<'_, Result<Option<Entry>, EventLogError>> {
        Box::pin(async { Ok(None) })
    }

    fn read(&self, _after: Position, _max: usize) -> BoxFuture<'_, Result<Page, EventLogError>> {
        Box::pin(async { Ok(Page::Gap) })
    }

    fn tail(&self, _after: Position) -> BoxFuture<'_, Result<Box<dyn Tail>, EventLogError>> {
        let tail: Box<dyn Tail> = Box::new(Self {
            page: self.page,
            calls: self.calls.clone(),
        });
        Box::pin(async { Ok(tail) })
    }
}

/// Other tasks of the same thread run, and the task that follows ends.
#[tokio::test(start_paused = true)]
async fn a_tail_that_does_not_wait_is_called_at_most_20_times_a_second() {
    let pages: [fn() -> Page; 2] = [|| Page::Entries(Vec::new()), || Page::Gap];
    for page in pages {
        let calls = Arc::<AtomicUsize>::default();
        let log = Arc::new(Hasty {
            page,
            calls: calls.clone(),
        });
        let node = Node::start(&log, 1).await;
        sleep(10 * SECOND).await;
        let calls = calls.load(SeqCst);
        assert!((10..=201).contains(&calls), "{calls}");
        node.close();
        until("the task to end", || node.follows.is_finished()).await;
    }
}
