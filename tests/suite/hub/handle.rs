//! Topics that are added to a subscription and removed from it while it is streamed.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Hub, Subscription,
    hub::{OnLag, Position, SubscriptionHandle},
};

use super::{last, publish, read, reset, wire};
use crate::deadline::{finished, within};

/// A subscription of a lobby, with a handle, that has read everything.
fn in_lobby(hub: &Hub) -> (Subscription, SubscriptionHandle) {
    let mut subscription = hub.subscribe(["lobby"]);
    let handle = subscription.handle();
    assert_eq!(read(&mut subscription), (String::new(), true));
    (subscription, handle)
}

#[test]
fn an_added_topic_starts_with_its_next_event() {
    let hub = Hub::new();
    publish(&hub, "game", "before");
    let (mut subscription, handle) = in_lobby(&hub);
    publish(&hub, "game", "before");
    assert!(handle.add("game"));
    let game = publish(&hub, "game", "1");
    let lobby = publish(&hub, "lobby", "2");
    let both = wire("1", game) + &wire("2", lobby);
    assert_eq!(read(&mut subscription), (both, true));
    let next = publish(&hub, "game", "3");
    assert_eq!(read(&mut subscription), (wire("3", next), true));
    assert_eq!(hub.topic("game").unwrap().subscribers, 1);
}

#[test]
fn a_topic_is_added_once() {
    let hub = Hub::new();
    let (mut subscription, handle) = in_lobby(&hub);
    // An event that is not read yet stays.
    let unread = publish(&hub, "lobby", "unread");
    for _ in 0..3 {
        assert!(handle.add("game") && handle.add("lobby"));
        assert!(handle.add_after("lobby", Position::new(hub.head().hi(), 0)));
    }
    let at = ["game", "lobby", "game"].map(|topic| publish(&hub, topic, topic));
    let all = wire("game", at[0]) + &wire("lobby", at[1]) + &wire("game", at[2]);
    assert_eq!(
        read(&mut subscription),
        (wire("unread", unread) + &all, true)
    );
    let subscribers = hub.topics().into_iter().map(|topic| topic.subscribers);
    assert_eq!(subscribers.collect::<Vec<_>>(), [1, 1]);
    drop(subscription);
    let subscribers = hub.topics().into_iter().map(|topic| topic.subscribers);
    assert_eq!(subscribers.collect::<Vec<_>>(), [0, 0]);
}

#[test]
fn a_topic_that_is_added_again_keeps_its_unread_events() {
    let hub = Hub::new();
    let (mut subscription, handle) = in_lobby(&hub);
    assert!(handle.add("game"));
    let unread = publish(&hub, "game", "1");
    assert!(handle.add("game"));
    assert_eq!(read(&mut subscription), (wire("1", unread), true));
}

/// The old events are from after the last one that the subscription has yielded.
#[tokio::test(start_paused = true)]
async fn a_skip_to_the_newest_events_yields_no_old_ones_of_an_added_topic() {
    let policies: [fn(Subscription) -> Subscription; 2] = [
        |subscription| subscription.on_lag(OnLag::Latest),
        |subscription| subscription.latest_every(Duration::from_secs(1)),
    ];
    for policy in policies {
        let hub = Hub::builder().history(1).build();
        let mut subscription = policy(hub.subscribe(["lobby"]));
        let handle = subscription.handle();
        assert_eq!(read(&mut subscription), (String::new(), true));
        publish(&hub, "game", "old");
        assert!(handle.add("game"));
        publish(&hub, "lobby", "skipped");
        let newest = publish(&hub, "lobby", "newest");
        assert_eq!(read(&mut subscription), (wire("newest", newest), true));
    }
}

#[test]
fn an_added_topic_catches_up_from_a_position() {
    let hub = Hub::new();
    let game: Vec<_> = (0..3)
        .map(|n| publish(&hub, "game", &n.to_string()))
        .collect();
    let (mut subscription, handle) = in_lobby(&hub);
    let lobby = publish(&hub, "lobby", "3");
    assert_eq!(read(&mut subscription), (wire("3", lobby), true));
    assert!(handle.add_after("game", game[0]));
    let next = publish(&hub, "game", "4");
    let missed = wire("1", game[1]) + &wire("2", game[2]);
    assert_eq!(read(&mut subscription), (missed + &wire("4", next), true));
    // From the head, or from a position ahead of it, there is nothing to catch up with.
    let head = hub.head();
    for after in [head, Position::new(head.hi(), head.lo() + 9)] {
        assert!(handle.remove("game") && handle.add_after("game", after));
        assert_eq!(read(&mut subscription), (String::new(), true));
        let next = publish(&hub, "game", "5");
        assert_eq!(read(&mut subscription), (wire("5", next), true));
    }
}

