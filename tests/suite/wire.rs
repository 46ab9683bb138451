//! The wire, row by row: a value, and the bytes that it becomes. A change to the bytes on the wire
//! changes a row here first. E1 to E18 are the rules of an encoder; the rows marked `peers` are
//! what other encoders of events get wrong.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http_sse::{
    EncodedEvent, Event, EventId, EventType, InvalidField, InvalidRetry, Json, KeepAlive, Retry,
    Sse,
};

const TICK: EventType = EventType::from_static("tick");

fn id(text: &'static str) -> EventId {
    EventId::new(text).unwrap()
}

fn event_type(text: &'static str) -> EventType {
    EventType::new(text).unwrap()
}

fn retry(millis: u64) -> Retry {
    Retry::new(Duration::from_millis(millis)).unwrap()
}

/// All that a response sends whose source is never pending.
fn sent<S: Stream<Item = Event>>(sse: Sse<S>) -> String {
    let frames = sse.into_body().map(Result::unwrap).collect::<Vec<_>>();
    let frames = frames.now_or_never().unwrap();
    String::from_utf8(frames.concat()).unwrap()
}

/// A rule, an event, and its bytes.
fn table() -> Vec<(&'static str, Event, &'static str)> {
    vec![
        (
            "E1: UTF-8 as it is",
            Event::data("é ☃ 🦀"),
            "data: é ☃ 🦀\n\n",
        ),
        (
            "E1: a BOM in data is data",
            Event::data("\u{feff}a"),
            "data: \u{feff}a\n\n",
        ),
        (
            "E2: an event ends with an empty line",
            Event::data("a"),
            "data: a\n\n",
        ),
        (
            "E3, E5: LF ends a line",
            Event::data("a\nb"),
            "data: a\ndata: b\n\n",
        ),
        (
            "E3, E5, peers: CRLF is one line end",
            Event::data("a\r\nb"),
            "data: a\ndata: b\n\n",
        ),
        (
            "E3, E5, peers: a lone CR ends a line",
            Event::data("a\rb"),
            "data: a\ndata: b\n\n",
        ),
        (
            "E5: CR CR LF LF are three line ends",
            Event::data("a\r\r\n\nb"),
            "data: a\ndata: \ndata: \ndata: b\n\n",
        ),
        (
            "E5: LF CR are two",
            Event::data("a\n\rb"),
            "data: a\ndata: \ndata: b\n\n",
        ),
        (
            "E4, peers: a CR injects no field",
            Event::data("a\rid: 1\r\rdata: b"),
            "data: a\ndata: id: 1\ndata: \ndata: data: b\n\n",
        ),
        (
            "E6, peers: a leading space stays",
            Event::data(" a"),
            "data:  a\n\n",
        ),
        (
            "E6: a leading tab stays",
            Event::data("\ta"),
            "data: \ta\n\n",
        ),
        (
            "E6: trailing spaces stay",
            Event::data("a  "),
            "data: a  \n\n",
        ),
        (
            "E6: a leading colon stays",
            Event::data(":a"),
            "data: :a\n\n",
        ),
        (
            "E7, peers: empty data is data",
            Event::data(""),
            "data: \n\n",
        ),
        ("E7: no data", Event::new().id(1), "id: 1\n\n"),
        ("E7: nothing", Event::new(), ""),
        (
            "E8, peers: a trailing LF arrives",
            Event::data("a\n"),
            "data: a\ndata: \n\n",
        ),
        (
            "E8, peers: a trailing CRLF arrives",
            Event::data("a\r\n"),
            "data: a\ndata: \n\n",
        ),
        (
            "E8, peers: a trailing CR arrives",
            Event::data("a\r"),
            "data: a\ndata: \n\n",
        ),
        (
            "E8: two trailing LFs",
            Event::data("a\n\n"),
            "data: a\ndata: \ndata: \n\n",
        ),
        ("E8: LF alone", Event::data("\n"), "data: \ndata: \n\n"),
        (
            "E9: an event type",
            Event::data("a").event_type(TICK),
            "event: tick\ndata: a\n\n",
        ),
        (
            "E9: `message` may be said",
            Event::data("a").event_type(event_type("message")),
            "event: message\ndata: a\n\n",
        ),
        (
            "E9: an empty event type",
            Event::data("a").event_type(event_type("")),
            "event: \ndata: a\n\n",
        ),
        (
            "E9: a NUL in an event type is legal",
            Event::data("a").event_type(event_type("\0")),
            "event: \0\ndata: a\n\n",
        ),
        (
            "E9: outer spaces of an event type stay",
            Event::data("a").event_type(event_type(" t ")),
            "event:  t \ndata: a\n\n",
        ),
        (
            "E9: an event type alone",
            Event::new().event_type(TICK),
            "event: tick\n\n",
        ),
        (
            "E10: an id",
            Event::data("a").id(id("7-3")),
            "id: 7-3\ndata: a\n\n",
        ),
        (
            "E10: a number as id",
            Event::data("a").id(7_u64),
            "id: 7\ndata: a\n\n",
        ),
        (
            "E10: a negative number as id",
            Event::data("a").id(-7),
            "id: -7\ndata: a\n\n",
        ),
        (
            "E10: an empty id resets",
            Event::data("a").id(id("")),
            "id: \ndata: a\n\n",
        ),
        (
            "E10: an id that is not portable",
            Event::data("a").id(id(" é\u{1} ")),
            "id:  é\u{1} \ndata: a\n\n",
        ),
        (
            "E11: an id that counts everywhere",
            Event::data("").event_type(event_type("id")).id(7),
            "event: id\nid: 7\ndata: \n\n",
        ),
        (
            "E12: the shortest retry",
            Event::data("a").retry(retry(1)),
            "retry: 1\ndata: a\n\n",
        ),
        (
            "E12: the longest retry",
            Event::data("a").retry(retry(2_147_483_647)),
            "retry: 2147483647\ndata: a\n\n",
        ),
        (
            "E12: parts of a millisecond are dropped",
            Event::data("a").retry(Retry::new(Duration::from_micros(1_999)).unwrap()),
            "retry: 1\ndata: a\n\n",
        ),
        (
            "E13: retry is no block of its own",
            Event::new().retry(retry(3000)),
            "retry: 3000\n",
        ),
        (
            "E14: a comment is no block of its own",
            Event::new().comment("c"),
            ": c\n",
        ),
        (
            "E4, peers: a comment over lines",
            Event::new().comment("a\rdata: b\r\n\nc"),
            ": a\n: data: b\n: \n: c\n",
        ),
        ("E4: an empty comment", Event::new().comment(""), ":\n"),
        (
            "E4: a comment beside data",
            Event::data("a").comment("c").comment("d"),
            ": c\n: d\ndata: a\n\n",
        ),
        (
            "E4: a comment behind one that ends with a CR",
            Event::new().comment("a\r").comment("b"),
            ": a\n: \n: b\n",
        ),
        (
            "E4: NUL and BOM in a comment",
            Event::new().comment("\0\u{feff}"),
            ": \0\u{feff}\n",
        ),
        (
            "E16: every field, in this order",
            Event::data("a\nb")
                .comment("c")
                .retry(retry(5))
                .id(1)
                .event_type(TICK),
            ": c\nevent: tick\nid: 1\nretry: 5\ndata: a\ndata: b\n\n",
        ),
        (
            "E16: the last of two ids",
            Event::data("a").id(1).id(2),
            "id: 2\ndata: a\n\n",
        ),
        (
            "E16: the last of two event types",
            Event::data("a")
                .event_type(TICK)
                .event_type(event_type("t")),
            "event: t\ndata: a\n\n",
        ),
        (
            "E18: these end no line",
            Event::data("a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f"),
            "data: a\u{2028}b\u{2029}c\u{85}d\u{b}e\u{c}f\n\n",
        ),
        (
            "E18, peers: NUL in data arrives",
            Event::data("a\0b"),
            "data: a\0b\n\n",
        ),
        (
            "JSON is one line",
            Event::json(&"a\r\nb").unwrap(),
            "data: \"a\\r\\nb\"\n\n",
        ),
        ("bytes as base64", Event::base64([0, 255]), "data: AP8=\n\n"),
    ]
}

