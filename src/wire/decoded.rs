//! The results of a decoder.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use super::{
    event::Event,
    field::{EventId, EventType},
    retry::Retry,
};

/// The result of a call to [`Decoder::decode`](super::Decoder::decode).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// An event that a client dispatches.
    #[non_exhaustive]
    Event {
        /// The event type, or `message` if the event has none or an empty one.
        event_type: &'a str,
        /// The data, with LF between its lines.
        data: Cow<'a, str>,
        /// The id of this event, if it has one. An empty id resets the last event ID.
        id: Option<&'a str>,
        /// The last event ID when the event is dispatched: the id of this event or an earlier one.
        last_event_id: &'a str,
    },
    /// The text of a comment line, after the colon. Returned only with
    /// [`Decoder::with_comments`](super::Decoder::with_comments).
    Comment(Cow<'a, str>),
    /// A reconnection time of any length, including zero. Returned only with
    /// [`Decoder::with_comments`](super::Decoder::with_comments).
    Retry(Duration),
    /// The new last event ID, from a block without data. Returned only with
    /// [`Decoder::with_comments`](super::Decoder::with_comments).
    Id(&'a str),
}

/// Converts the result into an event that can be sent on.
///
/// The event type `message` becomes no event type. One space at the start of a comment is removed,
/// because it is written again. A reconnection time out of the bounds of [`Retry`] becomes the
/// nearest one within them.
impl From<Decoded<'_>> for Event {
    fn from(decoded: Decoded<'_>) -> Self {
        // Decoded text contains no line end, and decoded ids no NUL, so nothing is rejected.
        let id = |id: &str| EventId::new(id.to_owned()).ok();
        match decoded {
            Decoded::Event {
                event_type,
                data,
                id: own_id,
                ..
            } => Self {
                event_type: match event_type {
                    "message" => None,
                    event_type => EventType::new(event_type.to_owned()).ok(),
                },
                id: own_id.and_then(id),
                ..Self::data(data.into_owned())
            },
            Decoded::Comment(text) => {
                Self::new().comment(text.strip_prefix(' ').unwrap_or(&text).to_owned())
            }
            Decoded::Retry(time) => Self::new().retry(Retry::saturating(time)),
            Decoded::Id(own_id) => Self {
                id: id(own_id),
                ..Self::new()
            },
        }
    }
}

/// The error for a line or an event of the stream that exceeds a limit of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A line is longer than this limit, in bytes.
    LineTooLong(usize),
    /// An event has more data than this limit, in bytes.
    EventTooLong(usize),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong(limit) => {
                write!(f, "the stream has a line of more than {limit} bytes")
            }
            Self::EventTooLong(limit) => {
                write!(
                    f,
                    "the stream has an event with more than {limit} bytes of data"
                )
            }
        }
    }
}

impl Error for DecodeError {}
