//! The values of an event stream: an [`Event`] and its fields. A value that exists is legal.

use std::{borrow::Cow, error::Error, fmt, num::NonZeroU32, time::Duration};

/// One event, to be sent in an event stream.
///
/// An event has any of: an [event type](Self::event_type), [data](Self::data), an
/// [id](Self::id), a [reconnection time](Self::retry) and [comments](Self::comment). Setters
/// replace what was set before, never fail and never panic; what the wire cannot carry is
/// refused earlier, by the constructors of [`EventType`], [`EventId`] and [`Retry`].
///
/// What a client does with an event depends on what it has:
///
/// - **Data**, also empty data: it is dispatched, as the standard's 9.2.6 says. Data is any
///   text: CRLF, CR and LF each end a line and arrive as LF, everything else arrives as it is.
/// - **No data**: nothing is dispatched. The id still counts in Chromium but not in Firefox, so
///   send an id that must count together with data, if need be empty data of a type that nobody
///   listens to.
/// - **Only comments or a reconnection time**: they are written as lines without the empty line
///   that ends an event. Several clients mistake such a lone block for an event.
/// - **Nothing**: nothing is written.
///
/// ```
/// use http_sse::{EncodedEvent, Event, EventType};
///
/// const TICK: EventType = EventType::from_static("tick");
///
/// let event = Event::data("first line\nsecond line").event_type(TICK).id(7);
/// assert_eq!(
///     EncodedEvent::from(event),
///     "event: tick\nid: 7\ndata: first line\ndata: second line\n\n",
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "an event does nothing until it is sent"]
pub struct Event {
    pub(crate) event_type: Option<EventType>,
    pub(crate) data: Option<Cow<'static, str>>,
    pub(crate) id: Option<EventId>,
    pub(crate) retry: Option<Retry>,
    /// Every comment, one to a line.
    pub(crate) comments: Option<Cow<'static, str>>,
}

impl Event {
    /// An event with nothing in it, which encodes to nothing.
    ///
    /// ```
    /// # use http_sse::{EncodedEvent, Event};
    /// assert_eq!(EncodedEvent::from(Event::new()), "");
    /// assert_eq!(EncodedEvent::from(Event::new().comment("to the log")), ": to the log\n");
    /// ```
    pub const fn new() -> Self {
        Self {
            event_type: None,
            data: None,
            id: None,
            retry: None,
            comments: None,
        }
    }

    /// An event with this data: any text, of any length, also empty.
    ///
    /// A `&'static str` and a `String` are taken without a copy.
    ///
    /// ```
    /// # use http_sse::{EncodedEvent, Event};
    /// assert_eq!(EncodedEvent::from(Event::data("")), "data: \n\n");
    /// assert_eq!(EncodedEvent::from(Event::data(" a\r\nb\rc\n")), "data:  a\ndata: b\ndata: c\ndata: \n\n");
    /// ```
    pub fn data(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            data: Some(text.into()),
            ..Self::new()
        }
    }

    /// An event whose data is `value` as one line of JSON.
    ///
    /// To serialise straight into the response use [`Json`](crate::Json), or
    /// [`Encoder::json`](crate::Encoder::json) where there are other fields too.
    ///
    /// # Errors
    ///
    /// What `value` says while it is serialised.
    ///
    /// ```
    /// # use http_sse::{EncodedEvent, Event};
    /// let event = Event::json(&["a", "b\n"])?;
    /// assert_eq!(EncodedEvent::from(event), "data: [\"a\",\"b\\n\"]\n\n");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        crate::json::to_line(value).map(Self::data)
    }

    /// An event whose data is `bytes` in base64 (RFC 4648, section 4), since an event stream
    /// carries text only.
    ///
    /// The client gets them back with `Uint8Array.from(atob(e.data), c => c.charCodeAt(0))`.
    ///
    /// ```
    /// # use http_sse::{EncodedEvent, Event};
    /// assert_eq!(EncodedEvent::from(Event::base64([0, 159, 146, 150])), "data: AJ+Slg==\n\n");
    /// ```
    #[cfg(feature = "base64")]
    #[cfg_attr(docsrs, doc(cfg(feature = "base64")))]
    pub fn base64(bytes: impl AsRef<[u8]>) -> Self {
        use base64::{Engine as _, prelude::BASE64_STANDARD};

        Self::data(BASE64_STANDARD.encode(bytes))
    }

    /// Sets the event type, the `event` field. Without one, the client dispatches a `message`.
    ///
    /// Events of the types `open` and `error` arrive at an `EventSource`'s `onopen` and
    /// `onerror`, so other types are easier to tell apart.
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Sets the id, which the client keeps as its last event ID and sends back when it
    /// reconnects. See [`EventId`] for which ids are portable.
    pub fn id(mut self, id: impl Into<EventId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the reconnection time, the `retry` field: how long the client waits before it
    /// connects again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Adds a comment, which clients ignore. It is any text: each of its lines becomes a
    /// comment line.
    ///
    /// ```
    /// # use http_sse::{EncodedEvent, Event};
    /// let event = Event::data("x").comment("one\ntwo").comment("three");
    /// assert_eq!(EncodedEvent::from(event), ": one\n: two\n: three\ndata: x\n\n");
    /// ```
    pub fn comment(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        self.comments = Some(match self.comments {
            None => text,
            Some(before) => Cow::Owned(format!("{before}\n{text}")),
        });
        self
    }
}