/// The catch-up takes several pieces, and the other topics go on meanwhile.
#[test]
fn an_added_topic_catches_up_in_pieces() {
    let hub = Hub::new();
    let start = hub.head();
    let data = "x".repeat(10_000);
    let game: Vec<_> = (0..20).map(|_| publish(&hub, "game", &data)).collect();
    let (mut subscription, handle) = in_lobby(&hub);
    let lobby = publish(&hub, "lobby", "in the lobby");
    assert_eq!(read(&mut subscription).0, wire("in the lobby", lobby));
    assert!(handle.add_after("game", start));
    let next = publish(&hub, "lobby", "next");
    let missed: String = game.iter().map(|at| wire(&data, *at)).collect();
    let (text, is_open) = read(&mut subscription);
    assert!(text == missed + &wire("next", next), "{}", text.len());
    assert!(is_open);

    // Nothing else is unread.
    assert!(handle.remove("game") && handle.add_after("game", game[9]));
    let missed: String = game[10..].iter().map(|at| wire(&data, *at)).collect();
    let (text, _) = read(&mut subscription);
    assert!(text == missed, "{}", text.len());
}

#[test]
fn a_catch_up_that_has_expired_is_a_lag() {
    let hub = Hub::builder().history(1).build();
    let game: Vec<_> = (0..3)
        .map(|n| publish(&hub, "game", &n.to_string()))
        .collect();
    let (mut subscription, handle) = in_lobby(&hub);
    assert!(handle.add_after("game", game[0]));
    assert_eq!(read(&mut subscription), (reset("lagged", game[2]), true));
    let next = publish(&hub, "game", "3");
    assert_eq!(read(&mut subscription), (wire("3", next), true));
}

/// The newest event of the added topic is older than what the subscription has read.
#[test]
fn an_expired_catch_up_with_the_newest_events_yields_the_newest_one() {
    let hub = Hub::builder().history(1).build();
    let game: Vec<_> = (0..3)
        .map(|n| publish(&hub, "game", &n.to_string()))
        .collect();
    let mut subscription = hub.subscribe(["lobby"]).on_lag(OnLag::Latest);
    let handle = subscription.handle();
    let lobby = publish(&hub, "lobby", "3");
    assert_eq!(read(&mut subscription), (wire("3", lobby), true));
    assert!(handle.add_after("game", game[0]));
    assert_eq!(read(&mut subscription), (wire("2", game[2]), true));
    let next = publish(&hub, "game", "4");
    assert_eq!(read(&mut subscription), (wire("4", next), true));
}

#[test]
fn unread_events_of_a_removed_topic_are_not_delivered() {
    let hub = Hub::new();
    let (mut subscription, handle) = in_lobby(&hub);
    assert!(handle.add("game"));
    publish(&hub, "game", "1");
    let lobby = publish(&hub, "lobby", "2");
    assert!(handle.remove("game"));
    publish(&hub, "game", "3");
    assert_eq!(read(&mut subscription), (wire("2", lobby), true));
    // It is a new topic when it is added again.
    assert!(handle.add("game"));
    let next = publish(&hub, "game", "4");
    assert_eq!(read(&mut subscription), (wire("4", next), true));
    // Removed while it catches up.
    let data = "x".repeat(40_000);
    publish(&hub, "game", &data);
    publish(&hub, "game", &data);
    assert!(handle.remove("game"));
    let lobby = publish(&hub, "lobby", "5");
    assert_eq!(read(&mut subscription), (wire("5", lobby), true));
    assert!(handle.add_after("game", next));
    let piece = subscription.next().now_or_never();
    assert_eq!(piece.unwrap().unwrap().count(), 1);
    assert!(handle.remove("game"));
    assert_eq!(read(&mut subscription), (String::new(), true));
    assert_eq!(hub.topic("game").unwrap().subscribers, 0);
}

#[test]
fn a_topic_that_is_not_there_is_not_removed() {
    let hub = Hub::new();
    let (mut subscription, handle) = in_lobby(&hub);
    assert!(handle.remove("unknown"));
    let at = publish(&hub, "lobby", "x");
    assert_eq!(read(&mut subscription), (wire("x", at), true));
    assert_eq!(hub.topics().len(), 1);
}

#[test]
fn a_dropped_subscription_refuses_changes() {
    let hub = Hub::new();
    let (subscription, handle) = in_lobby(&hub);
    assert!(handle.add("pending"));
    drop(subscription);
    let other = handle.clone();
    for handle in [handle, other] {
        assert!(!handle.add("game") && !handle.remove("lobby"));
        assert!(!handle.add_after("game", hub.head()));
    }
    assert_eq!((hub.topics(), hub.memory()), (vec![], 0));
}

