//! The order and the pieces of published events.

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Encode, Encoder, Hub, LastEventId, Sse,
    hub::{Position, PublishError},
};

use super::{publish, read, wire};
use crate::deadline::{finished, within};

#[test]
fn a_subscription_yields_events_in_the_order_of_the_hub() {
    let hub = Hub::new();
    let mut all = hub.subscribe(["a", "b", "a"]);
    let mut only_b = hub.subscribe(["b"]);
    assert_eq!(read(&mut all), (String::new(), true));
    let at = ["a", "b", "c", "b", "a"].map(|topic| (topic, publish(&hub, topic, topic)));
    let of = |topics: &[&str]| -> String {
        let mine = at.iter().filter(|(topic, _)| topics.contains(topic));
        mine.map(|(topic, at)| wire(topic, *at)).collect()
    };
    assert_eq!(read(&mut all), (of(&["a", "b"]), true));
    assert_eq!(read(&mut only_b), (of(&["b"]), true));
    assert_eq!(read(&mut only_b), (String::new(), true));
    let positions: Vec<u64> = at.iter().map(|(_, at)| at.lo()).collect();
    assert_eq!(positions, [1, 2, 3, 4, 5]);
    assert_eq!(hub.head(), at[4].1);
}

/// More topics than the signal to a subscription has bits.
#[test]
fn each_of_many_topics_signals_its_events() {
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    for has_handle in [false, true] {
        let hub = Hub::new();
        let mut subscription = hub.subscribe(&names);
        let _handle = has_handle.then(|| subscription.handle());
        assert_eq!(read(&mut subscription), (String::new(), true));
        for name in &names {
            let at = publish(&hub, name, name);
            assert_eq!(read(&mut subscription), (wire(name, at), true));
        }
    }
}

#[test]
fn ready_events_come_in_pieces_of_frame_size() {
    let hub = Hub::new();
    for topics in [&["a"][..], &["a", "b"]] {
        let mut subscription = hub.subscribe(topics);
        let data = "x".repeat(8_000);
        for _ in 0..8 {
            publish(&hub, "a", &data);
        }
        publish(&hub, "a", &"x".repeat(100_000));
        let mut lengths = Vec::new();
        while let Some(Some(events)) = subscription.next().now_or_never() {
            lengths.push((events.count(), events.as_bytes().len() > 32 * 1024));
        }
        assert_eq!(lengths, [(5, true), (3, false), (1, true)]);
    }
}

#[test]
fn a_piece_is_full_at_32_kib() {
    for (sizes, pieces) in [
        (&[16_384, 16_384, 100][..], &[2, 1][..]),
        (&[100, 32_767, 100], &[2, 1]),
        (&[100, 32_768, 100], &[1, 1, 1]),
    ] {
        let hub = Hub::new();
        let mut subscription = hub.subscribe(["a"]);
        for size in sizes {
            let next = Position::new(hub.head().hi(), hub.head().lo() + 1);
            let data = "x".repeat(size - wire("", next).len());
            assert_eq!(wire(&data, publish(&hub, "a", &data)).len(), *size);
        }
        let mut counts = Vec::new();
        while let Some(Some(events)) = subscription.next().now_or_never() {
            counts.push(events.count());
        }
        assert_eq!(counts, pieces, "{sizes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_the_source_of_a_response() {
    let hub = Hub::new();
    let subscription = hub.subscribe(["a"]).after(LastEventId::default());
    let mut body = Sse::new(subscription).keep_alive(None).into_body();
    let at = [publish(&hub, "a", "x"), publish(&hub, "a", "y")];
    let frame = within("the first frame", body.next()).await;
    assert_eq!(
        frame.unwrap().unwrap(),
        format!(":\n{}{}", wire("x", at[0]), wire("y", at[1]))
    );
    // A publication wakes a waiting body.
    let waits = tokio::spawn(async move { within("a published event", body.next()).await });
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    let at = publish(&hub, "a", "z");
    let frame = finished("the frame of an event", waits).await;
    assert_eq!(frame.unwrap().unwrap(), wire("z", at));
}

#[test]
fn an_item_that_fails_is_not_published() {
    struct Fails;
    impl Encode for Fails {
        type Error = &'static str;
        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), &'static str> {
            encoder.data("half");
            Err("no")
        }
    }
    let hub = Hub::new();
    let mut subscription = hub.subscribe(["a"]);
    assert!(matches!(
        hub.publish("a", Fails),
        Err(PublishError::Encode("no"))
    ));
    let at = publish(&hub, "a", "x");
    assert_eq!(read(&mut subscription).0, wire("x", at));
}
