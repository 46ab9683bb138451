//! An [`Event`]: what it has, and in which order that is written.

use std::{borrow::Cow, convert::Infallible};

use super::{
    encode::{Encoder, join_lines},
    field::{EventId, EventType},
    item::Encode,
    output::LARGE,
    retry::Retry,
};

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
///   text: CRLF, CR and LF each end a line and arrive as LF, everything else arrives as it is,
///   but Firefox drops NULs.
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
    /// Creates an event without fields. A stream sends nothing for it. As an
    /// [`EncodedEvent`](crate::EncodedEvent) it is an empty comment.
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
        super::json_line::to_line(value).map(Self::data)
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

    /// The data as it was set, or `None` if the event has none.
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

    /// Returns the comments, one to a line, or `None` if the event has none.
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
            Some(before) => Cow::Owned(join_lines(&before, &text)),
        });
        self
    }
}

impl Encode for Event {
    type Error = Infallible;

    // Inlined and taken apart at once, so that the event is not copied before it is written: the
    // copy has to wait for what was just put in it, and made a small event cost twice as much.
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
