//! From values to bytes: the only place that writes wire syntax.

use std::{borrow::Cow, convert::Infallible, fmt, mem};

use bytes::{Bytes, BytesMut};
use memchr::{memchr2, memchr2_iter, memmem};

use crate::{
    field::{Digits, EventId, EventType},
    output::{Mark, Output},
    retry::Retry,
};

/// An item of a stream that is sent as an event stream.
///
/// Implemented for [`Event`](crate::Event), [`EncodedEvent`](crate::EncodedEvent), `Json<T>` (feature `json`),
/// and a `Result` of what cannot fail to encode or of a `Json<T>`. Implement it for a type of your
/// own to write its fields straight into the response:
///
/// ```
/// use std::convert::Infallible;
/// use http_sse::{Encode, EncodedEvent, Encoder, EventType};
///
/// struct Price { cents: u32, at: u64 }
///
/// impl Encode for Price {
///     type Error = Infallible;
///
///     fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
///         const PRICE: EventType = EventType::from_static("price");
///         encoder.event_type(&PRICE);
///         encoder.id(&self.at.into());
///         encoder.data(&self.cents.to_string());
///         Ok(())
///     }
/// }
///
/// let event = EncodedEvent::new(Price { cents: 250, at: 7 })?;
/// assert_eq!(event, "event: price\nid: 7\ndata: 250\n\n");
/// # Ok::<(), http_sse::EncodeEventError<Infallible>>(())
/// ```
pub trait Encode {
    /// Why an item could not be encoded; [`Infallible`] where it always can.
    type Error;

    /// Writes the item as one event, or as several with
    /// [`end_event`](Encoder::end_event) between them. What ends the last one is written by the
    /// caller.
    ///
    /// # Errors
    ///
    /// What the item says. Nothing of it is in the output then.
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Self::Error>;
}

/// Encodes `item` behind what `buffer` holds; for event streams that are not sent with
/// [`Sse`](crate::Sse).
///
/// # Errors
///
/// What the item says; `buffer` is as it was then.
///
/// ```
/// use bytes::BytesMut;
/// use http_sse::Event;
///
/// let mut buffer = BytesMut::from(":\n");
/// http_sse::encode(Event::data("a"), &mut buffer)?;
/// http_sse::encode(Event::data("b"), &mut buffer)?;
/// assert_eq!(buffer, ":\ndata: a\n\ndata: b\n\n");
/// # Ok::<(), std::convert::Infallible>(())
/// ```
pub fn encode<T: Encode>(item: T, buffer: &mut BytesMut) -> Result<(), T::Error> {
    let mut output = Output::default();
    output.swap_block(buffer);
    let lent = Lent {
        mark: output.begin(),
        output: &mut output,
        buffer,
    };
    let encoded = encode_to(lent.output, item);
    lent.give_back();
    encoded.map(drop)
}

/// The caller's buffer, lent to an output. If the item panics, the buffer is restored.
struct Lent<'a> {
    output: &'a mut Output,
    buffer: &'a mut BytesMut,
    mark: Mark,
}

impl Lent<'_> {
    fn give_back(mut self) {
        self.swap();
        mem::forget(self); // which holds nothing but references
    }

    fn swap(&mut self) {
        self.output.join();
        self.output.swap_block(self.buffer);
    }
}

impl Drop for Lent<'_> {
    #[cold]
    fn drop(&mut self) {
        self.output.roll_back(self.mark);
        self.swap();
    }
}

/// Encodes `item` and returns the number of events. If the item fails, the output is left
/// unchanged. If it panics, the caller must [roll back](Output::roll_back) the output.
///
/// Inlined, so that the fields which a source never sets are not looked at.
#[inline(always)]
pub(crate) fn encode_to<T: Encode>(output: &mut Output, item: T) -> Result<u64, T::Error> {
    let mark = output.begin();
    let mut encoder = Encoder::new(output);
    match item.encode(&mut encoder) {
        Ok(()) => {
            encoder.end_event();
            Ok(encoder.events)
        }
        Err(error) => {
            output.roll_back(mark);
            Err(error)
        }
    }
}

