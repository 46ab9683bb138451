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

/// The heap memory of the counters of a key, in bytes.
const COUNTERS: usize = 2 * mem::size_of::<usize>();

/// The memory of a node in a table, in bytes, and the number of rows that fit into it.
const NODE: (usize, usize) = (376, 11);

/// The memory of a row in a table of several nodes, in bytes. The nodes are filled by two thirds.
const ROW: usize = 58;

impl Keys {
    /// Returns the heap memory of the keys without their rows in a table, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let keys = [&self.idempotency, &self.coalesce];
        let texts = keys.iter().filter_map(|key| key.as_deref());
        mem::size_of::<Self>() + texts.map(|text| COUNTERS + text.len()).sum::<usize>()
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

    /// Returns the heap memory of the tables without the keys, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        let tables = [&self.idempotency, &self.coalesce];
        let nodes = tables.iter().map(|table| match table.len() {
            0 => 0,
            rows if rows <= NODE.1 => NODE.0,
            rows => NODE.0 + rows * ROW,
        });
        mem::size_of::<Self>() + nodes.sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idempotency.is_empty() && self.coalesce.is_empty()
    }
}
