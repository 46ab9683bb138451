//! The encoder's bytes for each case of the table of rules, and tests that a case cannot express.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http_sse::{
    Encode, EncodedEvent, Event, EventId, EventType, InvalidField, InvalidRetry, Json, KeepAlive,
    Retry, Sse,
};

use crate::{
    deadline::within_time,
    wire_rules::{DECODER, RESPONSE, Rule, TICK, encoder},
};

/// Returns the description of each case of the encoder, its event and its bytes.
fn cases() -> impl Iterator<Item = (String, Event, &'static str)> {
    encoder().into_iter().flat_map(|rule| {
        let case = move |(what, event, wire)| (format!("{}: {what}", rule.id), event, wire);
        rule.cases.into_iter().map(case)
    })
}

/// Returns the bytes of an item as text, so that no comparison of the crate's own is used.
fn encoded<T: Encode<Error: std::fmt::Debug>>(item: T) -> String {
    let mut wire = BytesMut::new();
    http_sse::encode(item, &mut wire).unwrap();
    String::from_utf8(wire.to_vec()).unwrap()
}

/// Returns everything that a response sends, if its source is never pending.
fn sent<S: Stream<Item = Event>>(sse: Sse<S>) -> String {
    let frames = sse.into_body().map(Result::unwrap).collect::<Vec<_>>();
    let frames = frames.now_or_never().unwrap();
    String::from_utf8(frames.concat()).unwrap()
}

#[test]
fn each_case_encodes_to_its_bytes() {
    for (what, event, wire) in cases() {
        assert_eq!(encoded(event), wire, "{what}");
    }
}

#[test]
fn each_case_encodes_to_the_same_bytes_after_others() {
    let mut buffer = BytesMut::new();
    let mut all = String::new();
    for (_, event, wire) in cases() {
        let Ok(()) = http_sse::encode(event, &mut buffer);
        all.push_str(wire);
    }
    assert_eq!(std::str::from_utf8(&buffer).unwrap(), all);
}

#[test]
fn each_case_encodes_to_the_same_bytes_in_a_body() {
    let events: Vec<_> = cases().map(|(_, event, _)| event).collect();
    let all: String = cases().map(|(_, _, wire)| wire).collect();
    assert_eq!(sent(Sse::new(stream::iter(events))), format!(":\n{all}"));
}

#[test]
fn an_encoded_event_equals_only_its_own_bytes() {
    let event = EncodedEvent::from(Event::data("a"));
    assert!(event == "data: a\n\n");
    for other in ["", "data: a\n", "data: b\n\n", "data: a\n\n\n"] {
        assert!(event != other, "{other:?}");
    }
}

/// Checks that each rule has a case or a test that exists, and that each rule cited exists.
#[test]
fn every_rule_has_a_case_or_a_test() {
    fn row<C>(
        rule: &Rule<C>,
        cases: usize,
    ) -> (&'static str, &'static str, &'static [&'static str], usize) {
        (rule.id, rule.says, rule.shown_by, cases)
    }

    let encoder = encoder();
    let rows = encoder
        .iter()
        .map(|rule| row(rule, rule.cases.len()))
        .chain(DECODER.iter().map(|rule| row(rule, rule.cases.len())))
        .chain(RESPONSE.iter().map(|rule| row(rule, 0)));
    let sources = sources();
    let mut rules = BTreeSet::new();
    for (id, says, shown_by, cases) in rows {
        assert!(rules.insert(id), "two rules have the ID {id}");
        assert!(says.ends_with('.'), "{id} is not a sentence");
        assert!(cases + shown_by.len() > 0, "{id} has no case and no test");
        for test in shown_by {
            let function = format!("fn {test}(");
            let exists = sources.values().any(|source| source.contains(&function));
            assert!(exists, "{id} names the test {test}, which does not exist");
        }
    }
    for (path, source) in &sources {
        for word in source.split(|c: char| !c.is_alphanumeric() && c != '_') {
            let number = word.strip_prefix(['E', 'D', 'R']).unwrap_or_default();
            let is_rule =
                matches!(number.len(), 1 | 2) && number.bytes().all(|b| b.is_ascii_digit());
            assert!(
                !is_rule || rules.contains(word),
                "{} cites {word}, which is not a rule",
                path.display()
            );
        }
    }
}

