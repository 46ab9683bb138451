//! Subscribers that fall behind.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

use http_sse::{Event, Hub, hub::OnLag};

use super::{last, publish, read, reset, wire};

fn hub_of_three() -> Hub {
    Hub::builder().history(3).build()
}

#[test]
fn a_lagging_subscriber_is_reset_once_by_default() {
    let hub = hub_of_three();
    let mut slow = hub.subscribe(["a"]);
    let mut at: Vec<_> = (0..3).map(|_| publish(&hub, "a", "x")).collect();
    let kept: String = at.iter().map(|at| wire("x", *at)).collect();
    assert_eq!(read(&mut slow), (kept, true), "at the limit");
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
fn a_lagging_subscriber_can_be_disconnected() {
    let hub = hub_of_three();
    let mut slow = hub.subscribe(["a"]).on_lag(OnLag::Disconnect);
    let first = publish(&hub, "a", "x");
    assert_eq!(read(&mut slow), (wire("x", first), true));
    let at: Vec<_> = (0..4).map(|_| publish(&hub, "a", "x")).collect();
    assert_eq!(read(&mut slow), (String::new(), false));
    assert_eq!(read(&mut slow), (String::new(), false));
    // Its client returns with an ID that is still valid.
    let mut back = hub
        .subscribe(["a"])
        .on_lag(OnLag::Disconnect)
        .after(last(at[0]));
    assert_eq!(
        read(&mut back).0,
        at[1..].iter().map(|at| wire("x", *at)).collect::<String>()
    );
    // With an ID that has expired, the client is reset instead of disconnected again.
    publish(&hub, "a", "x");
    let mut back = hub
        .subscribe(["a"])
        .on_lag(OnLag::Disconnect)
        .after(last(at[0]));
    assert_eq!(read(&mut back), (reset("expired", hub.head()), true));
    assert_eq!(hub.topics()[0].lagged, 1);
}

#[test]
fn a_lagging_subscriber_can_get_the_latest_event_of_each_topic() {
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
    // A new subscriber and one with an unknown ID get the same. A subscriber that resumes gets
    // only the events that it has missed.
    assert_eq!(read(&mut latest(&hub)), newest);
    assert_eq!(read(&mut latest(&hub).after(last("?"))), newest);
    assert_eq!(read(&mut latest(&hub).after(last(b))), (wire("x", a), true));
    assert_eq!(
        read(&mut latest(&hub).after(last(a))),
        (String::new(), true)
    );
    let quiet = hub.subscribe(["c"]).on_lag(OnLag::Latest);
    assert_eq!(read(&mut quiet.after(last("?"))), (String::new(), true));
    let next = publish(&hub, "c", "c");
    assert_eq!(read(&mut slow), (wire("c", next), true));
    // The slow subscriber lagged, and a client resumed too late. Both got the newest event.
    let counts = |count: fn(&http_sse::hub::TopicInfo) -> u64| -> u64 {
        hub.topics().iter().map(count).sum()
    };
    assert_eq!(counts(|topic| topic.lagged), 1);
    assert_eq!(counts(|topic| topic.resets), 0);
    // A reset for an unknown id is not due to a topic.
    let mut unknown = hub.subscribe(["a", "b"]).after(last("?"));
    assert_eq!(read(&mut unknown), (reset("unknown", hub.head()), true));
    assert_eq!(counts(|topic| topic.resets), 0);
    // Without the newest event there is a reset.
    let mut slow = latest(&hub);
    read(&mut slow);
    publish(&hub, "c", "removed");
    hub.remove("c");
    assert_eq!(read(&mut slow), (reset("lagged", hub.head()), true));
    assert_eq!(counts(|topic| topic.resets), 1);
}

#[test]
fn a_reset_that_panics_is_sent_by_the_next_poll() {
    static PANICS: AtomicBool = AtomicBool::new(false);
    for topics in [&["a"][..], &["a", "b"]] {
        for id in ["", "?"] {
            PANICS.store(true, SeqCst);
            let hub = Hub::builder().history(1).reset_event(|reason| {
                if PANICS.swap(false, SeqCst) {
                    resume_unwind(Box::new("no reset"));
                }
                Event::data(reason.to_string())
            });
            let hub = hub.build();
            let mut slow = hub.subscribe(topics).after(last(id));
            (0..3).for_each(|_| _ = publish(&hub, "a", "x"));
            let panic = catch_unwind(AssertUnwindSafe(|| read(&mut slow))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"no reset"));
            let reason = if id.is_empty() { "lagged" } else { "unknown" };
            assert_eq!(read(&mut slow), (wire(reason, hub.head()), true));
        }
    }
}