/// Writes the fields of an event. An [`Encode`] is handed one.
///
/// Each call writes whole lines, so whatever is called in whatever order, with whatever text, the
/// output is an event stream. Where a field is written twice the client takes the last, but lines
/// of data accumulate (9.2.6 of the standard).
pub struct Encoder<'a> {
    output: &'a mut Output,
    /// A line was written that only an empty line completes.
    open: bool,
    events: u64,
}

impl<'a> Encoder<'a> {
    fn new(output: &'a mut Output) -> Self {
        Self {
            output,
            open: false,
            events: 0,
        }
    }

    /// Writes the event type: the `event` field.
    #[inline]
    pub fn event_type(&mut self, event_type: &EventType) {
        self.line(b"event: ", event_type.as_str().as_bytes(), b"\n");
        self.open = true;
    }

    /// Writes the id.
    #[inline]
    pub fn id(&mut self, id: &EventId) {
        self.line(b"id: ", id.as_bytes(&mut Digits::default()), b"\n");
        self.open = true;
    }

    /// Writes the reconnection time: the `retry` field.
    ///
    /// Where it is all that an event has, no empty line ends it: clients act on the line at once,
    /// and one of them fails on such a block.
    #[inline]
    pub fn retry(&mut self, retry: Retry) {
        let millis = retry.as_millis().into();
        self.line(b"retry: ", Digits::default().of(millis), b"\n");
    }

    /// Writes data: one line for each that `text` has. CRLF, CR and LF end a line, as they do for
    /// the client.
    #[inline]
    pub fn data(&mut self, text: &str) {
        self.lines(b"data: ", text.as_bytes(), b"\n");
        self.open = true;
    }

    /// Writes data and ends the event with it.
    #[inline]
    pub(crate) fn last_data(&mut self, text: &str) {
        self.lines(b"data: ", text.as_bytes(), b"\n\n");
        self.open = false;
        self.events += 1;
    }

    /// Writes a comment: one line for each that `text` has.
    pub fn comment(&mut self, text: &str) {
        if text.is_empty() {
            self.line(b":", b"", b"\n");
        } else {
            self.lines(b": ", text.as_bytes(), b"\n");
        }
    }

    /// Writes `value` as data, in one line of JSON, without a copy in between.
    ///
    /// # Errors
    ///
    /// What `value` says while it is serialised. Nothing was written then, and the event can go
    /// on.
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    pub fn json<T: serde::Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        const FIRST: usize = 128; // most JSON events fit, so that the block grows once at most
        let block = self.output.room(FIRST);
        let start = block.len();
        block.extend_from_slice(b"data: ");
        if let Err(error) = crate::json_line::write_line(block, value) {
            block.truncate(start);
            return Err(error);
        }
        block.extend_from_slice(b"\n");
        self.open = true;
        Ok(())
    }

    /// Ends the event, so that what is written next begins another. Called by itself after each
    /// item.
    ///
    /// The empty line is written only behind an event type, an id or data: comments and
    /// reconnection times act at once, and as blocks of their own make some clients fail.
    #[inline]
    pub fn end_event(&mut self) {
        if self.open {
            self.open = false;
            self.events += 1;
            self.output.room(1).extend_from_slice(b"\n");
        }
    }

    /// Passes on this many events that are encoded already.
    ///
    /// Always inlined: a call copies the `Bytes` twice, which makes 155 instructions out of 115.
    #[inline(always)]
    pub(crate) fn encoded(&mut self, wire: Bytes, events: u64) {
        self.end_event();
        self.events += events;
        self.output.push(wire);
    }

    /// Writes data that is handed over uncopied, if it is one line.
    #[cold]
    pub(crate) fn large_data(&mut self, text: Cow<'static, str>) {
        if !is_one_line(text.as_bytes()) {
            return self.data(&text); // its caller ends the event
        }
        let line = match text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let name = b"data: ";
        self.output.room(name.len()).extend_from_slice(name);
        self.output.push_large(line);
        self.output.room(1).extend_from_slice(b"\n");
        self.open = true;
    }

    /// Writes a line for each line of `text`; `end` is what ends the last one.
    #[inline]
    fn lines<const N: usize, const M: usize>(
        &mut self,
        name: &[u8; N],
        text: &[u8],
        end: &[u8; M],
    ) {
        if is_one_line(text) {
            self.line(name, text, end);
        } else {
            self.split(name, text, end);
        }
    }

    /// The same, where there is more than one.
    #[inline(never)]
    fn split<const N: usize, const M: usize>(
        &mut self,
        name: &[u8; N],
        text: &[u8],
        end: &[u8; M],
    ) {
        let mut start = 0;
        for stop in memchr2_iter(b'\r', b'\n', text) {
            if stop < start {
                continue; // the LF of a CRLF
            }
            self.line(name, &text[start..stop], b"\n");
            let width = if text[stop..].starts_with(b"\r\n") {
                2
            } else {
                1
            };
            start = stop + width;
        }
        self.line(name, &text[start..], end);
    }

    /// Writes a line. `value` has no line end in it: the types see to that, or `lines` does.
    ///
    /// Inlined, so that name and end are copied as numbers and not by calls.
    #[inline(always)]
    fn line<const N: usize, const M: usize>(
        &mut self,
        name: &[u8; N],
        value: &[u8],
        end: &[u8; M],
    ) {
        let block = self.output.room(N + value.len() + M);
        block.extend_from_slice(name);
        block.extend_from_slice(value);
        block.extend_from_slice(end);
    }
}

