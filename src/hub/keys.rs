//! The keys that events are published with.

use std::{collections::BTreeMap, mem, sync::Arc};

use super::position::Position;

/// The keys that an item was published with.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) idempotency: Option<Arc<str>>,
    pub(super) coalesce: Option<Arc<str>>,
}

/// The positions of the events that were published with a key.
#[derive(Debug, Default)]
pub(super) struct KeyTable {
    pub(super) idempotency: BTreeMap<Arc<str>, Position>,
    pub(super) coalesce: BTreeMap<Arc<str>, Position>,
}

/// The heap memory of a key besides its text, in bytes: its counters and its row in a table.
const KEY: usize = 80;

impl Keys {
    /// Returns the heap memory of the keys and of their rows in a table, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let keys = [&self.idempotency, &self.coalesce];
        let texts = keys.iter().filter_map(|key| key.as_deref());
        mem::size_of::<Self>() + texts.map(|text| KEY + text.len()).sum::<usize>()
    }
}

impl KeyTable {
    /// Forgets the keys of the event at `at`, unless a later event has them.
    pub(super) fn forget(&mut self, at: Position, keys: &Keys) {
        let tables = [
            (&mut self.idempotency, &keys.idempotency),
            (&mut self.coalesce, &keys.coalesce),
        ];
        for (table, key) in tables {
            if let Some(key) = key {
                if table.get(key) == Some(&at) {
                    table.remove(key);
                }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idempotency.is_empty() && self.coalesce.is_empty()
    }
}