#[test]
fn each_value_is_these_bytes() {
    for (rule, event, wire) in table() {
        assert_eq!(EncodedEvent::from(event), wire, "{rule}");
    }
}

#[test]
fn each_value_is_the_same_bytes_behind_others() {
    let mut buffer = BytesMut::new();
    let mut all = String::new();
    for (_, event, wire) in table() {
        let Ok(()) = http_sse::encode(event, &mut buffer);
        all.push_str(wire);
    }
    assert_eq!(buffer, all);
}

#[test]
fn each_value_is_the_same_bytes_in_a_body() {
    let events = table().into_iter().map(|(_, event, _)| event);
    let all: String = table().into_iter().map(|(_, _, wire)| wire).collect();
    assert_eq!(sent(Sse::new(stream::iter(events))), format!(":\n{all}"));
}

/// Every line end in data, at every place in texts of every length up to where the search for it
/// works in wide steps.
#[test]
fn line_ends_are_found_wherever_they_are() {
    for length in 0..200 {
        for at in 0..=length {
            for end in ["\n", "\r", "\r\n"] {
                let (before, after) = ("x".repeat(at), "y".repeat(length - at));
                let event = Event::data(format!("{before}{end}{after}"));
                let wire = format!("data: {before}\ndata: {after}\n\n");
                assert_eq!(EncodedEvent::from(event), wire.as_str());
            }
        }
    }
}

