//! Several events in their encoded form.

use std::{convert::Infallible, fmt};

use bytes::{Bytes, BytesMut};

use super::log::Entry;
use crate::wire::{Encode, Encoder, set_last_id};

/// Consecutive events in their encoded form, as a [`Subscription`](crate::Subscription) yields
/// them.
///
/// Cloning is cheap: the bytes are reference-counted.
#[derive(Clone, PartialEq, Eq, Hash)]
#[must_use = "events do nothing until they are sent"]
pub struct EncodedEvents {
    bytes: Bytes,
    count: u64,
}

impl EncodedEvents {
    pub(super) fn new(bytes: Bytes, count: u64) -> Self {
        Self { bytes, count }
    }

    /// Returns the number of events.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the bytes on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the bytes on the wire, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Joins `pieces` in their order.
    pub(super) fn join<'a>(pieces: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let mut bytes = BytesMut::with_capacity(pieces.clone().map(Self::len).sum());
        let mut count = 0;
        for piece in pieces {
            bytes.extend_from_slice(&piece.bytes);
            count += piece.count;
        }
        Self::new(bytes.freeze(), count)
    }
}

/// Takes the event of an entry, with the entry's position as its id.
impl From<&Entry> for EncodedEvents {
    fn from(entry: &Entry) -> Self {
        let mut wire = BytesMut::from(entry.event.as_bytes());
        set_last_id(&mut wire, entry.at.hi(), entry.at.lo());
        Self::new(wire.freeze(), 1)
    }
}

impl Encode for EncodedEvents {
    type Error = Infallible;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        encoder.encoded(self.bytes, self.count);
        Ok(())
    }
}

impl PartialEq<&str> for EncodedEvents {
    fn eq(&self, wire: &&str) -> bool {
        self.bytes == wire.as_bytes()
    }
}

impl fmt::Debug for EncodedEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncodedEvents")
            .field(&String::from_utf8_lossy(&self.bytes))
            .finish()
    }
}