impl fmt::Debug for Encoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// An item from a source that can fail. The error of the item becomes one of the source.
impl<T, E> Encode for Result<T, E>
where
    T: Encode,
    T::Error: IntoSourceError<E>,
{
    type Error = E;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), E> {
        self?
            .encode(encoder)
            .map_err(IntoSourceError::into_source_error)
    }
}

/// Converts an item's own error into the error `E` of its stream of `Result<_, E>`.
///
/// [`Infallible`] implements it for every `E`. With the feature `json`, `serde_json::Error`
/// implements it for every `E: From<serde_json::Error>`. Implement it for the error of your own
/// [`Encode`] type to yield that type in a `Result`:
///
/// ```
/// use http_sse::{Encode, Encoder, Event, IntoSourceError, Sse};
///
/// #[derive(Debug)]
/// enum AppError { Upstream, TooLong }
///
/// struct Line(String);
///
/// impl Encode for Line {
///     type Error = AppError;
///
///     fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), AppError> {
///         if self.0.len() > 80 {
///             return Err(AppError::TooLong);
///         }
///         encoder.data(&self.0);
///         Ok(())
///     }
/// }
///
/// impl IntoSourceError<AppError> for AppError {
///     fn into_source_error(self) -> AppError {
///         self
///     }
/// }
///
/// let source = futures_util::stream::iter([Ok(Line("a".into())), Err(AppError::Upstream)]);
/// let sse = Sse::new(source).on_error(|error| Event::data(format!("{error:?}")));
/// ```
#[diagnostic::on_unimplemented(
    message = "cannot convert the item's error `{Self}` into the stream's error `{E}`",
    note = "implement `http_sse::IntoSourceError<{E}>` for `{Self}`, or let the stream fail with `{Self}`"
)]
pub trait IntoSourceError<E> {
    /// Returns the error of the stream.
    fn into_source_error(self) -> E;
}

impl<E> IntoSourceError<E> for Infallible {
    fn into_source_error(self) -> E {
        match self {}
    }
}

/// Whether `text` has no CR and no LF.
///
/// Most text has no control character at all, which is told by its least byte alone: compilers
/// make of that one instruction for every 16 bytes, half the work of a search for two bytes.
#[inline]
fn is_one_line(text: &[u8]) -> bool {
    let is_plain = match text.len() {
        64.. => is_plain::<64>(text),
        16.. => is_plain::<16>(text),
        _ => false,
    };
    is_plain || memchr2(b'\r', b'\n', text).is_none()
}

/// Whether every byte is greater than those of CR and LF. Looks at `STEP` bytes at a time, at some
/// of the last ones twice.
#[inline(always)]
fn is_plain<const STEP: usize>(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<STEP>() else {
        return false;
    };
    let mut least = *last;
    for chunk in text.chunks_exact(STEP) {
        for (least, byte) in least.iter_mut().zip(chunk) {
            *least = (*least).min(*byte);
        }
    }
    least.iter().all(|&byte| byte > b'\r')
}

