//! From bytes to values: the standard's algorithm (9.2.5 and 9.2.6), without IO.

use std::{borrow::Cow, error::Error, fmt, mem, time::Duration};

#[cfg(not(test))]
use memchr::memchr2;
#[cfg(test)]
use tests::counted_memchr2 as memchr2;

use super::{
    event::Event,
    field::{EventId, EventType},
    retry::Retry,
};

/// Reads an event stream, in whatever pieces it comes, as a client does.
///
/// It is fed with the bytes of a body and yields what a client would dispatch. Bytes that are no
/// UTF-8 become U+FFFD; one byte order mark at the start is dropped; CRLF, CR and LF each end a
/// line, also where a CRLF is split; unknown fields are passed over. Nothing is an error but what
/// exceeds a [limit](Self::max_line). The time it takes is in proportion to the bytes, whatever
/// the pieces, and data that lies in one piece, in one line, is not copied.
///
/// At the end of the stream there is nothing to call: an event that no empty line has ended is not
/// dispatched, as the standard demands.
///
/// ```
/// use http_sse::decode::{Decoded, Decoder};
///
/// let mut decoder = Decoder::new();
/// let mut events = Vec::new();
/// for piece in ["id: 7\nda", "ta: a\r", "\ndata: b\n\n: idle\ndata", "\n\ndata: lost"] {
///     let mut input = piece.as_bytes();
///     while let Some(decoded) = decoder.decode(&mut input)? {
///         if let Decoded::Event { data, last_event_id, .. } = decoded {
///             events.push((data.into_owned(), last_event_id.to_owned()));
///         }
///     }
/// }
/// assert_eq!(events, [("a\nb".into(), "7".into()), ("".into(), "7".into())]);
/// # Ok::<(), http_sse::decode::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Decoder {
    max_line: usize,
    max_event: usize,
    all: bool,
    /// How many bytes of a byte order mark have come; all of them also where there is none.
    mark: usize,
    /// The last line was ended by a CR at the end of a piece: an LF that comes next belongs to it.
    after_cr: bool,
    /// The beginning of a line whose end has not come, or a whole line that was yielded.
    line: Vec<u8>,
    /// The lines of data, with LFs between them.
    data: Vec<u8>,
    has_data: bool,
    event_type: String,
    /// The id that the next empty line commits.
    id: String,
    has_id: bool,
    last_event_id: String,
    /// What the last call yielded, which borrows the buffers.
    yielded: Step,
    error: Option<DecodeError>,
}

/// What a [`Decoder`] yields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// An event that a client dispatches.
    #[non_exhaustive]
    Event {
        /// Its type; `message` if it has none.
        event_type: &'a str,
        /// Its data, with an LF between lines.
        data: Cow<'a, str>,
        /// Its own id, if it has one; an empty one resets the last event ID.
        id: Option<&'a str>,
        /// The last event ID at its dispatch: its own, or that of an event before it.
        last_event_id: &'a str,
    },
    /// A comment line: what stands behind the colon. Only with [`Decoder::with_comments`].
    Comment(Cow<'a, str>),
    /// A reconnection time, of any length; zero too. Only with [`Decoder::with_comments`].
    Retry(Duration),
    /// The new last event ID, from a block without data. Only with [`Decoder::with_comments`].
    Id(&'a str),
}

/// What came of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Event,
    Comment,
    Retry(Duration),
    Id,
}

impl Decoder {
    /// The limit on lines and on events unless another is set: 16 MiB.
    pub const DEFAULT_LIMIT: usize = 16 * 1024 * 1024;

