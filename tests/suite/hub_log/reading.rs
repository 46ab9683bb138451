//! Reads of a log that is slow or unavailable, or that has lost entries.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use http_sse::{Hub, hub::Position};
use tokio::time::{Instant, sleep};

use super::{Node, engine::Engine, last, publish, read, reset, wire};
use crate::deadline::{finished, until, within};

/// Events in the history are delivered without a read of the log.
#[tokio::test(start_paused = true)]
async fn a_client_reads_the_log_only_beyond_the_history() {
    let log = Arc::new(Engine::default());
    log.state().floor = Position::new(7, 3);
    let hub = Node::start(&log, 2).await;
    assert_eq!(hub.head(), Position::new(7, 3));
    let resumed = |at: u64| hub.subscribe(["x"]).after(last(Position::new(7, at)));
    // The end of an empty history is known too.
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
    assert_eq!(log.state().reads[0], 0);
    for after in [5, 4, 3] {
        assert_eq!(
            read(&mut resumed(after)).await,
            events(after + 1),
            "{after}"
        );
        assert_eq!(log.state().reads[0], 5 - after as usize);
    }
}

/// Clients with different ids wait for one of four turns. Those with the same id share one read.
#[tokio::test(start_paused = true)]
async fn at_most_four_reads_run_at_once() {
    for (ids, reads) in [(40, [40, 0, 4]), (1, [1, 0, 1])] {
        let log = Arc::new(Engine::default());
        let hub = Node::start(&log, 1).await;
        let mut at = vec![Position::default()];
        for n in 1..=42 {
            at.push(publish(&hub, "x", &n.to_string()).await);
        }
        hub.reaches(at[42]).await;
        log.state().delay = Duration::from_millis(10);
        let clients = (0..40).map(|n| {
            let mut resumed = hub.subscribe(["x"]).after(last(at[n % ids]));
            tokio::spawn(async move { (n, read(&mut resumed).await) })
        });
        let clients: Vec<_> = clients.collect();
        for client in clients {
            let (n, got) = finished("a client", client).await;
            let missed = (n % ids + 1..=42).map(|n| wire(&n.to_string(), at[n]));
            assert_eq!(got, missed.collect::<String>());
        }
        assert_eq!(log.state().reads, reads);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_log_is_retried_after_50_ms_to_1_s() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let mut reader = hub.subscribe(["x"]);
    for data in ["first", "second"] {
        sleep(Duration::from_secs(5)).await;
        log.state().is_unavailable = true;
        // The wait in progress fails. It is not one of the retries.
        sleep(Duration::from_millis(20)).await;
        log.state().followed.clear();
        let lost = Instant::now();
        sleep(Duration::from_secs(6)).await;
        let tries = log.state().followed.clone();
        let pauses = tries.windows(2).map(|tries| tries[1] - tries[0]);
        let pauses: Vec<_> = pauses.map(|pause| pause.as_millis()).collect();
        assert!(tries[0] - lost <= Duration::from_millis(50));
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000, 1_000, 1_000]);

        // The subscriptions are still open.
        log.state().is_unavailable = false;
        let at = publish(&hub, "x", data).await;
        assert_eq!(read(&mut reader).await, wire(data, at));
    }
}

/// Entries that were already delivered are skipped.
#[tokio::test(start_paused = true)]
async fn two_followers_deliver_each_event_once() {
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
async fn entries_read_after_the_hub_closed_are_not_delivered() {
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
    until("the reader to end", || hub.follows.is_finished()).await;
    assert_eq!(hub.head(), first);
    assert!(log.state().head() == second);
    assert_eq!(read(&mut reader).await, wire("1", first));
}

/// An engine restarts with fewer entries. Any topic may have lost some of its events.
#[tokio::test(start_paused = true)]
async fn all_subscribers_are_reset_if_the_log_has_lost_entries() {
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
    // Returning clients are reset too, with topics that the hub has and with others.
    for topics in [&["x"][..], &["quiet"], &["another"], &["x", "another"]] {
        let mut lost = hub.subscribe(topics).after(last(at[2]));
        assert_eq!(read(&mut lost).await, reset("expired", new), "{topics:?}");
    }
    // So are clients whose id is still in the log, because they may have missed lost events.
    for topics in [&["x"][..], &["another"]] {
        let mut kept = hub.subscribe(topics).after(last(at[0]));
        assert_eq!(read(&mut kept).await, reset("expired", new), "{topics:?}");
    }
    let next = publish(&hub, "x", "next").await;
    let mut kept = hub.subscribe(["x"]).after(last(new));
    assert_eq!(read(&mut kept).await, wire("next", next));
}

/// The hub reads again when the engine is available, even if nothing new is written.
#[tokio::test(start_paused = true)]
async fn a_log_is_read_again_when_it_is_available_again() {
    let log = Arc::new(Engine::default());
    let hub = Node::start(&log, 10).await;
    let first = publish(&hub, "x", "1").await;
    let second = publish(&hub, "x", "2").await;
    hub.reaches(second).await;
    log.state().is_unavailable = true;
    sleep(Duration::from_secs(2)).await;
    log.state().entries.truncate(1);
    log.state().is_unavailable = false;
    hub.reaches(first).await;
}

/// A log whose reported head is beyond its entries does not delay the start of a server.
#[tokio::test(start_paused = true)]
async fn a_server_starts_at_the_head_of_a_log_that_returns_no_entries() {
    let log = Arc::new(Engine::default());
    let head = Position::new(0, 9);
    log.state().head = Some(head);
    let hub = Hub::builder().distributed(log.clone());
    let hub = within("the log to be loaded", hub).await.unwrap();
    assert_eq!(hub.head(), head);
}

/// Engines with large entries return fewer than were asked for. They are read by `distributed`, by a
/// client that resumes, by `follow`, and again after a loss.
#[tokio::test(start_paused = true)]
async fn pages_of_one_entry_are_read_to_the_end() {
    let log = Arc::new(Engine::default());
    log.state().floor = Position::new(7, 0);
    log.state().has_short_pages = true;
    (1..=100).for_each(|n| log.push(Position::new(7, n), "x", &n.to_string()));
    let hub = Node::start(&log, 3).await;
    assert_eq!(hub.head(), Position::new(7, 100));
    let events = |range: RangeInclusive<u64>| -> String {
        range
            .map(|n| wire(&n.to_string(), Position::new(7, n)))
            .collect()
    };
    let mut resumed = hub.subscribe(["x"]).after(last("7-50"));
    assert_eq!(read(&mut resumed).await, events(51..=100));
    let mut other = hub.subscribe(["x", "quiet"]).after(last("7-0"));
    assert_eq!(read(&mut other).await, events(1..=100));
    for n in 101..=103 {
        log.push(Position::new(7, n), "x", &n.to_string());
    }
    hub.reaches(Position::new(7, 103)).await;
    assert_eq!(read(&mut resumed).await, events(101..=103));
    log.state().entries.truncate(40);
    let head = Position::new(7, 40);
    hub.reaches(head).await;
    assert_eq!(read(&mut resumed).await, reset("lagged", head));
    let mut newest = hub.subscribe(["x"]).replay(3);
    assert_eq!(read(&mut newest).await, events(38..=40));
}
