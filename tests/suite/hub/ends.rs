//! The end of a hub, of a subscription and of a topic.

use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub,
    hub::{Position, PublishError},
};

use super::{last, publish, read, wire};
use crate::deadline::{finished, within};

#[test]
fn a_closed_hub_delivers_its_remaining_events() {
    let hub = Hub::new();
    let mut reader = hub.subscribe(["a"]);
    let mut to_none = hub.subscribe([""; 0]);
    let at = publish(&hub, "a", "x");
    assert_eq!(read(&mut to_none), (String::new(), true));
    hub.close();
    let refused = hub.publish("a", Event::data("y"));
    assert!(matches!(refused, Err(PublishError::Closed)));
    assert_eq!(read(&mut reader), (wire("x", at), false));
    assert_eq!(read(&mut to_none), (String::new(), false));
    let mut late = hub.subscribe(["a"]).after(last(Position::new(at.hi(), 0)));
    assert_eq!(read(&mut late), (wire("x", at), false));
    assert_eq!(read(&mut hub.subscribe(["a"])), (String::new(), false));
}

#[tokio::test(start_paused = true)]
async fn closing_a_hub_wakes_waiting_subscriptions() {
    let hub = Hub::new();
    let waits: Vec<_> = [vec!["a"], vec!["a", "b"], vec![]]
        .into_iter()
        .map(|topics| {
            let mut subscription = hub.subscribe(topics);
            tokio::spawn(async move { within("the end", subscription.next()).await })
        })
        .collect();
    tokio::task::yield_now().await;
    assert!(!waits.iter().any(|waits| waits.is_finished()));
    hub.close();
    for waits in waits {
        let next = finished("a subscription to end", waits).await;
        assert!(next.is_none(), "{next:?}");
    }
}

#[test]
fn a_topic_is_removed_with_its_last_subscriber_and_event() {
    let hub = Hub::new();
    let a = hub.subscribe(["a", "b"]);
    let b = hub.subscribe(["b"]);
    assert_eq!(hub.topics().len(), 2);
    drop(a);
    assert_eq!(hub.topics().len(), 1);
    publish(&hub, "b", "x");
    drop(b);
    assert_eq!(hub.topics()[0].subscribers, 0);
    hub.remove("b");
    assert_eq!((hub.topics(), hub.memory()), (vec![], 0));
}