#[test]
fn an_id_or_event_type_that_would_break_the_wire_is_refused() {
    fn told(error: InvalidField) -> (&'static str, char, usize, String) {
        let value = error.clone().into_value().into_owned();
        (error.field(), error.character(), error.offset(), value)
    }

    for (text, character, offset) in [
        ("\n", '\n', 0),
        ("a\r", '\r', 1),
        ("é\r\nb", '\r', 2),
        ("message\ndata: pwned", '\n', 7),
    ] {
        let refused = EventType::new(text).unwrap_err();
        assert_eq!(told(refused), ("event", character, offset, text.into()));
        let refused = EventId::new(text).unwrap_err();
        assert_eq!(told(refused), ("id", character, offset, text.into()));
    }
    let refused = EventId::new("a\0b\n").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the caller's `id` has '\\0' at byte 1, which the field cannot carry"
    );
    assert_eq!(told(refused), ("id", '\0', 1, "a\0b\n".into()));
}

#[test]
fn a_retry_that_clients_misread_is_refused() {
    for millis in [0, 2_147_483_648, u64::MAX] {
        let time = Duration::from_millis(millis);
        let refused: InvalidRetry = Retry::new(time).unwrap_err();
        assert_eq!(refused.0, time);
    }
}

#[test]
#[should_panic(expected = "an event type holds no CR or LF")]
fn a_bad_literal_of_an_event_type_panics() {
    let _ = EventType::from_static("a\n");
}

#[test]
#[should_panic(expected = "an id holds no CR, LF or NUL")]
fn a_bad_literal_of_an_id_panics() {
    let _ = EventId::from_static("a\0");
}

#[test]
#[should_panic(expected = "a reconnection time is 1 to 2147483647 ms")]
fn a_bad_literal_of_a_retry_panics() {
    let _ = Retry::from_millis(0);
}

/// E1, E7 and R7: no BOM, a comment line first.
#[test]
fn a_stream_opens_with_a_comment_line() {
    assert_eq!(sent(Sse::new(stream::empty::<Event>())), ":\n");

    let with_retry = Sse::new(stream::iter([Event::data("a")])).retry(retry(3000));
    assert_eq!(sent(with_retry), ":\nretry: 3000\ndata: a\n\n");
}

/// E14, E15 and E17.
#[tokio::test(start_paused = true)]
async fn a_keep_alive_is_these_bytes() {
    for (keep_alive, wire) in [
        (KeepAlive::new(), ":\n"),
        (KeepAlive::new().comment("idle"), ": idle\n"),
        (KeepAlive::new().comment("a\rb"), ": a\n: b\n"),
        (KeepAlive::new().comment_block(""), ":\n\n"),
        (
            KeepAlive::new().event(Event::data("{}").event_type(TICK)),
            "event: tick\ndata: {}\n\n",
        ),
    ] {
        let mut body = Sse::new(stream::pending::<Event>())
            .keep_alive(keep_alive)
            .into_body();
        assert_eq!(body.next().await.unwrap().unwrap(), ":\n");
        assert_eq!(body.next().await.unwrap().unwrap(), wire);
        assert_eq!(body.next().await.unwrap().unwrap(), wire);
    }
}

#[test]
fn json_is_written_beside_other_fields() {
    struct Delta(u64);

    impl http_sse::Encode for Delta {
        type Error = serde_json::Error;

        fn encode(self, encoder: &mut http_sse::Encoder<'_>) -> Result<(), serde_json::Error> {
            encoder.event_type(&TICK);
            encoder.id(&self.0.into());
            encoder.retry(Retry::from_millis(10));
            encoder.comment("c");
            encoder.json(&[self.0])?;
            encoder.end_event();
            Json("second").encode(encoder)
        }
    }

    assert_eq!(
        EncodedEvent::new(Delta(7)).unwrap(),
        "event: tick\nid: 7\nretry: 10\n: c\ndata: [7]\n\ndata: \"second\"\n\n"
    );
}