#[test]
fn a_subscription_without_topics_waits_for_others() {
    let hub = Hub::new();
    let (mut subscription, handle) = in_lobby(&hub);
    assert!(handle.remove("lobby"));
    publish(&hub, "lobby", "1");
    assert_eq!(read(&mut subscription), (String::new(), true));
    assert!(handle.add("game"));
    let at = publish(&hub, "game", "2");
    assert_eq!(read(&mut subscription), (wire("2", at), true));
    hub.finish("game").unwrap();
    assert_eq!(read(&mut subscription), (String::new(), true));
    assert!(handle.add("lobby"));
    let at = publish(&hub, "lobby", "3");
    assert_eq!(read(&mut subscription), (wire("3", at), true));
    hub.close();
    assert_eq!(read(&mut subscription), (String::new(), false));
}

/// The same through a subscription that never had a topic.
#[test]
fn a_subscription_can_start_without_topics() {
    let hub = Hub::new();
    let mut subscription = hub.subscribe([""; 0]);
    let handle = subscription.handle();
    assert!(handle.add("a") && handle.add("b"));
    let at = [publish(&hub, "b", "1"), publish(&hub, "a", "2")];
    let both = wire("1", at[0]) + &wire("2", at[1]);
    assert_eq!(read(&mut subscription), (both, true));
}

#[test]
fn a_handle_does_not_change_the_place_of_a_subscription() {
    let starts: [fn(Subscription) -> Subscription; 4] = [
        |subscription| subscription,
        |subscription| subscription.replay(0),
        |subscription| subscription.on_lag(OnLag::Latest),
        |subscription| subscription.from_start(),
    ];
    for (n, start) in starts.into_iter().enumerate() {
        for topics in [&["a"][..], &["a", "b"]] {
            let hub = Hub::builder().history(1).build();
            publish(&hub, "a", "1");
            let mut subscription = start(hub.subscribe(topics));
            read(&mut subscription);
            let handle = subscription.handle();
            assert_eq!(read(&mut subscription), (String::new(), true), "{n}");
            let second = publish(&hub, "a", "2");
            // Between two reads, and without one.
            let _again = subscription.handle();
            assert_eq!(read(&mut subscription), (wire("2", second), true), "{n}");
            assert!(handle.add("c"));
            let third = publish(&hub, "c", "3");
            assert_eq!(read(&mut subscription), (wire("3", third), true), "{n}");
        }
    }
}

#[test]
fn a_resumed_subscription_can_have_a_handle() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let at = ["1", "2"].map(|data| publish(&hub, "a", data));
        let mut subscription = hub.subscribe(topics).after(last(at[0]));
        let handle = subscription.handle();
        assert!(handle.add("c"));
        let third = publish(&hub, "c", "3");
        let both = wire("2", at[1]) + &wire("3", third);
        assert_eq!(read(&mut subscription), (both, true));
    }
}

/// The subscription may have noticed the end of the topic or not.
#[test]
fn a_topic_that_has_ended_can_be_added_again() {
    let ends: [fn(&Hub); 2] = [
        |hub| assert_eq!(hub.disconnect("game"), 1),
        |hub| _ = hub.finish("game").unwrap(),
    ];
    for (end, is_noticed) in [(0, false), (0, true), (1, true)] {
        let hub = Hub::new();
        let (mut subscription, handle) = in_lobby(&hub);
        assert!(handle.add("game"));
        assert_eq!(read(&mut subscription), (String::new(), true));
        ends[end](&hub);
        if is_noticed {
            assert_eq!(read(&mut subscription), (String::new(), true));
        }
        hub.remove("game"); // so that a finished topic begins anew
        publish(&hub, "game", "not for it");
        assert!(handle.add("game"));
        let at = publish(&hub, "game", "for it");
        assert_eq!(read(&mut subscription), (wire("for it", at), true));
        assert_eq!(hub.topic("game").unwrap().subscribers, 1);
    }
}

#[test]
fn a_closed_topic_does_not_catch_up() {
    let hub = Hub::new();
    let start = hub.head();
    publish(&hub, "game", "1");
    let (mut subscription, handle) = in_lobby(&hub);
    let lobby = publish(&hub, "lobby", "2");
    assert_eq!(read(&mut subscription), (wire("2", lobby), true));
    assert!(handle.add_after("game", start));
    assert_eq!(hub.disconnect("game"), 1);
    assert_eq!(read(&mut subscription), (String::new(), true));
}