/// Returns the sources of the crate and of its tests.
fn sources() -> BTreeMap<PathBuf, String> {
    let mut sources = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut folders = ["src", "tests"].map(|folder| root.join(folder)).to_vec();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path).unwrap();
                sources.insert(path, source);
            }
        }
    }
    sources
}

/// Tries every line end at every position. The lengths include those for which the search takes
/// wide steps.
#[test]
fn line_ends_are_found_wherever_they_are() {
    for length in 0..200 {
        for at in 0..=length {
            for end in ["\n", "\r", "\r\n"] {
                let (before, after) = ("x".repeat(at), "y".repeat(length - at));
                let event = Event::data(format!("{before}{end}{after}"));
                let wire = format!("data: {before}\ndata: {after}\n\n");
                assert_eq!(encoded(event), wire);
            }
        }
        for end in ["\n", "\r", "\r\n"] {
            let wire = "data: \n".repeat(length + 1) + "\n";
            assert_eq!(encoded(Event::data(end.repeat(length))), wire);
        }
    }
}

#[test]
fn an_id_or_event_type_that_would_break_the_wire_is_refused() {
    fn parts(error: InvalidField) -> (&'static str, char, usize, String) {
        let value = error.clone().into_value().into_owned();
        (error.field(), error.character(), error.offset(), value)
    }

    for (text, character, offset) in [
        ("\n", '\n', 0),
        ("a\r", '\r', 1),
        ("é\r\nb", '\r', 2),
        ("message\ndata: pwned", '\n', 7),
    ] {
        let rejected = EventType::new(text).unwrap_err();
        assert_eq!(parts(rejected), ("event", character, offset, text.into()));
        let rejected = EventId::new(text).unwrap_err();
        assert_eq!(parts(rejected), ("id", character, offset, text.into()));
    }
    let rejected = EventId::new("a\0b\n").unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "the caller's `id` has '\\0' at byte 1, which the field cannot carry"
    );
    assert_eq!(parts(rejected), ("id", '\0', 1, "a\0b\n".into()));
}

#[test]
fn a_retry_that_clients_misread_is_refused() {
    for millis in [0, 2_147_483_648, u64::MAX] {
        let time = Duration::from_millis(millis);
        let rejected: InvalidRetry = Retry::new(time).unwrap_err();
        assert_eq!(rejected.0, time);
    }
}

#[test]
#[should_panic(expected = "an event type holds no CR or LF")]
fn from_static_panics_on_an_invalid_event_type() {
    let _ = EventType::from_static("a\n");
}

#[test]
#[should_panic(expected = "an id holds no CR, LF or NUL")]
fn from_static_panics_on_an_invalid_id() {
    let _ = EventId::from_static("a\0");
}

#[test]
#[should_panic(expected = "a reconnection time is 1 to 2147483647 ms")]
fn from_millis_panics_on_an_invalid_retry() {
    let _ = Retry::from_millis(0);
}

/// Shows E1, E7 and R7: no byte order mark, and a comment line first.
#[test]
fn a_stream_opens_with_a_comment_line() {
    assert_eq!(sent(Sse::new(stream::empty::<Event>())), ":\n");

    let with_retry = Sse::new(stream::iter([Event::data("a")])).retry(Retry::from_millis(3_000));
    assert_eq!(sent(with_retry), ":\nretry: 3000\ndata: a\n\n");
}

/// Shows E14, E15 and E17.
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
        for expected in [":\n", wire, wire] {
            let frame = within_time(Duration::from_secs(16), "a keep-alive", body.next()).await;
            assert_eq!(frame.unwrap().unwrap(), expected);
        }
    }
}

#[test]
fn json_combines_with_other_fields() {
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
        encoded(Delta(7)),
        "event: tick\nid: 7\nretry: 10\n: c\ndata: [7]\n\ndata: \"second\"\n\n"
    );
}
