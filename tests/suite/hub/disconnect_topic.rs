//! Topics whose subscriptions the server closes.

use std::sync::mpsc;

use futures_util::StreamExt as _;
use http_sse::{CloseReason, Event, Hub, Sse, hub::Position};

use super::{last, publish, read, sent, wire};
use crate::deadline::{finished, within};

#[test]
fn unread_events_of_a_closed_topic_are_not_delivered() {
    let hub = Hub::new();
    let mut only = hub.subscribe(["a"]);
    let mut both = hub.subscribe(["a", "b"]);
    let first = publish(&hub, "a", "1");
    assert_eq!(read(&mut both), (wire("1", first), true));
    publish(&hub, "a", "2");
    let b = publish(&hub, "b", "3");
    assert_eq!(hub.disconnect("a"), 2);
    publish(&hub, "a", "4");
    assert_eq!(read(&mut only), (String::new(), false));
    assert_eq!(read(&mut both), (wire("3", b), true));
    assert_eq!(hub.disconnect("b"), 1);
    assert_eq!(read(&mut both), (String::new(), false));
    assert_eq!((hub.disconnect("none"), hub.topics().len()), (0, 2));
}

#[test]
fn a_closed_topic_keeps_its_history_and_accepts_new_subscriptions() {
    let hub = Hub::new();
    let mut old = hub.subscribe(["a"]);
    let first = publish(&hub, "a", "1");
    hub.disconnect("a");
    let mut new = hub.subscribe(["a"]);
    let mut resumed = hub
        .subscribe(["a"])
        .after(last(Position::new(first.hi(), 0)));
    let second = publish(&hub, "a", "2");
    assert_eq!(read(&mut old), (String::new(), false));
    assert_eq!(read(&mut new), (wire("2", second), true));
    let both = wire("1", first) + &wire("2", second);
    assert_eq!(read(&mut resumed), (both, true));
    drop(old);
    assert_eq!(hub.topic("a").unwrap().subscribers, 2);
}

#[tokio::test(start_paused = true)]
async fn closing_a_topic_ends_its_responses() {
    let hub = Hub::new();
    for topics in [&["a"][..], &["a", "b"]] {
        let (sender, reasons) = mpsc::channel();
        let mut body = Sse::new(hub.subscribe(topics))
            .keep_alive(None)
            .end_with(Event::data("goodbye"))
            .on_close(move |report| _ = sender.send(report.reason))
            .into_body();
        assert_eq!(sent(&mut body), (":\n".to_owned(), true));
        for topic in topics {
            publish(&hub, topic, "unread");
            assert_eq!(hub.disconnect(topic), 1);
        }
        assert_eq!(sent(&mut body), (String::new(), false));
        assert_eq!(reasons.try_recv(), Ok(CloseReason::ByServer));
    }
}

/// The reason depends on what ended last.
#[tokio::test(start_paused = true)]
async fn a_hub_that_is_closed_later_ends_a_response_cleanly() {
    let hub = Hub::new();
    let (sender, reasons) = mpsc::channel();
    let mut body = Sse::new(hub.subscribe(["a", "b"]))
        .keep_alive(None)
        .on_close(move |report| _ = sender.send(report.reason))
        .into_body();
    hub.disconnect("a");
    assert_eq!(sent(&mut body), (":\n".to_owned(), true));
    let at = publish(&hub, "b", "x");
    hub.close();
    assert_eq!(sent(&mut body), (wire("x", at), false));
    assert_eq!(reasons.try_recv(), Ok(CloseReason::End));
}

#[tokio::test(start_paused = true)]
async fn closing_a_topic_wakes_its_subscribers() {
    let hub = Hub::new();
    let waits: Vec<_> = [&["a"][..], &["a", "b"]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            tokio::spawn(async move {
                let mut items = 0;
                while within("the end", subscription.next()).await.is_some() {
                    items += 1;
                }
                items
            })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!((hub.disconnect("a"), hub.disconnect("b")), (2, 1));
    for waits in waits {
        // The one item is the reason for the end.
        assert_eq!(finished("a subscription to end", waits).await, 1);
    }
}

/// The subscriptions before and after have the same three topics, and read from the same place.
#[test]
fn old_and_new_subscriptions_of_a_closed_topic_share_no_pieces() {
    let topics = ["a", "b", "c"];
    for old_first in [true, false] {
        let hub = Hub::new();
        let start = last(hub.head());
        let mut old = hub.subscribe(topics);
        let at = topics.map(|topic| publish(&hub, topic, topic));
        hub.disconnect("a");
        let mut new = hub.subscribe(topics).after(start);
        let [a, b, c] = [0, 1, 2].map(|n| wire(topics[n], at[n]));
        let of_old = (b.clone() + &c, true);
        let of_new = (a + &b + &c, true);
        if old_first {
            assert_eq!(read(&mut old), of_old);
        }
        assert_eq!(read(&mut new), of_new);
        if !old_first {
            assert_eq!(read(&mut old), of_old);
        }
    }
}

/// With a handle, a subscription waits for other topics, until the end of the hub.
#[test]
fn a_handle_outlives_a_disconnection() {
    let hub = Hub::new();
    let mut subscription = hub.subscribe(["a"]);
    let _handle = subscription.handle();
    let (reasons, ended) = mpsc::channel();
    let mut body = Sse::new(subscription)
        .keep_alive(None)
        .end_with(Event::data("[DONE]"))
        .on_close(move |report| reasons.send(report.reason).unwrap())
        .into_body();
    assert_eq!(hub.disconnect("a"), 1);
    assert_eq!(sent(&mut body), (":\n".to_owned(), true));
    hub.close();
    assert_eq!(sent(&mut body), ("data: [DONE]\n\n".to_owned(), false));
    assert_eq!(ended.try_recv(), Ok(CloseReason::End));
}

#[test]
fn a_disconnected_topic_that_begins_anew_is_no_loss() {
    for topics in [&["a"][..], &["a", "b"]] {
        let hub = Hub::new();
        let mut reader = hub.subscribe(topics);
        publish(&hub, "a", "unread");
        hub.disconnect("a");
        hub.finish("a").unwrap();
        assert!(hub.remove("a"));
        publish(&hub, "a", "new");
        let is_open = topics.len() > 1;
        assert_eq!(read(&mut reader), (String::new(), is_open));
    }
}
