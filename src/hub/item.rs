//! An encoded item that is about to be published.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{encoded_events::EncodedEvents, history::Stored, keys::Keys, position::Position};
use crate::wire::{remove_ids, set_last_id};

/// An encoded item that is about to be published. It has no ids yet.
#[derive(Debug)]
pub(super) struct Item {
    wire: BytesMut,
    events: u64,
    keys: Option<Box<Keys>>,
}

/// The space for an id and its field name, in bytes.
const ID: usize = 48;

impl Item {
    /// Creates an item of one event, as it is in a log.
    pub(super) fn new(event: &[u8], coalesce: Option<Arc<str>>) -> Self {
        let mut wire = BytesMut::with_capacity(event.len() + ID);
        wire.extend_from_slice(event);
        let keys = coalesce.map(|key| Keys {
            idempotency: None,
            coalesce: Some(key),
        });
        Self::encoded(wire, 1, keys.map(Box::new))
    }

    /// Creates an item from its encoded form, whose ids are removed.
    pub(super) fn encoded(mut wire: BytesMut, events: u64, keys: Option<Box<Keys>>) -> Self {
        let removed = remove_ids(&mut wire);
        Self {
            wire,
            events: events.saturating_sub(removed).max(1),
            keys,
        }
    }

    pub(super) fn idempotency_key(&self) -> Option<&str> {
        self.keys.as_deref()?.idempotency.as_deref()
    }

    /// Returns the item as it is stored at a position, which is the id of its last event.
    pub(super) fn store(self, at: Position, time: u64) -> Stored {
        let mut wire = self.wire;
        set_last_id(&mut wire, at.hi(), at.lo());
        Stored {
            at,
            time,
            events: EncodedEvents::new(shrunk(wire), self.events),
            keys: self.keys,
        }
    }
}

/// Returns the bytes in an allocation of about their size.
fn shrunk(wire: BytesMut) -> Bytes {
    if wire.capacity() - wire.len() <= wire.len() / 16 {
        return wire.freeze();
    }
    // With a byte to spare, the counter of the clones is allocated here, as the hub's memory counts
    // it, and not by the first reader.
    let mut exact = Vec::with_capacity(wire.len() + 1);
    exact.extend_from_slice(&wire);
    exact.into()
}
