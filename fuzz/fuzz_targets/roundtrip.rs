//! Encoded events are decoded to exactly the same events, in any pieces.
#![no_main]

mod naive;
mod read;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use http_sse::{EncodedEvent, Event, EventId, EventType, Retry, decode::Decoder, encode};
use libfuzzer_sys::fuzz_target;

use self::{
    naive::{Item, interpret},
    read::{cut, read},
};

/// Four sizes, followed by text. U+001E separates events, and U+001F separates fields. The first
/// character of a field selects its kind.
#[derive(Arbitrary, Debug)]
struct Input<'a> {
    sizes: [u8; 4],
    text: &'a str,
}

/// The length from which data is passed on in pieces, without a copy.
const LARGE: usize = 64 * 1024;

#[derive(Debug, Default)]
struct Fields {
    data: Option<String>,
    event_type: Option<String>,
    id: Option<String>,
    retry: Option<u64>,
    comments: Vec<String>,
}

fuzz_target!(|input: Input<'_>| {
    let mut may_be_large = input.sizes[3] == b'L'; // rarely, and only the first event, for speed
    let all: Vec<Fields> = input
        .text
        .split('\u{1e}')
        .map(|text| Fields::parse(text, std::mem::take(&mut may_be_large)))
        .collect();
    let events: Vec<Event> = all.iter().map(Fields::to_event).collect();

    let mut wire = BytesMut::new();
    for event in &events {
        let start = wire.len();
        let Ok(()) = encode(event.clone(), &mut wire);
        let encoded = EncodedEvent::from(event.clone());
        // An event without fields is encoded as an empty comment.
        let expected = match &wire[start..] {
            b"" => b":\n",
            wire => wire,
        };
        assert_eq!(encoded.as_bytes(), expected);
        let again = EncodedEvent::try_from(encoded.clone().into_bytes());
        assert_eq!(again, Ok(encoded));
    }

    let mut last_event_id = String::new();
    let expected: Vec<Item> = all
        .iter()
        .flat_map(|fields| fields.items(&mut last_event_id))
        .collect();
    let scale = 1 + wire.len() / 1024; // larger pieces for a large event
    let sizes = input.sizes.map(|size| scale * usize::from(size));
    let outcome = read(Decoder::new().with_comments(), &cut(&wire, &sizes));
    assert_eq!(outcome.items, expected);
    assert_eq!(outcome.last_event_id, last_event_id);
    assert_eq!(outcome, interpret(&wire, "", usize::MAX, usize::MAX));
});

impl Fields {
    fn parse(text: &str, may_be_large: bool) -> Self {
        let mut fields = Self::default();
        for field in text.split('\u{1f}') {
            let mut rest = field.chars();
            let kind = rest.next();
            let text = rest.as_str();
            match kind {
                Some('d') => fields.data = Some(text.to_owned()),
                Some('D') if may_be_large => {
                    fields.data = Some([text, &"x".repeat(LARGE), text].concat());
                }
                Some('e') => fields.event_type = Some(text.replace(['\r', '\n'], "")),
                Some('i') => fields.id = Some(text.replace(['\r', '\n', '\0'], "")),
                Some('r') => fields.retry = text.parse().ok(),
                Some('c') => fields.comments.push(text.to_owned()),
                _ => {}
            }
        }
        fields.retry = fields
            .retry
            .filter(|time| (1..=2_147_483_647).contains(time));
        fields
    }

    fn to_event(&self) -> Event {
        let mut event = self.data.clone().map_or_else(Event::new, Event::data);
        if let Some(event_type) = &self.event_type {
            event = event.event_type(
                EventType::new(event_type.clone()).expect("forbidden characters were removed"),
            );
        }
        if let Some(id) = &self.id {
            event = match id.parse::<u64>() {
                Ok(number) if number.to_string() == *id => event.id(number),
                _ => event.id(EventId::new(id.clone()).expect("forbidden characters were removed")),
            };
        }
        if let Some(time) = self.retry {
            event = event.retry(Retry::from_millis(time as u32));
        }
        self.comments.iter().cloned().fold(event, Event::comment)
    }

    /// Returns the items that a decoder with comments yields for the event.
    fn items(&self, last_event_id: &mut String) -> Vec<Item> {
        let mut items = Vec::new();
        if !self.comments.is_empty() {
            // Converted one by one: a CR at the end of a comment is a line end of its own.
            let comments: Vec<_> = self.comments.iter().map(|text| with_lf(text)).collect();
            let comments = comments.join("\n");
            let comment = |line| match comments.as_str() {
                "" => Item::Comment(String::new()), // no space after the colon
                _ => Item::Comment(format!(" {line}")),
            };
            items.extend(comments.split('\n').map(comment));
        }
        items.extend(self.retry.map(Item::Retry));
        if let Some(id) = &self.id {
            last_event_id.clone_from(id);
        }
        if let Some(data) = &self.data {
            let event_type = self.event_type.clone().unwrap_or_default();
            items.push(Item::Event {
                event_type: match &*event_type {
                    "" => "message".to_owned(),
                    _ => event_type,
                },
                data: with_lf(data),
                id: self.id.clone(),
                last_event_id: last_event_id.clone(),
            });
        } else {
            items.extend(self.id.clone().map(Item::Id));
        }
        items
    }
}

fn with_lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
