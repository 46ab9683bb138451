//! Third-party parsers read back exactly the events that were sent, whatever text they contain.

use bytes::Bytes;
use eventsource_stream::Eventsource as _;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{Event, EventId, EventType, Retry, Sse};
use proptest::{collection::vec, option, prelude::*};
use sse_stream::SseStream;

/// The fields of an event.
#[derive(Clone, Debug)]
struct Parts {
    data: Option<String>,
    id: Option<String>,
    event_type: Option<String>,
    retry: Option<u32>,
    comments: Vec<String>,
}

/// An event as clients dispatch it.
#[derive(Clone, Debug, PartialEq)]
struct Dispatched {
    data: String,
    event_type: String,
    last_event_id: String,
}

/// Generates text with many sequences that have a meaning on the wire.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\r"),
        Just("\n"),
        Just("\r\n"),
        Just("\0"),
        Just(":"),
        Just(" "),
        Just("\t"),
        Just("data"),
        Just("data: "),
        Just("id: 1"),
        Just("event: x"),
        Just("retry: 1"),
        Just("\u{feff}"),
        Just("\u{2028}"),
        Just("\u{85}"),
        Just("\u{b}"),
        Just("é☃🦀"),
        Just("x"),
    ];
    prop_oneof![
        vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        any::<String>(),
    ]
}

fn without(forbidden: &'static [char]) -> impl Strategy<Value = String> {
    text().prop_map(move |text| text.replace(forbidden, ""))
}

fn parts() -> impl Strategy<Value = Parts> {
    (
        option::weighted(0.8, text()),
        option::of(without(&['\r', '\n', '\0'])),
        option::of(without(&['\r', '\n'])),
        option::of(1..=2_147_483_647_u32),
        vec(text(), 0..3),
    )
        .prop_map(|(data, id, event_type, retry, comments)| Parts {
            data,
            id,
            event_type,
            retry,
            comments,
        })
}

fn event(parts: Parts) -> Event {
    let mut event = parts.data.map_or_else(Event::new, Event::data);
    if let Some(id) = parts.id {
        event = event.id(EventId::new(id).unwrap());
    }
    if let Some(event_type) = parts.event_type {
        event = event.event_type(EventType::new(event_type).unwrap());
    }
    if let Some(retry) = parts.retry {
        event = event.retry(Retry::from_millis(retry));
    }
    parts.comments.into_iter().fold(event, Event::comment)
}

/// Returns the events that a client dispatches, by the standard.
fn expected(all: &[Parts]) -> Vec<Dispatched> {
    let mut last_event_id = String::new();
    let mut dispatched = Vec::new();
    for parts in all {
        if let Some(id) = &parts.id {
            last_event_id.clone_from(id);
        }
        let Some(data) = &parts.data else { continue };
        let event_type = parts.event_type.as_deref().unwrap_or_default();
        dispatched.push(Dispatched {
            data: data.replace("\r\n", "\n").replace('\r', "\n"),
            event_type: if event_type.is_empty() {
                "message"
            } else {
                event_type
            }
            .into(),
            last_event_id: last_event_id.clone(),
        });
    }
    dispatched
}

/// Returns the body of a response with these events.
fn wire(all: &[Parts]) -> Vec<u8> {
    let events: Vec<_> = all.iter().cloned().map(event).collect();
    let frames: Vec<_> = Sse::new(stream::iter(events))
        .into_body()
        .map(Result::unwrap)
        .collect()
        .now_or_never()
        .unwrap();
    frames.concat()
}

/// Splits the bytes into chunks of these sizes, which repeat.
fn split(wire: &[u8], sizes: &[usize]) -> Vec<Bytes> {
    let mut chunks = Vec::new();
    let mut rest = wire;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        chunks.push(Bytes::copy_from_slice(chunk));
        rest = after;
    }
    chunks
}

fn by_eventsource_stream(chunks: Vec<Bytes>) -> Vec<Dispatched> {
    stream::iter(chunks)
        .map(Ok::<_, std::convert::Infallible>)
        .eventsource()
        .map(Result::unwrap)
        .map(|event| Dispatched {
            data: event.data,
            event_type: event.event,
            last_event_id: event.id,
        })
        .collect()
        .now_or_never()
        .unwrap()
}

/// Parses with `sse-stream`, which also yields blocks without data and does not keep the last ID.
fn by_sse_stream(chunks: Vec<Bytes>) -> Vec<Dispatched> {
    let mut last_event_id = String::new();
    SseStream::from_bytes_stream(stream::iter(chunks).map(Ok::<_, std::convert::Infallible>))
        .map(Result::unwrap)
        .filter_map(|block| {
            if let Some(id) = block.id {
                last_event_id = id;
            }
            let event_type = block.event.unwrap_or_default();
            let dispatched = block.data.map(|data| Dispatched {
                data,
                event_type: if event_type.is_empty() {
                    "message".into()
                } else {
                    event_type
                },
                last_event_id: last_event_id.clone(),
            });
            std::future::ready(dispatched)
        })
        .collect()
        .now_or_never()
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn events_come_back_as_they_were_sent(
        all in vec(parts(), 0..8),
        sizes in vec(1_usize..40, 1..10),
    ) {
        let wire = wire(&all);
        prop_assert!(std::str::from_utf8(&wire).is_ok());
        let chunks = split(&wire, &sizes);
        prop_assert_eq!(by_eventsource_stream(chunks.clone()), expected(&all));
        prop_assert_eq!(by_sse_stream(chunks), expected(&all));
    }

    /// Compares each error with the first forbidden character. The error returns the text.
    #[test]
    fn only_forbidden_characters_are_rejected(text in text()) {
        let first = |forbidden: &[char]| text.find(forbidden);
        prop_assert_eq!(EventId::new(text.clone()).map_err(|e| e.offset()).err(), first(&['\r', '\n', '\0']));
        prop_assert_eq!(EventType::new(text.clone()).map_err(|e| e.offset()).err(), first(&['\r', '\n']));
        if let Err(rejected) = EventId::new(text.clone()) {
            prop_assert_eq!(rejected.into_value(), text);
        }
    }
}
