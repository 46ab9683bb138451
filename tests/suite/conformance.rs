//! The decoder against the table of rules, and both ends against the vectors of other projects,
//! which were checked in browsers (`tests/vectors`).

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{
    EncodedEvent, Event, EventId, EventType, Retry,
    decode::{DecodeError, Decoded, Decoder, EventsError, events},
};
use serde::Deserialize;

use crate::wire_rules::DECODER;

/// What a client dispatches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Dispatched {
    event: String,
    data: String,
    #[serde(rename = "lastEventId")]
    last_event_id: String,
}

/// All that comes of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    events: Vec<Dispatched>,
    retry: Option<Duration>,
    comments: Vec<String>,
    ids: Vec<String>,
    last_event_id: String,
}

fn decode<'a>(decoder: Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = decoder;
    let mut outcome = Outcome::default();
    for mut input in pieces {
        while let Some(decoded) = decoder.decode(&mut input).unwrap() {
            match decoded {
                Decoded::Event {
                    event_type,
                    data,
                    id,
                    last_event_id,
                    ..
                } => {
                    assert!(id.is_none_or(|id| id == last_event_id));
                    outcome.events.push(Dispatched {
                        event: event_type.into(),
                        data: data.into(),
                        last_event_id: last_event_id.into(),
                    });
                }
                Decoded::Comment(text) => outcome.comments.push(text.into()),
                Decoded::Retry(time) => outcome.retry = Some(time),
                Decoded::Id(id) => outcome.ids.push(id.into()),
                other => panic!("{other:?} is new"),
            }
        }
        assert!(input.is_empty(), "all of the piece is read");
    }
    outcome.last_event_id = decoder.last_event_id().into();
    outcome
}

/// Asserts that the outcome is the same for the whole, byte by byte, and at every split point.
fn decode_every_way(bytes: &[u8]) -> Outcome {
    let decoder = || Decoder::new().with_comments();
    let whole = decode(decoder(), [bytes]);
    assert_eq!(decode(decoder(), bytes.chunks(1)), whole, "byte by byte");
    for at in 0..=bytes.len() {
        let (before, after) = bytes.split_at(at);
        assert_eq!(decode(decoder(), [before, after]), whole, "split at {at}");
    }
    // What is not asked for does not change what is dispatched.
    assert_eq!(decode(Decoder::new(), [bytes]).events, whole.events);
    whole
}

fn dispatched(event: &str, data: &str, last_event_id: &str) -> Dispatched {
    Dispatched {
        event: event.into(),
        data: data.into(),
        last_event_id: last_event_id.into(),
    }
}

#[test]
fn the_table_is_decoded_in_every_split() {
    for rule in DECODER {
        for (what, bytes, expected) in rule.cases {
            let outcome = decode_every_way(bytes);
            let expected: Vec<_> = expected
                .iter()
                .map(|(e, d, i)| dispatched(e, d, i))
                .collect();
            assert_eq!(outcome.events, expected, "{}: {what}", rule.id);
        }
    }
}

/// D7: the id of a block that has not ended is not committed.
#[test]
fn the_last_event_id_is_that_of_ended_blocks() {
    assert_eq!(
        decode_every_way(b"id: 1\ndata\n\nid: 2\ndata").last_event_id,
        "1"
    );
    assert_eq!(decode_every_way(b"id: 1\n\nid: 2\n").last_event_id, "1");
}

/// D3 and D7: digits only, and at once.
#[test]
fn a_reconnection_time_is_digits_and_acts_at_once() {
    for (line, millis) in [
        ("retry: 3000\n", Some(3_000)),
        ("retry:03000\n", Some(3_000)),
        ("retry: 0\n", Some(0)),
        ("retry: 5\nretry: 7\n", Some(7)),
        ("retry: 99999999999999999999999\n", Some(u64::MAX)),
        ("retry: 5\nretry: 6x\n", Some(5)),
        ("retry\n", None),
        ("retry:\n", None),
        ("retry: -1\n", None),
        ("retry: 1.5\n", None),
        ("retry:  1\n", None),
        ("retry: 1 \n", None),
        ("retry: \u{661}\n", None),
        ("retry: 5", None),
    ] {
        let outcome = decode_every_way(line.as_bytes());
        assert_eq!(outcome.retry, millis.map(Duration::from_millis), "{line:?}");
    }
}

