//! The encoder: the only file that writes wire syntax.

#[cfg(feature = "json")]
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::{borrow::Cow, fmt};

use bytes::Bytes;
use memchr::{memchr2, memchr2_iter};

#[cfg(any(feature = "hub", test))]
use super::output::EndEarly;
use super::{
    field::{EventId, EventType},
    output::Output,
    retry::Retry,
};

/// A writer for the fields of an event, passed to [`Encode::encode`](super::Encode::encode).
///
/// Each method writes whole lines. The output is a valid event stream for any text and for any
/// order of calls.
///
/// If a field is written twice, the client uses the last value. Lines of data accumulate instead
/// (9.2.6 of the HTML standard).
pub struct Encoder<'a> {
    output: &'a mut Output,
    /// True if an event is open: it has lines, and no empty line has ended it.
    open: bool,
    events: u64,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(output: &'a mut Output) -> Self {
        Self {
            output,
            open: false,
            events: 0,
        }
    }

    /// Ends the item, and returns the number of its events.
    #[inline(always)]
    pub(super) fn finish(mut self) -> u64 {
        self.end_event();
        self.events
    }

    /// Writes the event type: the `event` field.
    #[inline]
    pub fn event_type(&mut self, event_type: &EventType) {
        self.line(b"event: ", event_type.as_str().as_bytes(), b"\n");
        self.open = true;
    }

    /// Writes the id: the `id` field.
    #[inline]
    pub fn id(&mut self, id: &EventId) {
        self.line(b"id: ", id.as_bytes(&mut itoa::Buffer::new()), b"\n");
        self.open = true;
    }

    /// Writes the reconnection time: the `retry` field.
    ///
    /// If the event has no other field, no empty line follows. Clients apply the line at once, and
    /// some mistake a block of only this field for an event.
    #[inline]
    pub fn retry(&mut self, retry: Retry) {
        let millis = retry.as_millis();
        self.line(
            b"retry: ",
            itoa::Buffer::new().format(millis).as_bytes(),
            b"\n",
        );
    }

    /// Writes data: one `data` line for each line of `text`.
    ///
    /// CRLF, CR and LF each end a line, as they do for the client. Empty text is one empty line.
    #[inline]
    pub fn data(&mut self, text: &str) {
        self.lines(b"data: ", text.as_bytes(), b"\n");
        self.open = true;
    }

    /// Writes data and ends the event.
    #[inline]
    pub(crate) fn last_data(&mut self, text: &str) {
        self.lines(b"data: ", text.as_bytes(), b"\n\n");
        self.open = false;
        self.events += 1;
    }

    /// Writes a comment: one comment line for each line of `text`.
    pub fn comment(&mut self, text: &str) {
        if text.is_empty() {
            self.line(b":", b"", b"\n");
        } else {
            self.lines(b": ", text.as_bytes(), b"\n");
        }
    }

    /// Writes `value` as data, as one line of JSON that is serialised straight into the output.
    ///
    /// # Errors
    ///
    /// Returns an error if `value` cannot be serialised. This call has then written nothing, and
    /// the event can continue.
    #[cfg(feature = "json")]
    #[cfg_attr(docsrs, doc(cfg(feature = "json")))]
    pub fn json<T: serde::Serialize + ?Sized>(
        &mut self,
        value: &T,
    ) -> Result<(), serde_json::Error> {
        const FIRST: usize = 128; // fits most JSON events, so that the block grows at most once
        let block = self.output.room(FIRST);
        let start = block.len();
        block.extend_from_slice(b"data: ");
        // A value that panics while it is serialised must not leave half a line either.
        let written = catch_unwind(AssertUnwindSafe(|| {
            super::json_line::write_line(block, value)
        }));
        match written {
            Ok(Ok(())) => {
                block.extend_from_slice(b"\n");
                self.open = true;
                Ok(())
            }
            Ok(Err(error)) => {
                block.truncate(start);
                Err(error)
            }
            Err(panic) => {
                block.truncate(start);
                resume_unwind(panic)
            }
        }
    }

    /// Ends the event, so that the next field begins another one. The end of an item does the same.
    ///
    /// Writes the empty line only after an event type, an id or data. Comments and reconnection
    /// times take effect without it, and some clients fail on a block of only these.
    #[inline]
    pub fn end_event(&mut self) {
        if self.open {
            self.open = false;
            self.events += 1;
            self.output.room(1).extend_from_slice(b"\n");
        }
    }

    /// Passes on bytes that are already encoded, and counts them as this many events.
    ///
    /// Always inlined, because a call copies the `Bytes` twice.
    #[inline(always)]
    pub(crate) fn encoded(&mut self, wire: Bytes, events: u64) {
        self.end_event();
        self.events += events;
        self.output.push(wire);
    }

    /// Declares that the source ends with this item although it is not complete.
    ///
    /// When the source then returns `None`, the stream ends cleanly with the reason for `why`. This
    /// writes nothing and counts as no event. If the source yields more items, they are still sent.
    #[cfg(any(feature = "hub", test))]
    #[cold]
    pub(crate) fn end_early(&mut self, why: EndEarly) {
        self.output.end_early(why);
    }

    /// Writes data, which leaves uncopied if it is one line.
    #[cold]
    pub(crate) fn large_data(&mut self, text: Cow<'static, str>) {
        if !is_one_line(text.as_bytes()) {
            return self.data(&text); // the caller ends the event
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

    /// Writes a line for each line of `text`. The last one ends with `end`.
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

    /// Writes the lines of a text that has more than one.
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

    /// Writes one line. `value` contains no line end, which its type or `lines` guarantees.
    ///
    /// Inlined, so that `name` and `end` are copied as integers and not by calls.
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

/// Returns whether `text` contains no CR and no LF.
///
/// Most text contains no control character, so its smallest byte rules out both. Compilers find
/// that byte with one instruction per 16 bytes, half the work of a search for two bytes.
#[inline]
fn is_one_line(text: &[u8]) -> bool {
    let is_plain = match text.len() {
        64.. => is_plain::<64>(text),
        16.. => is_plain::<16>(text),
        _ => false,
    };
    is_plain || memchr2(b'\r', b'\n', text).is_none()
}

/// Returns whether `text` has at least `STEP` bytes, all greater than CR and LF.
///
/// It reads `STEP` bytes at a time, and some of the last ones twice.
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

/// Joins two texts so that the second starts on a line of its own.
pub(super) fn join_lines(first: &str, second: &str) -> String {
    // LF alone is not enough. After a text that ends with CR, it would only complete a CRLF.
    format!("{first}\r\n{second}")
}

/// The first bytes of a stream, for clients and proxies that wait for a byte: an empty comment.
pub(crate) const OPENING: Bytes = Bytes::from_static(b":\n");

/// Gives the last event in `wire` the id `hi-lo`.
///
/// If `wire` ends with a comment line, the id becomes an event of its own.
#[cfg(feature = "hub")]
pub(crate) fn set_last_id(wire: &mut bytes::BytesMut, hi: u64, lo: u64) {
    if wire.ends_with(b"\n\n") {
        wire.truncate(wire.len() - 1);
    }
    wire.extend_from_slice(b"id: ");
    wire.extend_from_slice(itoa::Buffer::new().format(hi).as_bytes());
    wire.extend_from_slice(b"-");
    wire.extend_from_slice(itoa::Buffer::new().format(lo).as_bytes());
    wire.extend_from_slice(b"\n\n");
}

/// Removes the ids from encoded events, because an id that follows takes their place. Returns the
/// number of events that had nothing else, and are removed too.
#[cfg(feature = "hub")]
pub(crate) fn remove_ids(wire: &mut bytes::BytesMut) -> u64 {
    // Most events have few lines. A search for `\nid: ` takes longer to prepare than to run.
    let mut line_ends = memchr::memchr_iter(b'\n', wire);
    let has_id = |line: &[u8]| line.starts_with(b"id: ");
    if !has_id(wire) && !line_ends.any(|end| has_id(&wire[end + 1..])) {
        return 0;
    }
    let mut rest = bytes::BytesMut::with_capacity(wire.len() + 32);
    let mut is_empty = true;
    let mut removed = 0;
    for line in wire.split_inclusive(|&byte| byte == b'\n') {
        let ends_event = line == b"\n";
        if line.starts_with(b"id: ") {
            continue;
        }
        if ends_event && is_empty {
            removed += 1;
            continue;
        }
        rest.extend_from_slice(line);
        is_empty = ends_event;
    }
    *wire = rest;
    removed
}

/// Encodes a comment as a block of its own, ended by an empty line.
pub(crate) fn comment_block(text: &str) -> Bytes {
    let mut output = Output::default();
    let mut encoder = Encoder::new(&mut output);
    encoder.comment(text);
    encoder.open = true;
    encoder.end_event();
    output.take_all().freeze()
}
