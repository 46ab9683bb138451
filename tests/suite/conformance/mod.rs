//! The decoder under the table of rules, and the vectors of other projects for both directions.
//!
//! The vectors in `tests/vectors` were checked in browsers.

mod decoder;
mod streams;
mod vectors;

use std::time::Duration;

use http_sse::decode::{Decoded, Decoder};
use serde::Deserialize;

/// An event that a client dispatches.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Dispatched {
    event: String,
    data: String,
    #[serde(rename = "lastEventId")]
    last_event_id: String,
}

/// The result of decoding a stream.
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
                other => panic!("unknown item {other:?}"),
            }
        }
        assert!(input.is_empty(), "a part of the piece is unread");
    }
    outcome.last_event_id = decoder.last_event_id().into();
    outcome
}

/// Decodes the bytes whole, byte by byte, and split at every point. Asserts that the outcome is
/// always the same, and returns it.
fn decode_every_way(bytes: &[u8]) -> Outcome {
    let decoder = || Decoder::new().with_comments();
    let whole = decode(decoder(), [bytes]);
    assert_eq!(decode(decoder(), bytes.chunks(1)), whole, "byte by byte");
    for at in 0..=bytes.len() {
        let (before, after) = bytes.split_at(at);
        assert_eq!(decode(decoder(), [before, after]), whole, "split at {at}");
    }
    // Reading comments does not change the dispatched events.
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