/// D8: with everything, a relay sends on what it got.
#[test]
fn everything_can_be_asked_for() {
    let outcome = decode_every_way(b": a\n:b\r\nid: 1\n\ndata: x\n:c\n\nid\n\nevent: e\n\n:\n");
    assert_eq!(outcome.comments, [" a", "b", "c", ""]);
    assert_eq!(outcome.ids, ["1", ""]);
    assert_eq!(outcome.events, [dispatched("message", "x", "1")]);

    let wire = ": a\nid: 1\n\nretry: 2147483647\nevent: e\nid: 2\ndata: x\ndata: y\n\ndata: \n\n";
    let body = stream::iter([Ok::<_, ()>(wire.as_bytes())]);
    let relayed = events(body, Decoder::new().with_comments());
    let relayed: Vec<_> = relayed
        .map(Result::unwrap)
        .collect()
        .now_or_never()
        .unwrap();
    assert_eq!(
        relayed,
        [
            Event::new().comment("a"),
            Event::new().id(1),
            Event::new().retry(Retry::MAX),
            Event::data("x\ny")
                .event_type(EventType::from_static("e"))
                .id(2),
            Event::data(""),
        ]
    );
    let again: String = relayed
        .into_iter()
        .map(|event| String::from_utf8(EncodedEvent::from(event).as_bytes().to_vec()).unwrap())
        .collect();
    assert_eq!(again, wire);
}

/// D9.
#[test]
fn it_can_start_with_a_last_event_id() {
    let bytes = b"data\n\nid: 8\ndata\n\nid\ndata\n\n";
    let outcome = decode(Decoder::new().with_last_event_id("7"), [&bytes[..]]);
    let ids: Vec<_> = outcome
        .events
        .iter()
        .map(|event| &*event.last_event_id)
        .collect();
    assert_eq!(ids, ["7", "8", ""]);
}

/// D10, at the bound.
#[test]
fn lines_and_events_have_limits() {
    fn run(decoder: Decoder, bytes: &[u8], piece: usize) -> Result<usize, DecodeError> {
        let mut decoder = decoder;
        let mut events = 0;
        for mut input in bytes.chunks(piece) {
            while decoder.decode(&mut input)?.is_some() {
                events += 1;
            }
        }
        assert_eq!(decoder.decode(&mut &b""[..]), Ok(None));
        Ok(events)
    }

    for piece in [1, 2, 3, 5, 100] {
        let line = || Decoder::new().max_line(10);
        let too_long = Err(DecodeError::LineTooLong(10));
        assert_eq!(run(line(), b"data: 7890\n\n", piece), Ok(1));
        assert_eq!(run(line(), b"data: 78901\n\n", piece), too_long);
        assert_eq!(run(line(), b"data: 7890\r\n\r\n", piece), Ok(1));
        assert_eq!(run(line(), b":234567890", piece), Ok(0));
        assert_eq!(run(line(), b":2345678901", piece), too_long);

        let event = || Decoder::new().max_event(5);
        let too_long = Err(DecodeError::EventTooLong(5));
        assert_eq!(
            run(event(), b"data: 12345\n\ndata: 12345\n\n", piece),
            Ok(2)
        );
        assert_eq!(run(event(), b"data: 123456\n\n", piece), too_long);
        assert_eq!(run(event(), b"data: 12\ndata: 45\n\n", piece), Ok(1));
        assert_eq!(run(event(), b"data: 12\ndata: 456\n\n", piece), too_long);
        assert_eq!(
            run(event(), b"data\ndata\ndata\ndata\ndata\ndata\n\n", piece),
            Ok(1)
        );
        assert_eq!(
            run(
                event(),
                b"data\ndata\ndata\ndata\ndata\ndata\ndata\n\n",
                piece
            ),
            too_long
        );
    }

    let mut decoder = Decoder::new().max_line(3);
    for _ in 0..3 {
        let error = decoder.decode(&mut &b"data: x\n\n"[..]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the stream has a line of more than 3 bytes"
        );
    }
}

