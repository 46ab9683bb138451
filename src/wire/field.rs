//! The text fields of an event: [`EventType`] and [`EventId`]. Every value is legal on the wire.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

/// The type of an event, the `event` field: any text without CR and LF, of any length.
///
/// A client dispatches an event of the empty type as `message`, like an event without a type
/// (9.2.6 of the HTML standard).
///
/// ```
/// use http_sse::EventType;
///
/// const STATUS: EventType = EventType::from_static("status"); // checked by the compiler
/// assert_eq!(STATUS.as_str(), "status");
///
/// let error = EventType::new("sta\ntus").unwrap_err();
/// assert_eq!((error.field(), error.character(), error.offset()), ("event", '\n', 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventType(Cow<'static, str>);

impl EventType {
    /// Creates an event type from a literal.
    ///
    /// # Panics
    ///
    /// Panics if `text` contains CR or LF. In a `const`, this is a compile error. For text that is
    /// known only at run time, use [`EventType::new`].
    ///
    /// ```compile_fail
    /// const BAD: http_sse::EventType = http_sse::EventType::from_static("a\nb");
    /// ```
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            first_of(text, *b"\r\n").is_none(),
            "an event type holds no CR or LF"
        );
        Self(Cow::Borrowed(text))
    }

    /// Creates an event type from any text.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidField`], which gives the text back, if `text` contains CR or LF.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, InvalidField> {
        InvalidField::check("event", *b"\r\n", text.into()).map(Self)
    }

    /// Returns the text of the event type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EventType {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        Self::new(text.to_owned())
    }
}

impl TryFrom<&str> for EventType {
    type Error = InvalidField;

    fn try_from(text: &str) -> Result<Self, InvalidField> {
        text.parse()
    }
}

impl TryFrom<String> for EventType {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        Self::new(text)
    }
}

impl AsRef<str> for EventType {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an event, the `id` field: a number, or any text without CR, LF and NUL.
///
/// An empty id resets the client's last event ID. The client then sends none when it reconnects.
///
/// **Portable ids** are 1 to 128 characters of `A-Z a-z 0-9 . _ ~ -`. Other ids are legal, but
/// the client sends them back in a request header, with these risks:
///
/// - Strict servers respond to control characters with 400. An `EventSource` then stops for good.
/// - Spaces at either end are lost.
/// - `@microsoft/fetch-event-source` cannot reconnect with text outside Latin-1.
///
/// ```
/// use http_sse::{EncodedEvent, Event, EventId};
///
/// assert_eq!(EncodedEvent::from(Event::data("x").id(18_446_744_073_709_551_615_u64)),
///     "id: 18446744073709551615\ndata: x\n\n");
/// assert_eq!(EncodedEvent::from(Event::data("x").id(EventId::from_static(""))), "id: \ndata: x\n\n");
///
/// let error = EventId::new("a\0").unwrap_err();
/// assert_eq!((error.field(), error.character(), error.offset()), ("id", '\0', 1));
/// ```
#[derive(Clone, Debug)]
pub struct EventId(Id);

#[derive(Clone, Debug)]
enum Id {
    Text(Cow<'static, str>),
    /// A number, which is written in decimal without an allocation.
    Number(u64),
}

impl EventId {
    /// Creates an id from a literal.
    ///
    /// # Panics
    ///
    /// Panics if `text` contains CR, LF or NUL. In a `const`, this is a compile error. For text
    /// that is known only at run time, use [`EventId::new`].
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            first_of(text, *b"\r\n\0").is_none(),
            "an id holds no CR, LF or NUL"
        );
        Self(Id::Text(Cow::Borrowed(text)))
    }

