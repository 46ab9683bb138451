//! The ids of published items, which the hub replaces.

use std::convert::Infallible;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Encode, EncodedEvent, Encoder, Event, EventType, Hub, hub::Position};

use super::{last, read};

/// Publishes an item, and returns its wire with `ID` instead of the id of the hub, and its number
/// of events.
fn published<T: Encode<Error = Infallible>>(item: T) -> (String, u64) {
    let hub = Hub::new();
    let mut reader = hub.subscribe(["a"]);
    let at = hub.publish("a", item).unwrap();
    let events = reader.next().now_or_never().unwrap().unwrap();
    assert!(reader.next().now_or_never().is_none());
    let wire = std::str::from_utf8(events.as_bytes()).unwrap();
    let mut resumed = hub.subscribe(["a"]).after(last(Position::new(at.hi(), 0)));
    assert_eq!(read(&mut resumed).0, wire);
    assert_eq!(wire.matches(&format!("id: {at}\n")).count(), 1);
    assert!(events == wire && events != &wire[1..]);
    (wire.replace(&at.to_string(), "ID"), events.count())
}

#[test]
fn an_event_has_the_id_of_the_hub_only() {
    const EVENT: EventType = EventType::from_static("e");
    let event = Event::data("x").event_type(EVENT).id(7);
    let expected = ("event: e\ndata: x\nid: ID\n\n".to_owned(), 1);
    assert_eq!(published(event), expected);
    let event = Event::data("id: 7\nid: 8").id(9);
    let expected = ("data: id: 7\ndata: id: 8\nid: ID\n\n".to_owned(), 1);
    assert_eq!(published(event), expected);
    let comment = Event::data("x").comment("id: 7").id(9);
    let expected = (": id: 7\ndata: x\nid: ID\n\n".to_owned(), 1);
    assert_eq!(published(comment), expected);
}

#[test]
fn an_encoded_event_has_the_id_of_the_hub_only() {
    for (item, expected) in [
        ("id: 7\ndata: x\n\n", "data: x\nid: ID\n\n"),
        ("data: x\nid: 7\n\n", "data: x\nid: ID\n\n"),
        (
            "data: x\nid: 7\ndata: y\n\n",
            "data: x\ndata: y\nid: ID\n\n",
        ),
        ("id: 7\n\n", "id: ID\n\n"),
        ("id: \n\n", "id: ID\n\n"),
        ("id: \ndata: x\n\n", "data: x\nid: ID\n\n"),
        ("id: 7\nid: 8\ndata: x\n\n", "data: x\nid: ID\n\n"),
        ("data: id: 7\n\n", "data: id: 7\nid: ID\n\n"),
        (": id: 7\n", ": id: 7\nid: ID\n\n"),
        ("retry: 7\n", "retry: 7\nid: ID\n\n"),
        ("retry: 7\nid: 8\n\n", "retry: 7\nid: ID\n\n"),
    ] {
        let event = EncodedEvent::from_static(item);
        assert_eq!(published(event), (expected.to_owned(), 1), "{item:?}");
    }
}

#[test]
fn several_events_have_one_id_in_the_last_of_them() {
    /// An item that writes these events.
    struct Events(&'static [EncodedEvent]);

    impl Encode for Events {
        type Error = Infallible;

        fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
            for event in self.0 {
                event.clone().encode(encoder)?;
            }
            Ok(())
        }
    }

    const X: EncodedEvent = EncodedEvent::from_static("id: 7\ndata: x\n\n");
    const Y: EncodedEvent = EncodedEvent::from_static("data: y\nid: 8\n\n");
    const ID: EncodedEvent = EncodedEvent::from_static("id: 9\n\n");
    static X_Y: [EncodedEvent; 2] = [X, Y];
    static X_ID: [EncodedEvent; 2] = [X, ID];
    static ID_X: [EncodedEvent; 2] = [ID, X];
    static ID_ID: [EncodedEvent; 2] = [ID, ID];
    let cases: [(&'static [EncodedEvent], &str, u64); 5] = [
        (&X_Y, "data: x\n\ndata: y\nid: ID\n\n", 2),
        (&X_ID, "data: x\nid: ID\n\n", 1),
        (&ID_X, "data: x\nid: ID\n\n", 1),
        (&ID_ID, "id: ID\n\n", 1),
        (&[], "id: ID\n\n", 1),
    ];
    for (events, expected, count) in cases {
        assert_eq!(
            published(Events(events)),
            (expected.to_owned(), count),
            "{expected:?}"
        );
    }
}

#[test]
fn a_reset_event_has_the_id_of_the_hub_only() {
    let hub = Hub::builder().reset_event(|_| Event::data("reload").id(7));
    let hub = hub.build();
    let mut lost = hub.subscribe(["a"]).after(last("unknown"));
    let head = hub.head();
    let expected = format!("data: reload\nid: {head}\n\n");
    assert_eq!(read(&mut lost), (expected, true));
}