/// What that costs is counted in `src/decode.rs` (bytes searched) and `tests/costs` (allocated).
#[test]
fn a_long_line_in_single_bytes_is_read() {
    let text = "x".repeat(1 << 20);
    let wire = format!("data: {text}\n\n");
    let outcome = decode(Decoder::new(), wire.as_bytes().chunks(1));
    assert_eq!(outcome.events[0].data.len(), 1 << 20);
}

#[test]
fn data_in_one_piece_is_not_copied() {
    let wire = b"id: 1\ndata: abc\n\n";
    let mut decoder = Decoder::new();
    let Ok(Some(Decoded::Event { data, .. })) = decoder.decode(&mut &wire[..]) else {
        panic!()
    };
    assert_eq!(data.as_ptr(), wire[12..].as_ptr());
}

#[test]
fn a_stream_of_bytes_that_fails_or_exceeds_a_limit_is_over() {
    let pieces = [Ok("data: a\n\nda"), Err("reset"), Ok("ta: b\n\n")];
    let mut failing = events(
        stream::iter(pieces).map(|p| p.map(str::as_bytes)),
        Decoder::new(),
    );
    let mut next = || failing.next().now_or_never().unwrap();
    assert_eq!(next().unwrap().unwrap(), Event::data("a"));
    assert!(matches!(next(), Some(Err(EventsError::Source("reset")))));
    assert!(next().is_none());

    let pieces = [Ok::<_, ()>("data: a\n\ndata: bc\n\n"), Ok("data: d\n\n")];
    let pieces = stream::iter(pieces).map(|p| p.map(str::as_bytes));
    let mut limited = events(pieces, Decoder::new().max_event(1));
    let mut next = || limited.next().now_or_never().unwrap();
    assert_eq!(next().unwrap().unwrap(), Event::data("a"));
    let error = next().unwrap().unwrap_err();
    assert!(matches!(
        error,
        EventsError::Decode(DecodeError::EventTooLong(1))
    ));
    assert!(next().is_none());
}

