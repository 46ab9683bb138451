//! The test vectors of other projects.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{Event, EventId, EventType, Retry, decode::Decoder};
use serde::Deserialize;

use super::{Dispatched, decode, decode_every_way, dispatched};

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
    let vectors = vectors::<DecoderVector>(include_str!("../../vectors/decoder.json"));
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

/// The events are decoded by this crate and by two others.
#[test]
fn the_encoder_vectors_decode_to_the_expected_events() {
    let vectors = vectors::<EncoderVector>(include_str!("../../vectors/encoder.json"));
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
        // The suite of this vector drops an empty append and a trailing line end. This crate keeps
        // both.
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
