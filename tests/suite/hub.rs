//! The hub: what subscribers get, lose, and are told.

use std::{convert::Infallible, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{
    Encode, Encoder, Event, EventType, Hub, LastEventId, Sse, Subscription,
    hub::{OnLag, Position, PublishError, ResetReason},
};
use tokio::time::advance;

use crate::deadline::{finished, within};

/// All that is there to be read, and whether the subscription goes on.
fn read(subscription: &mut Subscription) -> (String, bool) {
    let mut all = String::new();
    loop {
        match subscription.next().now_or_never() {
            Some(Some(events)) => all += std::str::from_utf8(events.as_bytes()).unwrap(),
            Some(None) => return (all, false),
            None => return (all, true),
        }
    }
}

fn last(position: impl ToString) -> LastEventId {
    position.to_string().parse().unwrap()
}

fn publish(hub: &Hub, topic: &str, data: &str) -> Position {
    hub.publish(topic, Event::data(data.to_owned())).unwrap()
}

fn wire(data: &str, at: Position) -> String {
    format!("data: {data}\nid: {at}\n\n")
}

fn reset(reason: &str, at: Position) -> String {
    format!("event: reset\ndata: {reason}\nid: {at}\n\n")
}

mod order {
    use super::*;

    #[test]
    fn events_of_all_its_topics_come_in_the_order_of_the_hub() {
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

    #[test]
    fn an_event_has_the_id_of_the_hub_whatever_its_own() {
        struct Two;
        impl Encode for Two {
            type Error = Infallible;
            fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
                encoder.data("one");
                encoder.end_event();
                encoder.data("two");
                Ok(())
            }
        }
        let hub = Hub::new();
        let mut subscription = hub.subscribe(["a"]);
        let at = hub.publish("a", Event::data("x").id(7)).unwrap();
        assert_eq!(
            read(&mut subscription).0,
            format!("id: 7\ndata: x\nid: {at}\n\n")
        );
        let at = hub.publish("a", Two).unwrap();
        let events = subscription.next().now_or_never().unwrap().unwrap();
        assert_eq!(
            events.as_bytes(),
            format!("data: one\n\ndata: two\nid: {at}\n\n").as_bytes()
        );
        assert_eq!(events.count(), 2);
        assert!(events == &*format!("data: one\n\ndata: two\nid: {at}\n\n"));
        assert!(events != "data: one\n\n");
        // A comment is no event of its own; with an id it is one that a client is sent.
        let at = hub.publish("a", Event::new().comment("c")).unwrap();
        let events = subscription.next().now_or_never().unwrap().unwrap();
        assert_eq!(events.as_bytes(), format!(": c\nid: {at}\n\n").as_bytes());
        assert_eq!(events.count(), 1);
    }

    #[test]
    fn what_is_ready_comes_in_pieces_of_a_frame() {
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

    #[tokio::test(start_paused = true)]
    async fn it_is_a_response_like_any_stream() {
        let hub = Hub::new();
        let subscription = hub.subscribe(["a"]).after(LastEventId::default());
        let mut body = Sse::new(subscription).keep_alive(None).into_body();
        let at = [publish(&hub, "a", "x"), publish(&hub, "a", "y")];
        let frame = within("the first frame", body.next()).await;
        assert_eq!(
            frame.unwrap().unwrap(),
            format!(":\n{}{}", wire("x", at[0]), wire("y", at[1]))
        );
        // One that waits is woken.
        let waits = tokio::spawn(async move { within("what is published", body.next()).await });
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
}

mod resume {
    use super::*;

    #[test]
    fn a_client_gets_what_it_missed_and_nothing_twice() {
        let hub = Hub::new();
        let at: Vec<_> = (0..6)
            .map(|n| publish(&hub, ["a", "b", "c"][n % 3], "x"))
            .collect();
        for (n, id) in at.iter().enumerate() {
            let mut resumed = hub.subscribe(["a", "b"]).after(last(id));
            let missed: String = (n + 1..6)
                .filter(|n| n % 3 < 2)
                .map(|n| wire("x", at[n]))
                .collect();
            assert_eq!(read(&mut resumed), (missed, true), "after {id}");
        }
    }

    /// Garbage, another epoch, the future, a megabyte: one reset, then live. The id of an event of
    /// another topic, and that before the first: the right replay.
    #[test]
    fn an_id_that_is_none_of_this_hub_is_reset() {
        let hub = Hub::new();
        let a = publish(&hub, "a", "x");
        let b = publish(&hub, "b", "secret");
        let (hi, lo) = (b.hi(), b.lo());
        let unknown = [
            format!("{}-{lo}", hi - 1),
            format!("{}-{lo}", hi + 1),
            format!("{hi}-{}", lo + 1),
            format!("{hi}-0{lo}"),
            "garbage".into(),
            "-".into(),
            "1".into(),
            "9".repeat(1 << 20),
            "\u{1f980}".into(),
        ];
        for id in unknown {
            let mut subscription = hub.subscribe(["a"]).after(last(&id));
            assert_eq!(read(&mut subscription), (reset("unknown", b), true));
        }
        let mut of_another = hub.subscribe(["a"]).after(last(b));
        assert_eq!(read(&mut of_another), (String::new(), true));
        let mut from_start = hub.subscribe(["a"]).after(last(Position::new(hi, 0)));
        assert_eq!(read(&mut from_start), (wire("x", a), true));

        let raw = http::HeaderValue::from_bytes(b"\xff\xfe").unwrap();
        let raw = http::Request::get("/")
            .header("last-event-id", raw)
            .body(())
            .unwrap();
        let mut subscription = hub.subscribe(["a"]).after(LastEventId::from_request(&raw));
        assert_eq!(read(&mut subscription), (reset("unknown", b), true));
    }

    #[test]
    fn an_id_is_refused_only_if_something_of_its_topics_is_lost() {
        let hub = Hub::builder().history(2).build();
        let first = publish(&hub, "a", "1");
        let busy: Vec<_> = (0..5).map(|_| publish(&hub, "b", "x")).collect();
        let second = publish(&hub, "a", "2");
        // Much was trimmed of b since, and nothing of a.
        let mut a = hub.subscribe(["a"]).after(last(first));
        assert_eq!(read(&mut a), (wire("2", second), true));
        let mut both = hub.subscribe(["a", "b"]).after(last(first));
        assert_eq!(read(&mut both), (reset("expired", second), true));
        // At the bound: behind the last that was trimmed, and that itself.
        let mut b = hub.subscribe(["b"]).after(last(busy[1]));
        assert_eq!(read(&mut b), (reset("expired", second), true));
        let mut b = hub.subscribe(["b"]).after(last(busy[2]));
        assert_eq!(
            read(&mut b),
            (wire("x", busy[3]) + &wire("x", busy[4]), true)
        );
    }

    #[test]
    fn what_is_lost_of_a_topic_that_is_gone_is_told() {
        let hub = Hub::new();
        let first = publish(&hub, "a", "x");
        publish(&hub, "b", "x");
        assert!(hub.remove("b"));
        assert!(!hub.remove("b") && !hub.remove("never"));
        let waits = hub.subscribe(["no history"]);
        assert!(!hub.remove("no history"));
        drop(waits);
        assert_eq!(hub.topics().len(), 1);
        let mut b = hub.subscribe(["b"]).after(last(first));
        assert_eq!(read(&mut b), (reset("expired", hub.head()), true));
        let mut b = hub.subscribe(["b"]).after(last(hub.head()));
        assert_eq!(read(&mut b), (String::new(), true));
    }

    #[test]
    fn an_empty_event_now_and_then_keeps_an_id_young() {
        const TICK: EventType = EventType::from_static("tick");
        let hub = Hub::new();
        let quiet = publish(&hub, "quiet", "x");
        let mut ticked = hub.subscribe(["quiet", "clock"]).after(last(quiet));
        publish(&hub, "other", "x");
        hub.remove("other"); // and with it the topic
        hub.remove("quiet");
        let tick = Event::data("").event_type(TICK);
        let tick = hub.publish("clock", tick).unwrap();
        let wire = format!("event: tick\ndata: \nid: {tick}\n\n");
        assert_eq!(read(&mut ticked), (wire, true));
        drop(ticked);

        let mut back = hub.subscribe(["quiet", "clock"]).after(last(tick));
        assert_eq!(read(&mut back), (String::new(), true));
        let mut without = hub.subscribe(["quiet", "clock"]).after(last(quiet));
        assert_eq!(read(&mut without), (reset("expired", tick), true));
    }

    #[test]
    fn the_reset_event_is_what_the_server_wants() {
        const SYNC: EventType = EventType::from_static("sync");
        let builder = Hub::builder().reset_event(|reason| match reason {
            ResetReason::Unknown => Event::data("who?").event_type(SYNC),
            _ => Event::data(reason.to_string()),
        });
        let hub = builder.build();
        let mut subscription = hub.subscribe(["a"]).after(last("x"));
        let start = hub.head();
        assert_eq!(
            read(&mut subscription).0,
            format!("event: sync\ndata: who?\nid: {start}\n\n")
        );

        let comment = Hub::builder().reset_event(|_| Event::new().comment("c"));
        let mut subscription = comment.build().subscribe(["a"]).after(last("x"));
        let reset = subscription.next().now_or_never().unwrap().unwrap();
        assert_eq!(reset.count(), 1);
    }
}

mod lag {
    use super::*;

    fn hub_of_three() -> Hub {
        Hub::builder().history(3).build()
    }

    #[test]
    fn by_default_it_is_reset_once_and_goes_on() {
        let hub = hub_of_three();
        let mut slow = hub.subscribe(["a"]);
        let mut at: Vec<_> = (0..3).map(|_| publish(&hub, "a", "x")).collect();
        let kept: String = at.iter().map(|at| wire("x", *at)).collect();
        assert_eq!(read(&mut slow), (kept, true), "at the bound");
        at.extend((0..4).map(|_| publish(&hub, "a", "x")));
        assert_eq!(read(&mut slow), (reset("lagged", at[6]), true));
        let next = publish(&hub, "a", "y");
        assert_eq!(read(&mut slow), (wire("y", next), true));
        let topic = &hub.topics()[0];
        assert_eq!(
            (topic.resets, topic.lagged, topic.published, topic.events),
            (1, 1, 8, 3)
        );
    }

    #[test]
    fn it_can_be_disconnected() {
        let hub = hub_of_three();
        let mut slow = hub.subscribe(["a"]).on_lag(OnLag::Disconnect);
        let at: Vec<_> = (0..4).map(|_| publish(&hub, "a", "x")).collect();
        assert_eq!(read(&mut slow), (String::new(), false));
        assert_eq!(read(&mut slow), (String::new(), false));
        // Its client comes back with an id that is lost: it is told, and not sent away again.
        let mut back = hub
            .subscribe(["a"])
            .on_lag(OnLag::Disconnect)
            .after(last(at[0]));
        assert_eq!(
            read(&mut back).0,
            at[1..].iter().map(|at| wire("x", *at)).collect::<String>()
        );
        publish(&hub, "a", "x");
        let mut back = hub
            .subscribe(["a"])
            .on_lag(OnLag::Disconnect)
            .after(last(at[0]));
        assert_eq!(read(&mut back), (reset("expired", hub.head()), true));
        assert_eq!(hub.topics()[0].lagged, 1);
    }

    #[test]
    fn it_can_have_the_latest_of_each_topic() {
        let hub = hub_of_three();
        let latest = |hub: &Hub| hub.subscribe(["a", "b", "c"]).on_lag(OnLag::Latest);
        let mut slow = latest(&hub);
        assert_eq!(read(&mut slow), (String::new(), true));
        let b = publish(&hub, "b", "b");
        let mut a = b;
        for _ in 0..9 {
            a = publish(&hub, "a", "x");
        }
        let newest = (wire("b", b) + &wire("x", a), true);
        assert_eq!(read(&mut slow), newest);
        // So does one that begins, and one whose id is unknown; one that resumes has some of it.
        assert_eq!(read(&mut latest(&hub)), newest);
        assert_eq!(read(&mut latest(&hub).after(last("?"))), newest);
        assert_eq!(read(&mut latest(&hub).after(last(b))), (wire("x", a), true));
        assert_eq!(
            read(&mut latest(&hub).after(last(a))),
            (String::new(), true)
        );
        let next = publish(&hub, "c", "c");
        assert_eq!(read(&mut slow), (wire("c", next), true));
        // Nothing is skipped in silence: the one that was slow, and the one that came back late.
        let counts = |count: fn(&http_sse::hub::TopicInfo) -> u64| -> u64 {
            hub.topics().iter().map(count).sum()
        };
        assert_eq!(counts(|topic| topic.lagged), 1);
        assert_eq!(counts(|topic| topic.resets), 1);
    }
}

mod bounds {
    use super::*;

    #[test]
    fn a_topic_keeps_this_many_events_and_bytes_and_at_least_one() {
        let kept = |hub: &Hub| {
            let topic = &hub.topics()[0];
            (topic.events, topic.bytes)
        };
        for (events, expected) in [(0, 1), (1, 1), (2, 2)] {
            let hub = Hub::builder().history(events).build();
            (0..5).for_each(|_| _ = publish(&hub, "a", "x"));
            assert_eq!(kept(&hub).0, expected);
        }
        let one = wire("x", publish(&Hub::new(), "a", "x")).len();
        for (bytes, expected) in [(0, 1), (2 * one - 1, 1), (2 * one, 2), (2 * one + 1, 2)] {
            let hub = Hub::builder().history_bytes(bytes).build();
            (0..5).for_each(|_| _ = publish(&hub, "a", "x"));
            assert_eq!(kept(&hub), (expected, expected * one), "{bytes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_kept_for_this_long() {
        let second = Duration::from_secs(1);
        let hub = Hub::builder().history_age(10 * second).build();
        let old = publish(&hub, "old", "x");
        advance(10 * second).await;
        publish(&hub, "a", "x");
        assert_eq!(hub.topics().len(), 2, "at the bound");
        advance(Duration::from_millis(1)).await;
        publish(&hub, "a", "x");
        assert_eq!(hub.topics().len(), 1);
        let mut late = hub
            .subscribe(["old"])
            .after(last(Position::new(old.hi(), 0)));
        assert_eq!(read(&mut late), (reset("expired", hub.head()), true));
    }

    /// A topic that is busy leaves rows of what it has lost behind one that is not; they go, and
    /// the event of the quiet topic still has its age.
    #[tokio::test(start_paused = true)]
    async fn events_are_kept_for_this_long_beside_a_busy_topic() {
        let second = Duration::from_secs(1);
        let hub = Hub::builder().history(1).history_age(10 * second).build();
        publish(&hub, "quiet", "x");
        for busy in [0, 1, 70, 71, 1_000] {
            (0..busy).for_each(|_| _ = publish(&hub, "busy", "x"));
            assert_eq!(hub.topics().len(), 1 + usize::from(busy > 0), "{busy}");
        }
        advance(11 * second).await;
        let at = publish(&hub, "busy", "x");
        let kept: Vec<_> = (hub.topics().into_iter())
            .map(|topic| (topic.name.to_string(), topic.events))
            .collect();
        assert_eq!(kept, [("busy".to_owned(), 1)]);
        // And the newest, which is as old then, is dropped by the next.
        advance(11 * second).await;
        publish(&hub, "other", "x");
        let mut late = hub.subscribe(["busy"]).after(last(at));
        assert_eq!(
            hub.topics().iter().map(|topic| topic.events).sum::<usize>(),
            1
        );
        assert_eq!(read(&mut late), (String::new(), true));
    }

    /// What those who read the same share counts, until it is of no use.
    #[test]
    fn what_readers_share_is_part_of_the_memory() {
        let events = 3;
        let len = wire("x", publish(&Hub::new(), "a", "x")).len();
        // What ends it: the last reader leaves, an event comes, the history goes.
        type End = fn(&Hub, &mut Vec<Subscription>);
        let ends: [(&str, End); 3] = [
            ("leave", |_, readers| readers.clear()),
            ("publish", |hub, _| _ = publish(hub, "a", "x")),
            ("remove", |hub, _| assert!(hub.remove("a"))),
        ];
        for (name, end) in ends {
            let memory = |reads: bool| {
                let hub = Hub::new();
                let start = hub.head();
                (0..events).for_each(|_| _ = publish(&hub, "a", "x"));
                let before = hub.memory();
                let resumed = || hub.subscribe(["a"]).after(last(start));
                let mut readers = vec![resumed()];
                if reads {
                    // One alone shares nothing.
                    assert_eq!(read(&mut readers[0]).0.len(), events * len);
                    assert_eq!(hub.memory(), before);
                }
                readers.extend([resumed(), resumed()]);
                if reads {
                    // The second makes what the third is given.
                    for reader in &mut readers[1..] {
                        assert_eq!(read(reader).0.len(), events * len);
                        assert_eq!(hub.memory(), before + events * len);
                    }
                }
                // It stays while there are others who may read it.
                readers.pop();
                if reads {
                    assert_eq!(hub.memory(), before + events * len);
                }
                end(&hub, &mut readers);
                hub.memory()
            };
            assert_eq!(memory(true), memory(false), "{name}");
        }
    }

    /// Readers at many places share no more than eight pieces.
    #[test]
    fn what_readers_share_is_bounded() {
        let hub = Hub::new();
        let start = hub.head();
        let at: Vec<_> = (0..20).map(|_| publish(&hub, "a", "0123456789")).collect();
        let before = hub.memory();
        let lengths = |n: usize| at[n..].iter().map(|at| wire("0123456789", *at).len());
        let mut places = vec![start];
        places.extend(&at);
        let mut readers = Vec::new();
        for (n, place) in places[..15].iter().enumerate() {
            for _ in 0..2 {
                let mut reader = hub.subscribe(["a"]).after(last(place));
                assert_eq!(read(&mut reader).0.len(), lengths(n).sum::<usize>());
                readers.push(reader);
            }
            // The first reader of all was alone, and the second has made its piece.
            let first = (n + 1).saturating_sub(8);
            let shared = (first..=n).flat_map(lengths).sum::<usize>();
            assert_eq!(hub.memory(), before + shared, "{n}");
        }
    }

    #[test]
    fn a_million_topics_touched_once_leave_nothing() {
        let hub = Hub::builder().memory(1 << 20).build();
        for n in 0..1_000_000 {
            publish(&hub, &format!("topic {n}"), "x");
            assert!(hub.memory() <= 1 << 20);
        }
        let kept = hub.topics().len();
        assert!((1_000..5_000).contains(&kept), "{kept}");
        for topic in hub.topics() {
            assert!(hub.remove(&topic.name));
        }
        assert_eq!((hub.topics().len(), hub.memory()), (0, 0));
    }

    #[test]
    fn all_topics_together_cost_no_more_than_the_memory() {
        let publish_both = |hub: &Hub| {
            publish(hub, "a", "x");
            publish(hub, "b", "x");
            (hub.topics().len(), hub.memory())
        };
        let (_, both) = publish_both(&Hub::new());
        let kept = |memory| publish_both(&Hub::builder().memory(memory).build());
        assert_eq!(kept(both), (2, both), "at the bound");
        assert_eq!(kept(both - 1), (1, both / 2));
    }

    #[test]
    fn the_newest_event_is_kept_beyond_the_memory() {
        let hub = Hub::builder().memory(0).build();
        let mut reader = hub.subscribe(["a"]);
        for _ in 0..3 {
            let at = publish(&hub, "a", &"x".repeat(1_000));
            assert_eq!(read(&mut reader).0, wire(&"x".repeat(1_000), at));
        }
        publish(&hub, "b", "x");
        assert_eq!(
            hub.topics().iter().map(|topic| topic.events).sum::<usize>(),
            1
        );
    }
}

mod ends {
    use super::*;

    #[test]
    fn a_closed_hub_lets_everybody_read_to_the_end() {
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
    async fn those_who_wait_are_woken_by_the_end() {
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
    fn a_topic_is_gone_with_its_last_subscriber_and_event() {
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
}