#[tokio::test(start_paused = true)]
async fn a_change_wakes_a_waiting_subscription() {
    let hub = Hub::new();
    let first = publish(&hub, "game", "1");
    for topics in [&["lobby"][..], &[]] {
        let mut subscription = hub.subscribe(topics);
        let handle = subscription.handle();
        let waits = tokio::spawn(async move { within("an event", subscription.next()).await });
        tokio::task::yield_now().await;
        assert!(handle.add_after("game", Position::new(first.hi(), 0)));
        let events = finished("the subscription to be woken", waits).await;
        assert_eq!(events.unwrap(), &*wire("1", first));

        let mut subscription = hub.subscribe(topics);
        let handle = subscription.handle();
        let waits = tokio::spawn(async move { within("an event", subscription.next()).await });
        tokio::task::yield_now().await;
        assert!(handle.add("next"));
        tokio::task::yield_now().await;
        let at = publish(&hub, "next", "2");
        let events = finished("the subscription to be woken", waits).await;
        assert_eq!(events.unwrap(), &*wire("2", at));
    }
}

#[test]
fn a_handle_keeps_a_disconnection() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut subscription = hub.subscribe(topics);
        for topic in topics {
            assert_eq!(hub.disconnect(topic), 1);
        }
        let handle = subscription.handle();
        publish(&hub, "a", "secret");
        assert_eq!(read(&mut subscription), (String::new(), true));
        assert!(handle.add("a"));
        let at = publish(&hub, "a", "after an addition");
        assert_eq!(
            read(&mut subscription),
            (wire("after an addition", at), true)
        );
    }
}

#[test]
fn a_topic_that_began_anew_can_be_added_again() {
    let hub = Hub::builder().finished_for(Duration::ZERO).build();
    let (mut subscription, handle) = in_lobby(&hub);
    assert!(handle.add("game"));
    assert_eq!(read(&mut subscription), (String::new(), true));
    hub.finish("game").unwrap();
    publish(&hub, "game", "the next game");
    // The subscription has not noticed the end yet.
    assert!(handle.add("game"));
    let at = publish(&hub, "game", "e4");
    assert_eq!(read(&mut subscription), (wire("e4", at), true));
    let at = publish(&hub, "game", "e5");
    assert_eq!(read(&mut subscription), (wire("e5", at), true));
}

/// A topic that is finished takes the place of one that has unread events.
#[test]
fn a_place_that_is_used_again_ends_once() {
    let hub = Hub::new();
    hub.finish("done").unwrap();
    let mut subscription = hub.subscribe(["a", "b"]);
    let handle = subscription.handle();
    let large = "x".repeat(20_000);
    for _ in 0..9 {
        publish(&hub, "b", &large);
    }
    publish(&hub, "a", "a");
    let first = subscription.next().now_or_never().unwrap().unwrap();
    assert!(first.as_bytes().starts_with(b"data: xxx"));
    handle.remove("a");
    assert!(subscription.next().now_or_never().is_some());
    assert!(handle.add("done"));
    read(&mut subscription);
    hub.finish("b").unwrap();
    assert_eq!(read(&mut subscription), (String::new(), true));
    assert!(handle.add("c"));
    let at = publish(&hub, "c", "c");
    assert_eq!(read(&mut subscription), (wire("c", at), true));
}

#[test]
fn an_addition_that_is_removed_gives_up_its_seat_at_once() {
    let hub = Hub::new();
    let (mut subscription, handle) = in_lobby(&hub);
    for _ in 0..3 {
        assert!(handle.add("game"));
        assert_eq!(hub.topic("game").unwrap().subscribers, 1);
        assert!(handle.remove("game"));
        assert_eq!(hub.topic("game"), None);
    }
    // A topic that it already has is removed, and added from then on.
    assert!(handle.remove("lobby") && handle.add("lobby") && handle.add("lobby"));
    let at = publish(&hub, "lobby", "1");
    assert_eq!(read(&mut subscription), (wire("1", at), true));
    assert_eq!(hub.topic("lobby").unwrap().subscribers, 1);
    drop(subscription);
    assert!(!handle.remove("lobby"));
}

/// The other topic that starts at an earlier position is still read from there.
#[test]
fn a_removal_leaves_the_other_topics_that_catch_up() {
    let hub = Hub::new();
    let start = hub.head();
    let large = "x".repeat(40_000);
    let at: Vec<_> = (0..6)
        .map(|n| publish(&hub, ["a", "b", "c"][n % 3], &large))
        .collect();
    let (mut subscription, handle) = in_lobby(&hub);
    for topic in ["a", "b", "c"] {
        assert!(handle.add_after(topic, start));
    }
    let first = subscription.next().now_or_never().unwrap().unwrap();
    let first = (0..3).find(|n| first == &*wire(&large, at[*n])).unwrap();
    let removed = (first + 1) % 3;
    assert!(handle.remove(["a", "b", "c"][removed]));
    let (text, is_open) = read(&mut subscription);
    assert!(is_open);
    for (n, at) in at.iter().enumerate() {
        let is_due = n % 3 != removed && n != first;
        assert_eq!(text.contains(&wire(&large, *at)), is_due, "{n}");
    }
}
