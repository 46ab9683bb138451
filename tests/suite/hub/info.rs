//! The state of a hub and of its topics.

use http_sse::{Hub, hub::Position};

use super::{last, publish, read, wire};

#[test]
fn the_head_is_the_last_position() {
    let hub = Hub::new();
    let start = hub.head();
    assert_eq!(start.lo(), 0);
    let mut loaded = hub.subscribe(["a", "b"]).after(last(start));
    let a = publish(&hub, "a", "x");
    assert_eq!((hub.head(), a), (a, Position::new(start.hi(), 1)));
    let end = hub.finish("b").unwrap();
    assert_eq!((hub.head(), end), (end, Position::new(start.hi(), 2)));
    hub.remove("a");
    hub.disconnect("a");
    hub.close();
    assert_eq!(hub.head(), end);
    // A client that loaded a page at the head gets everything after it.
    let hub = Hub::new();
    let id = last(hub.head());
    let a = publish(&hub, "a", "x");
    let mut page = hub.subscribe(["a"]).after(id);
    assert_eq!(read(&mut page), (wire("x", a), true));
    assert_eq!(read(&mut loaded), (String::new(), false));
}

#[test]
fn a_topic_reports_its_state() {
    let hub = Hub::builder().history(2).build();
    assert_eq!(hub.topic("a"), None);
    let mut slow = hub.subscribe(["a", "b"]);
    let _other = hub.subscribe(["a"]);
    let at: Vec<_> = (0..5).map(|_| publish(&hub, "a", "x")).collect();
    _ = read(&mut slow);
    let topic = hub.topic("a").unwrap();
    assert_eq!((&*topic.name, topic.subscribers, topic.events), ("a", 2, 2));
    assert_eq!(topic.bytes, 2 * wire("x", at[0]).len());
    let counts = [topic.published, topic.resets, topic.lagged, topic.skipped];
    assert_eq!((counts, topic.is_finished), ([5, 1, 1, 0], false));
    let other = hub.topic("b").unwrap();
    let counts = [other.published, other.resets, other.lagged, other.skipped];
    assert_eq!((counts, other.subscribers), ([0; 4], 1));
    assert_eq!((hub.topic("A"), hub.topic("")), (None, None));
}

#[test]
fn topics_can_be_chosen() {
    let hub = Hub::new();
    for n in 0..1_000 {
        publish(&hub, &format!("{n}"), "x");
    }
    let _reader = hub.subscribe(["7", "70", "none"]);
    let mut visited = 0;
    let mut read = hub.topics_where(|topic| {
        visited += 1;
        topic.subscribers > 0
    });
    read.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<_> = read.iter().map(|topic| &*topic.name).collect();
    assert_eq!((names, visited), (vec!["7", "70", "none"], 1_001));
    assert_eq!(hub.topics_where(|_| false), vec![]);
    assert_eq!(hub.topics().len(), 1_001);
    // The closure may use the hub.
    let removed = hub.topics_where(|topic| topic.events > 0 && hub.remove(&topic.name));
    assert_eq!((removed.len(), hub.topics().len()), (1_000, 3));
}