    /// A decoder at the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_line: Self::DEFAULT_LIMIT,
            max_event: Self::DEFAULT_LIMIT,
            all: false,
            mark: 0,
            after_cr: false,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            event_type: String::new(),
            id: String::new(),
            has_id: false,
            last_event_id: String::new(),
            yielded: Step::Nothing,
            error: None,
        }
    }

    /// Starts with the last event ID of an earlier connection: events have it until one comes
    /// with an id of its own.
    #[must_use]
    pub fn with_last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// Sets how long a line may be, in bytes without its end.
    #[must_use]
    pub const fn max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes;
        self
    }

    /// Sets how much data an event may have, in bytes with the LFs between its lines.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Yields comments, reconnection times, and ids without data too; for a relay.
    #[must_use]
    pub const fn with_comments(mut self) -> Self {
        self.all = true;
        self
    }

    /// Reads on in `input`, up to the end of what it yields. `None` when the input is used up:
    /// then it wants the next piece.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if a line or an event is longer than its limit; from then on always.
    pub fn decode<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
    ) -> Result<Option<Decoded<'a>>, DecodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.clear_yielded();
        self.skip_mark(input);
        let (step, text) = self
            .read(input)
            .inspect_err(|error| self.error = Some(*error))?;
        self.yielded = step;
        Ok(match step {
            Step::Nothing => None,
            Step::Event => Some(Decoded::Event {
                event_type: match &*self.event_type {
                    "" => "message",
                    event_type => event_type,
                },
                data: lossy(text.unwrap_or(&self.data)),
                id: self.has_id.then_some(&*self.last_event_id),
                last_event_id: &self.last_event_id,
            }),
            Step::Comment => {
                let line = text.unwrap_or(&self.line);
                Some(Decoded::Comment(lossy(&line[1..])))
            }
            Step::Retry(time) => Some(Decoded::Retry(time)),
            Step::Id => Some(Decoded::Id(&self.last_event_id)),
        })
    }

    /// The last event ID: of the last event that an empty line has ended, or that it was started
    /// with.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Frees the buffers of what was yielded, which nobody borrows any more.
    fn clear_yielded(&mut self) {
        match mem::replace(&mut self.yielded, Step::Nothing) {
            Step::Event => {
                clear(&mut self.data);
                if self.line.is_empty() {
                    clear(&mut self.line);
                }
                self.has_data = false;
                if is_oversized(self.event_type.capacity(), self.event_type.len()) {
                    self.event_type = String::new();
                }
                self.event_type.clear();
                self.has_id = false;
            }
            Step::Comment => clear(&mut self.line),
            Step::Nothing | Step::Retry(_) | Step::Id => {}
        }
    }

    /// Drops a byte order mark from the start of the stream.
    fn skip_mark(&mut self, input: &mut &[u8]) {
        const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

        while let (Some(wanted), Some((first, rest))) = (MARK.get(self.mark), input.split_first()) {
            if first != wanted {
                self.line.extend_from_slice(&MARK[..self.mark]); // it was the text of a line
                self.mark = MARK.len();
                return;
            }
            self.mark += 1;
            *input = rest;
        }
    }

    /// Reads lines until something comes of one. The bytes are those of the data or the comment
    /// if they lie in the input; else they are in the buffers.
    fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<(Step, Option<&'a [u8]>), DecodeError> {
        // Data that lies in the input, and need not be copied as long as it is the only line.
        let mut lone: Option<&'a [u8]> = None;
        let step = loop {
            let Some((part, ended)) = self.take_line(input) else {
                break Step::Nothing;
            };
            if self.line.len() + part.len() > self.max_line {
                return Err(DecodeError::LineTooLong(self.max_line));
            }
            if !ended || !self.line.is_empty() {
                self.line.extend_from_slice(part);
            }
            if !ended {
                break Step::Nothing;
            }
            if self.line.is_empty() {
                if let Some(data) = data_of(part) {
                    if self.has_data {
                        self.keep(lone.take());
                        self.add_data(data)?;
                    } else {
                        self.check_event(data.len())?;
                        self.has_data = true;
                        lone = Some(data);
                    }
                    continue;
                }
                match self.process(part, &mut lone)? {
                    Step::Nothing => {}
                    Step::Comment => {
                        self.keep(lone);
                        return Ok((Step::Comment, Some(part)));
                    }
                    step => break step,
                }
            } else {
                let line = mem::take(&mut self.line);
                let step = self.process(&line, &mut lone)?;
                self.line = line;
                if step != Step::Comment {
                    clear(&mut self.line);
                }
                if step != Step::Nothing {
                    break step;
                }
            }
        };
        if step == Step::Event {
            return Ok((step, lone));
        }
        self.keep(lone);
        Ok((step, None))
    }

    /// Takes a line from the input without its end, or the beginning of one if it has no end
    /// there; `None` if the input is used up.
    fn take_line<'a>(&mut self, input: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            *input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        if input.is_empty() {
            return None;
        }
        if let [b'\n', rest @ ..] = input {
            *input = rest; // the end of an event; it needs no search
            return Some((&[], true));
        }
        let Some(end) = memchr2(b'\r', b'\n', input) else {
            return Some((mem::take(input), false));
        };
        let (line, rest) = input.split_at(end);
        *input = match rest {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => rest,
        };
        // A CR acts at once; whether an LF belongs to it shows only with the next piece.
        self.after_cr = rest == b"\r";
        Some((line, true))
    }

    /// Does what a line says: 9.2.6 of the standard.
    fn process(&mut self, line: &[u8], lone: &mut Option<&[u8]>) -> Result<Step, DecodeError> {
        if line.is_empty() {
            return Ok(self.end_block());
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" => {
                if !self.has_data {
                    self.trim();
                }
                if self.all {
                    return Ok(Step::Comment);
                }
            }
            b"data" => {
                self.keep(lone.take());
                self.add_data(value)?;
            }
            b"event" => set(&mut self.event_type, value),
            b"id" if !value.contains(&0) => {
                set(&mut self.id, value);
                self.has_id = true;
            }
            b"retry" if self.all => return Ok(millis(value).map_or(Step::Nothing, Step::Retry)),
            _ => {}
        }
        Ok(Step::Nothing)
    }

    /// An empty line: commits the id, and dispatches if there is data.
    fn end_block(&mut self) -> Step {
        if self.has_id {
            if is_oversized(self.last_event_id.capacity(), self.id.len()) {
                self.last_event_id = String::new();
            }
            self.last_event_id.clone_from(&self.id);
        }
        if self.has_data {
            return Step::Event;
        }
        self.event_type.clear();
        self.trim();
        if mem::take(&mut self.has_id) && self.all {
            Step::Id
        } else {
            Step::Nothing
        }
    }

    /// Frees large buffers that are empty. Called where no event is, so that a stream that goes on
    /// with comments alone does not keep the memory of a large event.
    fn trim(&mut self) {
        if self.event_type.is_empty() {
            set(&mut self.event_type, b"");
        }
        for buffer in [&mut self.data, &mut self.line] {
            if buffer.is_empty() {
                clear(buffer);
            }
        }
    }

    /// Adds a line of data to those in the buffer.
    #[inline]
    fn add_data(&mut self, line: &[u8]) -> Result<(), DecodeError> {
        let separator = usize::from(self.has_data);
        self.check_event(self.data.len() + separator + line.len())?;
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(line);
        Ok(())
    }

    /// Copies data that cannot stay in the input.
    fn keep(&mut self, lone: Option<&[u8]>) {
        if let Some(lone) = lone {
            self.data.extend_from_slice(lone);
        }
    }

    fn check_event(&self, length: usize) -> Result<(), DecodeError> {
        if length > self.max_event {
            return Err(DecodeError::EventTooLong(self.max_event));
        }
        Ok(())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What was decoded as an event to send on. Reconnection times that clients misread become the
/// nearest that they do not.
impl From<Decoded<'_>> for Event {
    fn from(decoded: Decoded<'_>) -> Self {
        // What was decoded has no line ends, and ids no NUL, so nothing is refused.
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

/// A line or an event of the stream is longer than the reader allows.
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

/// Empties a buffer. Frees it if its last content was much smaller than its capacity.
#[inline]
fn clear(buffer: &mut Vec<u8>) {
    if is_oversized(buffer.capacity(), buffer.len()) {
        *buffer = Vec::new();
    }
    buffer.clear();
}

/// Returns whether a buffer is much larger than its last use. If it were kept, one large event
/// would cost memory for as long as the stream lives.
#[inline]
fn is_oversized(capacity: usize, used: usize) -> bool {
    /// The capacity that each of the five buffers may keep, in bytes.
    const KEPT: usize = 1024;

    capacity > KEPT && capacity / 2 > used
}

/// The value of a line of data, if it is one; the most common line, so it is asked first.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data:")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Replaces a text, in the memory that it has.
fn set(text: &mut String, value: &[u8]) {
    if is_oversized(text.capacity(), value.len()) {
        *text = String::new();
    }
    text.clear();
    text.push_str(&lossy(value));
}

/// Text, with U+FFFD for what is no UTF-8.
///
/// `from_utf8` first: it takes ASCII by the word (23 GB/s), or with SIMD, which `from_utf8_lossy`
/// does not.
#[inline]
fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    #[cfg(feature = "simdutf8")]
    use simdutf8::basic::from_utf8;
    #[cfg(not(feature = "simdutf8"))]
    use std::str::from_utf8;

    match from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// A number of milliseconds: ASCII digits only; one that no number holds is the longest.
fn millis(value: &[u8]) -> Option<Duration> {
    if value.is_empty() {
        return None;
    }
    let mut digits = value.iter().map(|&byte| char::from(byte).to_digit(10));
    let millis = digits.try_fold(0_u64, |number, digit| {
        Some(number.saturating_mul(10).saturating_add(digit?.into()))
    })?;
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// The number of bytes that this thread's decoders have searched for a line end.
        static SEARCHED: Cell<usize> = const { Cell::new(0) };
    }

    /// Searches like `memchr2`, and counts the bytes.
    pub(super) fn counted_memchr2(first: u8, second: u8, bytes: &[u8]) -> Option<usize> {
        let found = memchr::memchr2(first, second, bytes);
        SEARCHED.set(SEARCHED.get() + found.map_or(bytes.len(), |at| at + 1));
        found
    }

    #[test]
    fn each_byte_is_searched_once_whatever_the_pieces() {
        const LENGTH: usize = 20_000;

        let wire = format!("data: {}\r\ndata: y\n\n", "x".repeat(LENGTH)).into_bytes();
        for piece in [1, 2, 7, 1_000, wire.len()] {
            let mut decoder = Decoder::new();
            let mut events = 0;
            SEARCHED.set(0);
            for mut input in wire.chunks(piece) {
                while let Some(Decoded::Event { data, .. }) = decoder.decode(&mut input).unwrap() {
                    assert_eq!(data.len(), LENGTH + "\ny".len());
                    events += 1;
                }
            }
            assert_eq!(events, 1);
            let searched = SEARCHED.get();
            assert!(searched >= LENGTH, "the search is counted");
            assert!(
                searched <= wire.len(),
                "{searched} bytes in pieces of {piece}"
            );
        }
    }
}
