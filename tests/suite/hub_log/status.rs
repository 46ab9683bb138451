//! The status of a hub: its connection to the log, what it has not read yet, and its resets.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use http_sse::{
    Hub,
    hub::{DistributedHub, LogStatus, MemoryLog, Position},
};
use tokio::time::sleep;

use super::{Node, engine::Engine, last, publish, read};
use crate::deadline::{until, within};

const SECOND: Duration = Duration::from_secs(1);

async fn unfollowed(log: &MemoryLog) -> DistributedHub {
    let hub = Hub::builder().distributed(Arc::new(log.clone()));
    within("the log to be loaded", hub).await.unwrap()
}

/// Returns whether the hub is connected, the entries that it has not read, and the losses of its log.
fn contact(hub: &DistributedHub) -> (bool, Option<u64>, u64) {
    let status = hub.status();
    (status.is_connected, status.behind, status.losses)
}

/// Returns the milliseconds since the last contact.
fn last_contact(hub: &DistributedHub) -> Option<u128> {
    hub.status().last_contact.map(|time| time.as_millis())
}

fn resets(hub: &DistributedHub) -> [u64; 3] {
    let resets = hub.status().resets;
    [resets.expired, resets.unknown, resets.lagged]
}

fn poll(future: impl Future<Output = ()>) {
    let is_pending = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(is_pending.is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_connected_from_the_first_answer_to_the_end_of_following() {
    let log = MemoryLog::new(7, 10);
    let hub = unfollowed(&log).await;
    publish(&hub, "x", "1").await;
    sleep(SECOND).await;
    assert_eq!(hub.status(), LogStatus::default());

    let node = Node::of(hub);
    node.reaches(Position::new(7, 1)).await;
    assert_eq!(contact(&node), (true, Some(0), 0));
    // The next answer comes after a second.
    sleep(SECOND / 2).await;
    let time = last_contact(&node).unwrap();
    assert!((500..510).contains(&time), "{time}");
    sleep(SECOND).await;
    let time = last_contact(&node).unwrap();
    assert!((500..510).contains(&time), "{time}");

    node.close();
    until("the task to end", || node.follows.is_finished()).await;
    assert_eq!(contact(&node), (false, None, 0));
    sleep(SECOND).await;
    let time = last_contact(&node).unwrap();
    assert!((1_500..1_520).contains(&time), "{time}");
}

/// A dropped call disconnects the hub only if it is the one that reads.
#[tokio::test(start_paused = true)]
async fn a_hub_is_not_connected_after_following_was_dropped() {
    let log = MemoryLog::new(7, 10);
    let hub = unfollowed(&log).await;
    publish(&hub, "x", "1").await;
    {
        let mut reads = pin!(hub.follow());
        poll(reads.as_mut());
        assert_eq!(contact(&hub), (true, Some(0), 0));
        poll(hub.follow());
        assert_eq!(contact(&hub), (true, Some(0), 0));
    }
    assert_eq!(contact(&hub), (false, None, 0));
    assert_eq!(last_contact(&hub), Some(0));
    let node = Node::of(hub);
    until("the hub to be connected", || node.status().is_connected).await;
}

#[tokio::test(start_paused = true)]
async fn entries_that_were_not_read_yet_are_counted() {
    let log = MemoryLog::new(7, 2_000);
    let hub = unfollowed(&log).await;
    for n in 1..=1_200 {
        publish(&hub, "x", &n.to_string()).await;
    }
    let mut follow = pin!(hub.follow());
    for (read, behind) in [(500, 700), (1_000, 200), (1_200, 0)] {
        poll(follow.as_mut());
        assert_eq!(hub.head(), Position::new(7, read));
        assert_eq!(contact(&hub), (true, Some(behind), 0));
    }
}

#[tokio::test(start_paused = true)]
async fn entries_are_not_counted_if_the_log_does_not_count_them() {
    let log = Arc::new(Engine::default());
    let node = Node::start(&log, 10).await;
    let at = publish(&node, "x", "1").await;
    node.reaches(at).await;
    assert_eq!(contact(&node), (true, None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hub_is_not_connected_to_a_log_that_fails_or_hangs() {
    // The call in progress fails at once, or after 5 s.
    for hangs in [false, true] {
        let log = Arc::new(Engine::default());
        let node = Node::start(&log, 10).await;
        assert!(!node.status().is_connected);
        sleep(SECOND * 2).await;
        assert!(node.status().is_connected);
        {
            let mut state = log.state();
            (state.is_unavailable, state.hangs) = (!hangs, hangs);
        }
        sleep(SECOND).await;
        assert_eq!(node.status().is_connected, hangs);
        sleep(SECOND * 6).await;
        assert_eq!(contact(&node), (false, None, 0));
        let error = match hangs {
            true => "the log did not answer in time",
            false => "the engine is unavailable",
        };
        assert_eq!(node.status().error.as_deref(), Some(error));
        let time = last_contact(&node).unwrap();
        assert!((7_000..8_010).contains(&time), "{time}");
        {
            let mut state = log.state();
            (state.is_unavailable, state.hangs) = (false, false);
        }
        sleep(SECOND * 8).await;
        assert!(node.status().is_connected);
        assert_eq!(node.status().error, None);
        assert!(last_contact(&node).unwrap() <= 1_100);
    }
}

#[tokio::test(start_paused = true)]
async fn each_loss_of_the_log_is_counted() {
    let log = MemoryLog::new(7, 100);
    let node = Node::of(unfollowed(&log).await);
    for n in 1..=10 {
        publish(&node, "x", &n.to_string()).await;
    }
    node.reaches(Position::new(7, 10)).await;
    for (lost, losses) in [(3, 1), (2, 2)] {
        log.lose(lost);
        until("the log to be loaded", || node.status().losses == losses).await;
        // It is not known how many entries there are until the tail answers.
        assert_eq!(contact(&node), (true, None, losses));
        sleep(SECOND).await;
        assert_eq!(contact(&node), (true, Some(0), losses));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hub_stays_connected_during_a_long_load() {
    let log = Arc::new(Engine::default());
    let node = Node::start(&log, 10).await;
    for n in 1..=20 {
        publish(&node, "x", &n.to_string()).await;
    }
    node.reaches(Position::new(0, 20)).await;
    {
        let mut state = log.state();
        state.entries.truncate(10);
        state.has_short_pages = true;
        state.delay = SECOND;
    }
    sleep(SECOND * 8).await;
    assert_eq!(contact(&node), (true, None, 0));
    let time = last_contact(&node).unwrap();
    assert!(time <= 1_000, "{time}");
    sleep(SECOND * 4).await;
    assert_eq!(contact(&node), (true, None, 1));
    // A load that fails.
    log.state().entries.truncate(5);
    sleep(SECOND * 3).await;
    assert_eq!(contact(&node), (true, None, 1));
    log.state().is_unavailable = true;
    // The read is repeated twice.
    sleep(SECOND * 4).await;
    assert_eq!(contact(&node), (false, None, 1));
}

#[tokio::test(start_paused = true)]
async fn resets_are_counted_by_reason() {
    let log = MemoryLog::new(7, 4);
    let hub = Hub::builder().history(2).distributed(Arc::new(log.clone()));
    let node = Node::of(within("the log to be loaded", hub).await.unwrap());
    let mut slow = node.subscribe(["x"]);
    read(&mut slow).await;
    for n in 1..=6 {
        publish(&node, "x", &n.to_string()).await;
    }
    node.reaches(Position::new(7, 6)).await;
    assert_eq!(resets(&node), [0, 0, 0]);
    read(&mut slow).await;
    assert_eq!(resets(&node), [0, 0, 1]);
    for (id, expected) in [
        ("garbage", [0, 1, 1]),
        ("7-1", [1, 1, 1]),
        ("7-9", [2, 1, 1]),
        ("7-5", [2, 1, 1]),
    ] {
        read(&mut node.subscribe(["x"]).after(last(id))).await;
        assert_eq!(resets(&node), expected, "{id}");
    }
}
