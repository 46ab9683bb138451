//! The rules, options and limits of the decoder.

use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{
    EncodedEvent, Event, EventType, Retry,
    decode::{DecodeError, Decoded, Decoder, events},
};

use super::{decode, decode_every_way, dispatched};
use crate::wire_rules::DECODER;

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

/// D7: an incomplete block does not commit its ID.
#[test]
fn only_a_complete_block_sets_the_last_event_id() {
    assert_eq!(
        decode_every_way(b"id: 1\ndata\n\nid: 2\ndata").last_event_id,
        "1"
    );
    assert_eq!(decode_every_way(b"id: 1\n\nid: 2\n").last_event_id, "1");
}

/// D3 and D7: the value is digits only, and acts at the end of its line.
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

/// D8: a relay that reads everything sends the same bytes again.
#[test]
fn a_relay_reads_comments_reconnection_times_and_ids() {
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

    let mut decoder = Decoder::new();
    let mut without_events = &b": a\nretry: 1\nid: 1\n\n"[..];
    assert_eq!(decoder.decode(&mut without_events), Ok(None));
}

/// D9.
#[test]
fn a_decoder_can_start_with_a_last_event_id() {
    let bytes = b"data\n\nid: 8\ndata\n\nid\ndata\n\n";
    let outcome = decode(Decoder::new().with_last_event_id("7"), [&bytes[..]]);
    let ids: Vec<_> = outcome
        .events
        .iter()
        .map(|event| &*event.last_event_id)
        .collect();
    assert_eq!(ids, ["7", "8", ""]);
}

/// D10: input of exactly the limit is legal, and one more byte is an error.
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

/// `src/wire/decoder.rs` counts the bytes that this searches, and `tests/costs` its allocations.
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
