//! [`Event`]: its fields, and the order in which they are written.

use std::{borrow::Cow, convert::Infallible};

use super::{
    encode::{Encoder, join_lines},
    field::{EventId, EventType},
    item::Encode,
    output::LARGE,
    retry::Retry,
};

/// One event of an event stream.
///
/// Every field is optional: the [event type](Self::event_type), the [data](Self::data), the
/// [id](Self::id), the [reconnection time](Self::retry) and [comments](Self::comment). A setter
/// replaces the earlier value, but comments accumulate. Setters never fail and never panic. The
/// constructors of [`EventType`], [`EventId`] and [`Retry`] reject values that the wire cannot
/// carry.
///
/// The client's behaviour depends on the fields (9.2.6 of the HTML standard):
///
/// - **Data**, even empty data: the client dispatches the event. Data is any text. CRLF, CR and LF
///   each end a line and arrive as LF. Other characters arrive unchanged, but Firefox drops NUL.
/// - **No data**: the client dispatches nothing. Chromium still keeps the id, but Firefox ignores
///   it. If every client must keep an id, send it with data. Empty data of an event type without
///   listeners is enough.
/// - **Only comments or a reconnection time**: these are written as lines, without the empty line
///   that ends an event. Several clients mistake a block of only these lines for an event.
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
    /// All comments, one per line.
    pub(crate) comments: Option<Cow<'static, str>>,
}

impl Event {
    /// Creates an event without fields. A stream sends nothing for it.
    ///
    /// Converted to an [`EncodedEvent`](crate::EncodedEvent), it becomes an empty comment.
    ///
    /// ```
    /// # use http_sse::{EncodedEvent, Event};
    /// assert_eq!(EncodedEvent::from(Event::new()), ":\n");
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

    /// Creates an event with this data: any text, of any length, including empty text.
    ///
    /// A `&'static str` or a `String` is stored without a copy.
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

    /// Creates an event whose data is `value` as one line of JSON.
    ///
    /// To serialise straight into the response, use [`Json`](crate::Json), or
    /// [`Encoder::json`](crate::Encoder::json) if the event has other fields.
    ///
    /// # Errors
    ///
    /// Returns an error if `value` cannot be serialised.
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
        super::json_line::to_line(value).map(Self::data)
    }

    /// Creates an event whose data is `bytes` in base64 (RFC 4648, section 4).
    ///
    /// An event stream carries only text. A browser decodes the data with
    /// `Uint8Array.from(atob(e.data), c => c.charCodeAt(0))`.
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

    /// Returns the data as it was set, or `None` if the event has none.
    ///
    /// ```
    /// # use http_sse::Event;
    /// assert_eq!(Event::data("[DONE]").id(7).as_data(), Some("[DONE]"));
    /// assert_eq!(Event::new().as_data(), None);
    /// ```
    #[must_use]
    pub fn as_data(&self) -> Option<&str> {
        self.data.as_deref()
    }

    /// Returns the event type, or `None` if the event has none.
    #[must_use]
    pub fn as_event_type(&self) -> Option<&EventType> {
        self.event_type.as_ref()
    }

    /// Returns the id, or `None` if the event has none.
    #[must_use]
    pub fn as_id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// Returns the reconnection time, or `None` if the event has none.
    #[must_use]
    pub fn as_retry(&self) -> Option<Retry> {
        self.retry
    }

    /// Returns the comments, one per line, or `None` if the event has none.
    ///
    /// ```
    /// # use http_sse::{Event, EventId, EventType, Retry};
    /// let event = Event::new().comment("one").comment("two").id(7).retry(Retry::from_millis(500));
    /// assert_eq!(event.as_comments(), Some("one\r\ntwo"));
    /// assert_eq!(event.as_id(), Some(&EventId::from(7)));
    /// assert_eq!(event.as_retry(), Some(Retry::from_millis(500)));
    /// assert_eq!(event.as_event_type(), None);
    /// ```
    #[must_use]
    pub fn as_comments(&self) -> Option<&str> {
        self.comments.as_deref()
    }

    /// Sets the event type, the `event` field. Without one, the client dispatches the event as
    /// `message`.
    ///
    /// Avoid the types `open` and `error`: an `EventSource` also passes such events to `onopen` and
    /// `onerror`.
    pub fn event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Sets the id, the `id` field.
    ///
    /// The client keeps it as its last event ID and sends it back when it reconnects. See
    /// [`EventId`] for the ids that are portable.
    pub fn id(mut self, id: impl Into<EventId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the reconnection time, the `retry` field: the time that the client waits before it
    /// reconnects.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Adds a comment after the existing ones. Clients ignore comments.
    ///
    /// A comment is any text. Each of its lines becomes a comment line, before the other fields.
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
            Some(before) => Cow::Owned(join_lines(&before, &text)),
        });
        self
    }
}

impl Encode for Event {
    type Error = Infallible;

    // Inlined and destructured at once, so that the event is not copied before it is written. The
    // copy would stall on the stores that have just filled the event.
    #[inline(always)]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        let Self {
            event_type,
            data,
            id,
            retry,
            comments,
        } = self;
        if let Some(comments) = comments {
            encoder.comment(&comments);
        }
        if let Some(event_type) = event_type {
            encoder.event_type(&event_type);
        }
        if let Some(id) = id {
            encoder.id(&id);
        }
        if let Some(retry) = retry {
            encoder.retry(retry);
        }
        match data {
            Some(data) if data.len() < LARGE => encoder.last_data(&data),
            Some(data) => encoder.large_data(data),
            None => {}
        }
        encoder.end_event();
        Ok(())
    }
}
