//! The bytes of one event, encoded once for any number of clients.

use std::{convert::Infallible, error::Error, fmt};

use bytes::Bytes;

use super::{
    check::{check, is_event, is_one_block},
    encode::{Encoder, OPENING},
    event::Event,
    item::{Encode, encode_to},
    output::Output,
};

/// The bytes of one whole event. Cloning does not copy them.
///
/// If no other event is ready, the connection receives these bytes without a copy. Otherwise they
/// are copied into one frame with the other events, unless they are 64 KiB or more.
///
/// ```
/// use http_sse::{EncodedEvent, Event};
///
/// const DONE: EncodedEvent = EncodedEvent::from_static("data: [DONE]\n\n"); // checked by the compiler
///
/// assert_eq!(EncodedEvent::from(Event::data("[DONE]")), DONE);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
#[must_use = "an event does nothing until it is sent"]
pub struct EncodedEvent(Bytes);

impl EncodedEvent {
    /// Encodes an item that writes one event, or only comments and a reconnection time.
    ///
    /// # Errors
    ///
    /// Returns [`EncodeEventError::Encode`] with the item's own error if the item fails. Returns
    /// [`EncodeEventError::NotOneEvent`] if the item writes nothing, or anything after its first
    /// event.
    ///
    /// ```
    /// # use http_sse::{EncodeEventError, EncodedEvent, Event, Json};
    /// let event = EncodedEvent::new(Json([1, 2]))?;
    /// assert_eq!(event.as_bytes(), b"data: [1,2]\n\n");
    ///
    /// let nothing = EncodedEvent::new(Event::new());
    /// assert!(matches!(nothing, Err(EncodeEventError::NotOneEvent)));
    /// # Ok::<(), EncodeEventError<serde_json::Error>>(())
    /// ```
    pub fn new<T: Encode>(item: T) -> Result<Self, EncodeEventError<T::Error>> {
        let mut output = Output::default();
        encode_to(&mut output, item).map_err(EncodeEventError::Encode)?;
        let bytes = output.into_bytes();
        if is_one_block(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(EncodeEventError::NotOneEvent)
        }
    }

    /// Creates an event from a literal: the exact bytes to send.
    ///
    /// They must have the form that this crate writes: lines of `name: value`, each ended by LF,
    /// and an empty line. The empty line is optional after only comments or a reconnection time.
    ///
    /// # Panics
    ///
    /// Panics if `wire` is not one whole event. In a `const`, this is a compile error. For bytes
    /// that are known only at run time, use `EncodedEvent::try_from`.
    ///
    /// ```compile_fail
    /// const TWO: http_sse::EncodedEvent = http_sse::EncodedEvent::from_static("data: a\n\ndata: b\n\n");
    /// ```
    pub const fn from_static(wire: &'static str) -> Self {
        assert!(
            check(wire.as_bytes()).is_ok(),
            "the literal is not one whole event as this crate writes it"
        );
        Self(Bytes::from_static(wire.as_bytes()))
    }

    /// Returns the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Encode for EncodedEvent {
    type Error = Infallible;

    #[inline(always)]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        let events = is_event(&self.0).into();
        encoder.encoded(self.0, events);
        Ok(())
    }
}

/// Encodes an event. An [empty](Event::new) event becomes an empty comment: `:` and LF.
impl From<Event> for EncodedEvent {
    fn from(event: Event) -> Self {
        let mut output = Output::default();
        let Ok(_) = encode_to(&mut output, event);
        let bytes = output.into_bytes();
        Self(if bytes.is_empty() { OPENING } else { bytes })
    }
}

/// Accepts the bytes of one whole event, for example from a store, without a copy.
///
/// Fails with [`InvalidEvent`] if [`EncodedEvent::from_static`] would panic, or if the bytes are not
/// UTF-8.
impl TryFrom<Bytes> for EncodedEvent {
    type Error = InvalidEvent;

    fn try_from(bytes: Bytes) -> Result<Self, InvalidEvent> {
        let checked = match std::str::from_utf8(&bytes) {
            Ok(_) => check(&bytes),
            Err(error) => Err(error.valid_up_to()),
        };
        match checked {
            Ok(()) => Ok(Self(bytes)),
            Err(offset) => Err(InvalidEvent { offset, bytes }),
        }
    }
}

impl PartialEq<&str> for EncodedEvent {
    fn eq(&self, wire: &&str) -> bool {
        self.0 == wire.as_bytes()
    }
}

impl fmt::Debug for EncodedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncodedEvent")
            .field(&String::from_utf8_lossy(&self.0))
            .finish()
    }
}

/// The error of [`EncodedEvent::new`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeEventError<E> {
    /// The item could not be encoded.
    Encode(E),
    /// The item wrote nothing, or wrote more after its first event.
    NotOneEvent,
}

impl<E: fmt::Display> fmt::Display for EncodeEventError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::NotOneEvent => {
                f.write_str("the item wrote nothing, or wrote more after its first event")
            }
        }
    }
}

impl<E: Error> Error for EncodeEventError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => error.source(),
            Self::NotOneEvent => None,
        }
    }
}

/// The error for bytes that are not one whole event as this crate writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidEvent {
    offset: usize,
    bytes: Bytes,
}

impl InvalidEvent {
    /// Returns the offset from which the bytes are not valid, in bytes. It is their length if the
    /// event is incomplete.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the rejected bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

impl fmt::Display for InvalidEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset;
        write!(
            f,
            "the caller's bytes are not one whole event: invalid from byte {offset}"
        )
    }
}

impl Error for InvalidEvent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_one_event_are_accepted() {
        for wire in [
            "data: \n\n",
            "data: a\ndata: b\n\n",
            "event: x\nid: 1\nretry: 2147483647\ndata: a\n\n",
            "id: \n\n",
            ":\n",
            ": c\n",
            ":\n\n",
            "retry: 1\n",
            "data: \0\u{feff}\u{2028}\n\n",
        ] {
            let event = EncodedEvent::try_from(Bytes::from_static(wire.as_bytes())).unwrap();
            assert_eq!(event, wire);
        }
    }

    #[test]
    fn other_bytes_are_rejected_with_the_offset_of_the_error() {
        for (wire, offset) in [
            (&b""[..], 0),
            (b"\n", 0),
            (b"data", 0),
            (b"data: a", 7),
            (b"data: a\n", 8),
            (b"data:a\n\n", 0),
            (b"data: a\n\n\n", 8),
            (b"data: a\n\ndata: b\n\n", 8),
            (b"data: a\rdata: b\n\n", 7),
            (b"data: a\r\n\r\n", 7),
            (b"id: a\0\n\n", 5),
            (b"foo: a\n\n", 0),
            (b"data: a\nfoo\n\n", 8),
            (b"retry: \n", 7),
            (b"retry: 0\n", 8),
            (b"retry: 2147483648\n", 17),
            (b"retry: 99999999999\n", 16),
            (b"retry: 1x\n", 8),
            (b"data: \xff\n\n", 6),
            (b"\xef\xbb\xbfdata: a\n\n", 0),
        ] {
            let refused = EncodedEvent::try_from(Bytes::from_static(wire)).unwrap_err();
            assert_eq!(refused.offset(), offset, "{refused:?}");
            assert_eq!(refused.into_bytes(), wire);
        }
    }
}