#[derive(Deserialize)]
struct DecoderVector {
    name: String,
    input_base64: String,
    chunks_base64: Option<Vec<String>>,
    expected: Vec<Dispatched>,
    expected_retry: Option<u64>,
    expected_last_event_id: String,
    comments: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct EncoderVector {
    name: String,
    message: Message,
    decodes_to: Option<Vec<Dispatched>>,
    retry: Option<u64>,
    last_event_id: Option<String>,
    comments: Option<Vec<String>>,
    #[serde(default)]
    suite_rejects: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    event: Option<String>,
    data: Option<String>,
    id: Option<String>,
    retry: Option<u32>,
    comment: Option<String>,
    data_appends: Option<Vec<String>>,
    data_appends_after_comment: Option<Vec<String>>,
}

fn vectors<T: for<'de> Deserialize<'de>>(text: &str) -> Vec<T> {
    serde_json::from_str(text).unwrap()
}

fn bytes(base64: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(base64).unwrap()
}

#[test]
fn the_decoder_vectors_are_decoded_in_every_split() {
    let vectors = vectors::<DecoderVector>(include_str!("../vectors/decoder.json"));
    assert_eq!(vectors.len(), 165);
    for vector in vectors {
        let name = &vector.name;
        let input = bytes(&vector.input_base64);
        let outcome = decode_every_way(&input);
        assert_eq!(outcome.events, vector.expected, "{name}");
        assert_eq!(
            outcome.last_event_id, vector.expected_last_event_id,
            "{name}"
        );
        let retry = vector.expected_retry.map(Duration::from_millis);
        assert_eq!(outcome.retry, retry, "{name}");
        if let Some(comments) = &vector.comments {
            assert_eq!(&outcome.comments, comments, "{name}");
        }
        if let Some(chunks) = vector.chunks_base64 {
            let chunks: Vec<_> = chunks.iter().map(|chunk| bytes(chunk)).collect();
            assert_eq!(chunks.concat(), input, "{name}");
            let chunks = chunks.iter().map(|chunk| &chunk[..]);
            assert_eq!(
                decode(Decoder::new().with_comments(), chunks),
                outcome,
                "{name}"
            );
        }
    }
}

fn event(message: &Message) -> Result<Event, Box<dyn std::error::Error>> {
    let appends = [&message.data_appends, &message.data_appends_after_comment];
    let appended: Vec<_> = appends.into_iter().flatten().flatten().cloned().collect();
    let data = message
        .data
        .clone()
        .or((!appended.is_empty()).then(|| appended.join("\n")));
    let mut event = data.map(Event::data).unwrap_or_default();
    if let Some(event_type) = &message.event {
        event = event.event_type(EventType::new(event_type.clone())?);
    }
    if let Some(id) = &message.id {
        event = event.id(EventId::new(id.clone())?);
    }
    if let Some(retry) = message.retry {
        event = event.retry(Retry::new(Duration::from_millis(retry.into()))?);
    }
    if let Some(comment) = &message.comment {
        event = event.comment(comment.clone());
    }
    Ok(event)
}

/// By our decoder, and by two that are not ours.
#[test]
fn the_encoder_vectors_are_read_back_right() {
    let vectors = vectors::<EncoderVector>(include_str!("../vectors/encoder.json"));
    assert_eq!(vectors.len(), 25);
    for vector in vectors {
        let name = &vector.name;
        let event = event(&vector.message);
        if vector.suite_rejects {
            event.unwrap_err();
            continue;
        }
        let mut wire = BytesMut::new();
        let Ok(()) = http_sse::encode(event.unwrap(), &mut wire);
        let wire = wire.freeze();
        // This suite drops an empty append and a trailing line break; we keep them.
        let appends = vector.message.data_appends.is_some();
        let expected = if appends {
            assert_eq!(name, "valid");
            let data = "This is an example\nOf an event\n\na string here\nImportant data\nImportant again\n\nVery important\n";
            vec![dispatched("test_event", data, "example_id")]
        } else {
            vector.decodes_to.unwrap()
        };

        let outcome = decode_every_way(&wire);
        assert_eq!(outcome.events, expected, "{name}");
        assert_eq!(
            outcome.last_event_id,
            vector.last_event_id.unwrap(),
            "{name}"
        );
        assert_eq!(outcome.comments, vector.comments.unwrap(), "{name}");
        let retry = vector.retry.or(vector.message.retry.map(u64::from));
        assert_eq!(outcome.retry, retry.map(Duration::from_millis), "{name}");

        let whole = || stream::iter([Ok::<_, std::convert::Infallible>(wire.clone())]);
        let theirs = whole()
            .eventsource()
            .map(Result::unwrap)
            .map(|event| Dispatched {
                event: event.event,
                data: event.data,
                last_event_id: event.id,
            });
        let theirs: Vec<_> = theirs.collect().now_or_never().unwrap();
        assert_eq!(theirs, expected, "{name}: eventsource-stream");

        let theirs = sse_stream::SseStream::from_bytes_stream(whole());
        let theirs: Vec<_> = theirs.map(Result::unwrap).collect().now_or_never().unwrap();
        let theirs = theirs.into_iter().filter_map(|block| {
            let event = block.event.unwrap_or_else(|| "message".into());
            Some(dispatched(
                &event,
                &block.data?,
                &block.id.unwrap_or_default(),
            ))
        });
        assert_eq!(theirs.collect::<Vec<_>>(), expected, "{name}: sse-stream");
    }
}