/// An event type, the `event` field: any text without CR and LF.
///
/// An empty one means what no event type means: `message`.
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
    /// An event type from a literal.
    ///
    /// # Panics
    ///
    /// If `text` holds a CR or LF; in a `const` that is an error of the compiler. For text that
    /// is known only when the program runs there is [`EventType::new`].
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

    /// An event type from any text.
    ///
    /// # Errors
    ///
    /// [`InvalidField`] if `text` holds a CR or LF.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, InvalidField> {
        InvalidField::check("event", *b"\r\n", text.into()).map(Self)
    }

    /// The text of the event type.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's id, the `id` field: any text without CR, LF and NUL, or a number.
///
/// An empty id resets the client's last event ID, so that it sends none when it reconnects.
///
/// **Portable ids** are 1 to 128 characters of `A-Z a-z 0-9 . _ ~ -`. Others are legal, but come
/// back in a request header: control characters make strict servers answer 400, after which an
/// `EventSource` is closed for good; spaces at the ends are lost; and text outside Latin-1 keeps
/// some clients from reconnecting.
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
    /// Written in decimal, without an allocation.
    Number(u64),
}

impl EventId {
    /// An id from a literal.
    ///
    /// # Panics
    ///
    /// If `text` holds a CR, LF or NUL; in a `const` that is an error of the compiler. For text
    /// that is known only when the program runs there is [`EventId::new`].
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            first_of(text, *b"\r\n\0").is_none(),
            "an id holds no CR, LF or NUL"
        );
        Self(Id::Text(Cow::Borrowed(text)))
    }

    /// An id from any text.
    ///
    /// # Errors
    ///
    /// [`InvalidField`] if `text` holds a CR, LF or NUL.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Result<Self, InvalidField> {
        InvalidField::check("id", *b"\r\n\0", text.into()).map(|text| Self(Id::Text(text)))
    }

    /// The id as it is written; a number is written to `digits`.
    pub(crate) fn as_bytes<'a>(&'a self, digits: &'a mut Digits) -> &'a [u8] {
        match &self.0 {
            Id::Text(text) => text.as_bytes(),
            Id::Number(number) => digits.of(*number),
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

/// Two ids are equal if they are written alike.
impl PartialEq for EventId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes(&mut Digits::default()) == other.as_bytes(&mut Digits::default())
    }
}

impl Eq for EventId {}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Text(text) => f.write_str(text),
            Id::Number(number) => number.fmt(f),
        }
    }
}

/// A reconnection time, the `retry` field: 1 to 2147483647 milliseconds.
///
/// Zero and more than that are no use: Node clients wait 1 ms, and Firefox wraps around.
///
/// ```
/// use std::time::Duration;
/// use http_sse::{EncodedEvent, Event, Retry};
///
/// let retry = Retry::new(Duration::from_secs(3))?;
/// assert_eq!(EncodedEvent::from(Event::data("x").retry(retry)), "retry: 3000\ndata: x\n\n");
/// assert!(Retry::new(Duration::from_millis(2_147_483_648)).is_err());
/// # Ok::<(), http_sse::InvalidRetry>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry(
    /// In milliseconds.
    NonZeroU32,
);

