//! The decoder: the algorithm of the HTML standard (9.2.5 and 9.2.6), without IO.
//!
//! It is a single state machine, and therefore longer than other files.

use std::{borrow::Cow, mem, time::Duration};

#[cfg(not(test))]
use memchr::memchr2;
#[cfg(test)]
use tests::counted_memchr2 as memchr2;

use super::decoded::{DecodeError, Decoded};

/// A parser that reads an event stream as a client does, from pieces of any size.
///
/// It takes the bytes of a body and returns the events that a client dispatches (9.2.5 and 9.2.6 of
/// the HTML standard):
///
/// - Bytes that are not UTF-8 become U+FFFD. One byte order mark at the start is dropped.
/// - CRLF, CR and LF each end a line, even if a CRLF is split between two pieces.
/// - Unknown fields are ignored. The only error is to exceed a limit: [`max_line`](Self::max_line)
///   or [`max_event`](Self::max_event).
/// - An event of type `message` and an event without a type are the same: both are returned with
///   the event type `message`. Converted to an [`Event`](crate::Event), both have none.
/// - An event that no empty line has ended is discarded, so the end of a stream needs no call.
///
/// The time is proportional to the number of bytes, for pieces of any size. Data is not copied if
/// it is a single line that lies within one piece.
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
    /// The number of bytes of the byte order mark that were read. It is 3 if there is no mark.
    mark: usize,
    /// Set if a CR at the end of a piece has ended a line. An LF that follows belongs to that CR.
    after_cr: bool,
    /// The beginning of an incomplete line, or a whole line that was returned.
    line: Vec<u8>,
    /// The lines of data, separated by LF.
    data: Vec<u8>,
    has_data: bool,
    event_type: String,
    /// The id that the next empty line commits.
    id: String,
    has_id: bool,
    last_event_id: String,
    /// The result of the last call, which borrows the buffers.
    yielded: Step,
    error: Option<DecodeError>,
}

/// The effect of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Event,
    Comment,
    Retry(Duration),
    Id,
}

impl Decoder {
    /// The default limit on the length of a line and on the data of an event: 16 MiB.
    pub const DEFAULT_LIMIT: usize = 16 * 1024 * 1024;

    /// Creates a decoder at the start of a stream.
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

    /// Sets the last event ID from an earlier connection. Events have it until an event has an id
    /// of its own.
    #[must_use]
    pub fn with_last_event_id(mut self, id: impl Into<String>) -> Self {
        self.last_event_id = id.into();
        self
    }

