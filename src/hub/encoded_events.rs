//! Several events in their encoded form.

use std::{convert::Infallible, fmt};

use bytes::{Bytes, BytesMut};

use crate::wire::{Encode, Encoder, EndEarly};

/// Consecutive events in their encoded form, as a [`Subscription`](crate::Subscription) yields
/// them.
///
/// The last item of a subscription that ends for another reason than the end of its topics has no
/// events. It passes that reason to the response, such as
/// [`CloseReason::Lagged`](crate::CloseReason::Lagged).
///
/// Cloning is cheap: the bytes are reference-counted.
#[derive(Clone, PartialEq, Eq, Hash)]
#[must_use = "events do nothing until they are sent"]
pub struct EncodedEvents {
    bytes: Bytes,
    count: u32,
    /// Set in the last item of a subscription that ends although its topics go on.
    ends_early: Option<EndEarly>,
}

impl EncodedEvents {
    pub(super) fn new(bytes: Bytes, count: u64) -> Self {
        Self {
            bytes,
            count: count.try_into().unwrap_or(u32::MAX),
            ends_early: None,
        }
    }

    /// Creates the last item of a subscription that ends although its topics go on.
    pub(super) fn end_early(why: EndEarly) -> Self {
        Self {
            ends_early: Some(why),
            ..Self::new(Bytes::new(), 0)
        }
    }

    /// Returns the number of events.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.into()
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
            count += piece.count();
        }
        Self::new(bytes.freeze(), count)
    }
}

impl Encode for EncodedEvents {
    type Error = Infallible;

    #[inline]
    fn encode(self, encoder: &mut Encoder<'_>) -> Result<(), Infallible> {
        if let Some(why) = self.ends_early {
            encoder.end_early(why);
        }
        encoder.encoded(self.bytes, self.count.into());
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
