//! Topics that change while a client gets events from the log.

use std::sync::Arc;

use futures_util::StreamExt as _;
use http_sse::hub::{MemoryLog, Position};
use tokio::time::{Instant, sleep};

use super::{HOUR, Node, engine::Engine, last, publish, read, wire};
use crate::deadline::{within, within_time};

/// A server whose history has none of the events that follow `7-1`: 2 to 5 of `room`, and 6 of `b`.
async fn node() -> Node {
    let log = Arc::new(MemoryLog::new(7, 100));
    let node = Node::start(&log, 1).await;
    for n in 1..=5 {
        publish(&node, "room", &n.to_string()).await;
    }
    let at = publish(&node, "b", "6").await;
    node.reaches(at).await;
    node
}

fn at(lo: u64) -> Position {
    Position::new(7, lo)
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_topic_is_not_read_from_the_log() {
    let node = node().await;
    let mut one = node.subscribe(["room"]).after(last(at(1)));
    let mut several = node.subscribe(["room", "b"]).after(last(at(1)));
    let mut none_left = node.subscribe(["room", "c"]).after(last(at(1)));
    assert_eq!(node.disconnect("room"), 3);
    assert_eq!(node.disconnect("c"), 1);
    // An early end is an item without bytes.
    assert_eq!(read(&mut one).await, "");
    assert!(within("the end", one.next()).await.is_none());
    assert_eq!(read(&mut several).await, wire("6", at(6)));
    assert_eq!(read(&mut none_left).await, "");
    assert!(within("the end", none_left.next()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_handle_changes_a_subscription_that_is_read_from_the_log() {
    let node = node().await;
    // Removed, and removed in the middle.
    let mut removed = node.subscribe(["room", "b"]).after(last(at(1)));
    let handle = removed.handle();
    handle.remove("room");
    assert_eq!(read(&mut removed).await, wire("6", at(6)));

    // Added: everything from then on, although the client is behind.
    let mut added = node.subscribe(["room"]).after(last(at(1)));
    let handle = added.handle();
    assert!(handle.add("b"));
    let seventh = publish(&node, "b", "7").await;
    let eighth = publish(&node, "room", "8").await;
    node.reaches(eighth).await;
    let room: String = (2..=5).map(|lo| wire(&lo.to_string(), at(lo))).collect();
    let all = room.clone() + &wire("8", eighth) + &wire("7", seventh);
    assert_eq!(read(&mut added).await, all);

    // Added from an earlier position.
    let mut added = node.subscribe(["room"]).after(last(at(1)));
    let handle = added.handle();
    assert!(handle.add_after("b", at(6)));
    let all = room + &wire("8", eighth) + &wire("7", seventh);
    assert_eq!(read(&mut added).await, all);

    // Removed and added again: only new events.
    let mut again = node.subscribe(["room", "b"]).after(last(at(1)));
    let handle = again.handle();
    assert!(handle.remove("room") && handle.add("room"));
    let ninth = publish(&node, "room", "9").await;
    node.reaches(ninth).await;
    let of_b = wire("6", at(6)) + &wire("7", seventh);
    assert_eq!(read(&mut again).await, of_b + &wire("9", ninth));
}

/// With a log that hangs, both end without it: at once, and after the time of one call.
#[tokio::test(start_paused = true)]
async fn a_client_of_a_log_that_hangs_can_be_disconnected_and_closed() {
    for topics in [&["room"][..], &["room", "c"]] {
        for closes in [false, true] {
            let log = Arc::new(Engine::default());
            let node = Node::start(&log, 1).await;
            for n in 1..=3 {
                let at = publish(&node, "room", &n.to_string()).await;
                node.reaches(at).await;
            }
            log.state().hangs = true;
            let mut client = node.subscribe(topics).after(last(Position::new(0, 1)));
            assert_eq!(read(&mut client).await, "");
            let begin = Instant::now();
            let end = tokio::spawn(async move {
                let last = within_time(HOUR, "the last item", client.next()).await;
                assert!(last.unwrap().as_bytes().is_empty());
                assert!(within_time(HOUR, "the end", client.next()).await.is_none());
            });
            sleep(std::time::Duration::from_millis(1)).await;
            if closes {
                node.close();
            } else {
                topics.iter().for_each(|topic| _ = node.disconnect(topic));
            }
            within("the client to end", end).await.unwrap();
            let seconds = begin.elapsed().as_secs();
            assert_eq!(seconds, if closes { 5 } else { 0 });
        }
    }
}