    /// Sets the maximum length of a line, in bytes without its line end. The default is 16 MiB.
    #[must_use]
    pub const fn max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes;
        self
    }

    /// Sets the maximum length of the data of an event, in bytes with the LFs between its lines. The
    /// default is 16 MiB.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Returns comments, reconnection times, and ids without data too. A relay needs these.
    #[must_use]
    pub const fn with_comments(mut self) -> Self {
        self.all = true;
        self
    }

    /// Reads from `input` until the next result, and advances `input` past the bytes that it has
    /// read.
    ///
    /// Returns `None` if `input` is used up. Then call it again with the next piece.
    ///
    /// # Errors
    ///
    /// Returns a [`DecodeError`] if a line or an event exceeds its limit. Every later call returns
    /// the same error.
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

    /// Returns the last event ID: the last id that an empty line has committed, or the id of
    /// [`with_last_event_id`](Self::with_last_event_id).
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Clears the buffers of the last result, which is no longer borrowed.
    fn clear_yielded(&mut self) {
        match mem::replace(&mut self.yielded, Step::Nothing) {
            Step::Event => {
                clear(&mut self.data);
                if self.line.is_empty() {
                    clear(&mut self.line);
                }
                self.has_data = false;
                clear_text(&mut self.event_type);
                self.has_id = false;
            }
            Step::Comment => clear(&mut self.line),
            Step::Nothing | Step::Retry(_) | Step::Id => {}
        }
    }

    /// Drops a byte order mark at the start of the stream.
    fn skip_mark(&mut self, input: &mut &[u8]) {
        const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

        while let (Some(wanted), Some((first, rest))) = (MARK.get(self.mark), input.split_first()) {
            if first != wanted {
                self.line.extend_from_slice(&MARK[..self.mark]); // the beginning of a line
                self.mark = MARK.len();
                return;
            }
            self.mark += 1;
            *input = rest;
        }
    }

    /// Reads lines until one has an effect. Returns the bytes of the data or the comment if they lie
    /// in the input. Otherwise the buffers hold them.
    fn read<'a>(&mut self, input: &mut &'a [u8]) -> Result<(Step, Option<&'a [u8]>), DecodeError> {
        // Data that lies in the input. It needs no copy as long as it is the only line of data.
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

    /// Takes a line without its end from the input, and returns whether it was ended. Otherwise it
    /// is the beginning of a line. Returns `None` if the input is used up.
    fn take_line<'a>(&mut self, input: &mut &'a [u8]) -> Option<(&'a [u8], bool)> {
        if self.after_cr && !input.is_empty() {
            self.after_cr = false;
            *input = input.strip_prefix(b"\n").unwrap_or(input);
        }
        if input.is_empty() {
            return None;
        }
        if let [b'\n', rest @ ..] = input {
            *input = rest; // an empty line, without the cost of a search
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
        // A CR ends the line at once. Only the next piece shows if an LF belongs to it.
        self.after_cr = rest == b"\r";
        Some((line, true))
    }

    /// Processes a line, by section 9.2.6 of the HTML standard.
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

    /// Processes an empty line: commits the id, and dispatches an event if there is data.
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

    /// Frees large buffers that are empty. It is called between events, so that a stream which goes
    /// on with comments alone does not keep the memory of a large event.
    fn trim(&mut self) {
        if self.event_type.is_empty() {
            clear_text(&mut self.event_type);
        }
        for buffer in [&mut self.data, &mut self.line] {
            if buffer.is_empty() {
                clear(buffer);
            }
        }
    }

    /// Adds a line of data to the buffer.
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

    /// Copies data into the buffer, because it cannot stay in the input.
    fn keep(&mut self, lone: Option<&[u8]>) {
        if let Some(lone) = lone {
            self.data.extend_from_slice(lone);
        }
    }

    /// Fails if the data of an event exceeds the limit.
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

/// Clears a buffer. Frees it if its content was much smaller than its capacity.
#[inline]
fn clear(buffer: &mut Vec<u8>) {
    if is_oversized(buffer.capacity(), buffer.len()) {
        *buffer = Vec::new();
    }
    buffer.clear();
}

/// Clears a text. Frees it if it was much shorter than its capacity.
#[inline]
fn clear_text(text: &mut String) {
    if is_oversized(text.capacity(), text.len()) {
        *text = String::new();
    }
    text.clear();
}

/// Returns whether a buffer is much larger than its last content. If it were kept, one large event
/// would cost memory until the end of the stream.
#[inline]
fn is_oversized(capacity: usize, used: usize) -> bool {
    /// The capacity that each of the five buffers may keep, in bytes.
    const KEPT: usize = 1024;

    capacity > KEPT && capacity / 2 > used
}

/// Returns the value of a line of data, or `None` for another line. This is the most common line.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data:")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// Replaces a text, and reuses its memory.
fn set(text: &mut String, value: &[u8]) {
    if is_oversized(text.capacity(), value.len()) {
        *text = String::new();
    }
    text.clear();
    text.push_str(&lossy(value));
}

/// Returns the text, with U+FFFD in place of bytes that are not UTF-8.
///
/// `from_utf8` comes first because it checks ASCII by the word, or with SIMD. `from_utf8_lossy`
/// does neither.
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

/// Parses a number of milliseconds, which is ASCII digits only. A number that is too large for a
/// `u64` becomes `u64::MAX`.
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
        /// The number of bytes that the decoders of this thread have searched for a line end.
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