impl Retry {
    /// The shortest, 1 ms.
    pub const MIN: Self = Self::from_millis(1);

    /// The longest, 2147483647 ms: almost 25 days.
    pub const MAX: Self = Self::from_millis(2_147_483_647);

    /// A reconnection time from a literal, in milliseconds.
    ///
    /// # Panics
    ///
    /// If `millis` is not in 1 to 2147483647; in a `const` that is an error of the compiler. For
    /// a time that is known only when the program runs there is [`Retry::new`].
    #[must_use]
    pub const fn from_millis(millis: u32) -> Self {
        match Self::checked(millis) {
            Some(retry) => retry,
            None => panic!("a reconnection time is 1 to 2147483647 ms"),
        }
    }

    /// A reconnection time; parts of a millisecond are dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidRetry`] if `time` is not in 1 to 2147483647 ms.
    pub fn new(time: Duration) -> Result<Self, InvalidRetry> {
        u32::try_from(time.as_millis())
            .ok()
            .and_then(Self::checked)
            .ok_or(InvalidRetry(time))
    }

    /// The reconnection time nearest to `time`.
    pub(crate) fn saturating(time: Duration) -> Self {
        Self::new(time).unwrap_or(if time < Duration::from_millis(1) {
            Self::MIN
        } else {
            Self::MAX
        })
    }

    /// The time in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u32 {
        self.0.get()
    }

    const fn checked(millis: u32) -> Option<Self> {
        match NonZeroU32::new(millis) {
            Some(known) if millis <= i32::MAX as u32 => Some(Self(known)),
            _ => None,
        }
    }
}

impl TryFrom<Duration> for Retry {
    type Error = InvalidRetry;

    fn try_from(time: Duration) -> Result<Self, InvalidRetry> {
        Self::new(time)
    }
}

/// A text that a field cannot carry: it would end the line, or the client would ignore it.
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

    /// The field's name in the standard: `event` or `id`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// The first character that the field cannot carry.
    #[must_use]
    pub fn character(&self) -> char {
        self.character
    }

    /// Where that character is, in bytes from the start.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Gives the text back.
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

/// A time that cannot be a [reconnection time](Retry): not in 1 to 2147483647 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRetry(
    /// The time that was refused.
    pub Duration,
);

impl fmt::Display for InvalidRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the caller's `retry` of {} ms is not in 1 to 2147483647 ms",
            self.0.as_secs_f64() * 1e3
        )
    }
}

impl Error for InvalidRetry {}

/// Room for a number in decimal.
#[derive(Default)]
pub(crate) struct Digits([u8; 20]); // u64::MAX has 20 digits

impl Digits {
    pub(crate) fn of(&mut self, mut number: u64) -> &[u8] {
        let mut start = self.0.len();
        loop {
            start -= 1;
            self.0[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[start..];
            }
        }
    }
}

/// Where the first byte of `text` is that is one of `forbidden`.
///
/// A loop and not `memchr`, because it runs in constants; fields are short.
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
    fn digits_are_those_of_the_standard_library() {
        for number in [0, 1, 9, 10, 99, 100, 12_345_678_901, u64::MAX - 1, u64::MAX] {
            assert_eq!(Digits::default().of(number), number.to_string().as_bytes());
        }
    }

    #[test]
    fn an_id_equals_the_same_text() {
        assert_eq!(EventId::from(7), EventId::from_static("7"));
        assert_eq!(EventId::from(-7), EventId::from_static("-7"));
        assert_ne!(EventId::from(7), EventId::from_static("07"));
    }

    #[test]
    fn a_reconnection_time_has_its_bounds() {
        let of = |millis| Retry::new(Duration::from_millis(millis));
        assert_eq!(of(0), Err(InvalidRetry(Duration::ZERO)));
        assert_eq!(of(1), Ok(Retry::MIN));
        assert_eq!(of(2_147_483_647), Ok(Retry::MAX));
        assert!(of(2_147_483_648).is_err());
        assert!(of(u64::from(u32::MAX) + 2).is_err());
        assert!(Retry::new(Duration::MAX).is_err());
        assert_eq!(Retry::saturating(Duration::ZERO), Retry::MIN);
        assert_eq!(Retry::saturating(Duration::MAX), Retry::MAX);
    }
}