    /// Creates an id from any text. For a number, use [`EventId::from`], which never fails.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidField`], which gives the text back, if `text` contains CR, LF or NUL.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, InvalidField> {
        InvalidField::check("id", *b"\r\n\0", text.into()).map(|text| Self(Id::Text(text)))
    }

    /// Returns the id as text. This never fails.
    ///
    /// An id that is a number is formatted, which allocates. This is why there is no `as_str`.
    ///
    /// ```
    /// # use http_sse::EventId;
    /// assert_eq!(EventId::from_static("a-1").to_str(), "a-1");
    /// assert_eq!(EventId::from(7).to_str(), "7");
    /// ```
    #[must_use]
    pub fn to_str(&self) -> Cow<'_, str> {
        match &self.0 {
            Id::Text(text) => Cow::Borrowed(text),
            Id::Number(number) => Cow::Owned(number.to_string()),
        }
    }

    /// Returns the bytes of the id on the wire. A number is formatted into `digits`.
    pub(crate) fn as_bytes<'a>(&'a self, digits: &'a mut itoa::Buffer) -> &'a [u8] {
        match &self.0 {
            Id::Text(text) => text.as_bytes(),
            Id::Number(number) => digits.format(*number).as_bytes(),
        }
    }
}

macro_rules! from_number {
    (unsigned: $($unsigned:ty)*, signed: $($signed:ty)*) => {
        $(impl From<$unsigned> for EventId {
            fn from(number: $unsigned) -> Self {
                Self(Id::Number(number as u64))
            }
        })*
        $(impl From<$signed> for EventId {
            fn from(number: $signed) -> Self {
                match u64::try_from(number) {
                    Ok(number) => Self(Id::Number(number)),
                    Err(_) => Self(Id::Text(number.to_string().into())),
                }
            }
        })*
    };
}

from_number!(unsigned: u8 u16 u32 u64 usize, signed: i8 i16 i32 i64 isize);

/// Two ids are equal if their bytes on the wire are equal.
impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes(&mut itoa::Buffer::new()) == other.as_bytes(&mut itoa::Buffer::new())
    }
}

impl Eq for EventId {}

impl Hash for EventId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes(&mut itoa::Buffer::new()).hash(state);
    }
}

impl FromStr for EventId {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        Self::new(text.to_owned())
    }
}

impl TryFrom<&str> for EventId {
    type Error = InvalidField;

    fn try_from(text: &str) -> Result<Self, InvalidField> {
        text.parse()
    }
}

impl TryFrom<String> for EventId {
    type Error = InvalidField;

    fn try_from(text: String) -> Result<Self, InvalidField> {
        Self::new(text)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Text(text) => f.write_str(text),
            Id::Number(number) => number.fmt(f),
        }
    }
}

/// The error for text that a field cannot carry.
///
/// CR and LF would end the line. A client ignores an id that contains NUL (9.2.6 of the HTML
/// standard).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidField {
    field: &'static str,
    character: char,
    offset: usize,
    value: Cow<'static, str>,
}

impl InvalidField {
    fn check<const N: usize>(
        field: &'static str,
        forbidden: [u8; N],
        value: Cow<'static, str>,
    ) -> Result<Cow<'static, str>, Self> {
        match first_of(&value, forbidden) {
            None => Ok(value),
            Some(offset) => Err(Self {
                field,
                character: char::from(value.as_bytes()[offset]),
                offset,
                value,
            }),
        }
    }

    /// Returns the name of the field in the standard: `event` or `id`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the first character that the field cannot carry.
    #[must_use]
    pub fn character(&self) -> char {
        self.character
    }

    /// Returns the offset of that character, in bytes from the start of the text.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the rejected text.
    #[must_use]
    pub fn into_value(self) -> Cow<'static, str> {
        self.value
    }
}

impl fmt::Display for InvalidField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            character,
            offset,
            ..
        } = self;
        write!(
            f,
            "the caller's `{field}` has {character:?} at byte {offset}, which the field cannot carry"
        )
    }
}

impl Error for InvalidField {}

/// Returns the offset of the first byte of `text` that is one of `forbidden`.
///
/// A loop, because `memchr` does not run in constants. Fields are short.
const fn first_of<const N: usize>(text: &str, forbidden: [u8; N]) -> Option<usize> {
    let text = text.as_bytes();
    let mut at = 0;
    while at < text.len() {
        let mut i = 0;
        while i < N {
            if text[at] == forbidden[i] {
                return Some(at);
            }
            i += 1;
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_as_id_equals_its_text() {
        assert_eq!(EventId::from(7), EventId::from_static("7"));
        assert_eq!(EventId::from(-7), EventId::from_static("-7"));
        assert_ne!(EventId::from(7), EventId::from_static("07"));
    }
}