/// What a stream opens with: a byte for clients and proxies that wait for one.
pub(crate) const OPENING: Bytes = Bytes::from_static(b":\n");

/// Gives the last event in `wire` the id `hi-lo`. One that it has is overruled, since the client
/// takes the last (9.2.6 of the standard); behind a comment it makes an event of its own.
#[cfg(feature = "hub")]
pub(crate) fn set_last_id(wire: &mut BytesMut, hi: u64, lo: u64) {
    if wire.ends_with(b"\n\n") {
        wire.truncate(wire.len() - 1);
    }
    wire.extend_from_slice(b"id: ");
    wire.extend_from_slice(Digits::default().of(hi));
    wire.extend_from_slice(b"-");
    wire.extend_from_slice(Digits::default().of(lo));
    wire.extend_from_slice(b"\n\n");
}

/// A comment as a block of its own, with the empty line that ends it.
pub(crate) fn comment_block(text: &str) -> Bytes {
    let mut output = Output::default();
    let mut encoder = Encoder::new(&mut output);
    encoder.comment(text);
    encoder.open = true;
    encoder.end_event();
    output.take_all().freeze()
}

/// Returns whether `wire`, which an [`Encoder`] wrote, is one block: it is not empty, and an empty
/// line stands nowhere but at its end.
pub(crate) fn is_one_block(wire: &[u8]) -> bool {
    match memmem::find(wire, b"\n\n") {
        Some(end) => end + 2 == wire.len(),
        None => !wire.is_empty(),
    }
}

/// Returns whether a block counts as an event: it has more than comments and a reconnection time.
#[inline]
pub(crate) fn is_event(block: &[u8]) -> bool {
    matches!(block, [b'd' | b'e' | b'i', ..]) || begins_otherwise(block)
}

/// Does the same for a block that starts with another field or a comment.
#[cold]
fn begins_otherwise(block: &[u8]) -> bool {
    let mut lines = block.split(|&byte| byte == b'\n');
    lines.any(|line| matches!(line, [b'd' | b'e' | b'i', ..]))
}

/// The rules of [`check`], for one line.
const FIELDS: [&[u8]; 4] = [b"data: ", b"event: ", b"id: ", b"retry: "];

/// Checks that `wire` is one whole event as [`Encoder`] writes it, or tells at which byte it is
/// not.
pub(crate) const fn check(wire: &[u8]) -> Result<(), usize> {
    let mut open = false;
    let mut at = 0;
    while at < wire.len() {
        if wire[at] == b'\n' {
            // The empty line: behind something, and nothing behind it.
            return if at > 0 && at + 1 == wire.len() {
                Ok(())
            } else {
                Err(at)
            };
        }
        let field = field_at(wire, at);
        if wire[at] != b':' && field.is_none() {
            return Err(at);
        }
        let (forbids_nul, digits_only) = match field {
            Some(2) => (true, false),
            Some(3) => (false, true),
            _ => (false, false),
        };
        open = open || (field.is_some() && !digits_only);
        if let Some(field) = field {
            at += FIELDS[field].len();
        }
        let mut retry = 0;
        while at < wire.len() && wire[at] != b'\n' {
            let byte = wire[at];
            if byte == b'\r' || (forbids_nul && byte == 0) {
                return Err(at);
            }
            if digits_only {
                if !byte.is_ascii_digit() || retry > Retry::MAX.as_millis() / 10 {
                    return Err(at);
                }
                retry = retry * 10 + (byte - b'0') as u32;
            }
            at += 1;
        }
        if digits_only && (retry < Retry::MIN.as_millis() || retry > Retry::MAX.as_millis()) {
            return Err(at);
        }
        if at == wire.len() {
            return Err(at); // no LF
        }
        at += 1;
    }
    if open || wire.is_empty() {
        Err(at)
    } else {
        Ok(())
    }
}

/// Which of [`FIELDS`] begins at `start`.
const fn field_at(wire: &[u8], start: usize) -> Option<usize> {
    let mut field = 0;
    while field < FIELDS.len() {
        let name = FIELDS[field];
        let mut i = 0;
        while i < name.len() && start + i < wire.len() && wire[start + i] == name[i] {
            i += 1;
        }
        if i == name.len() {
            return Some(field);
        }
        field += 1;
    }
    None
}
