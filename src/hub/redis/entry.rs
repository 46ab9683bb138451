//! The form of an entry in the stream. The script `append.lua` writes these fields:
//!
//! | field | value |
//! |---|---|
//! | `c` | the place in the chain ([`Link`]): the entry's number, its tag, and the tag of the entry before |
//! | `t` | the topic |
//! | `k` | the kind: `e` an event, `c` an event with a coalescing key, `f` the end of the topic, `r` its removal |
//! | `d` | the bytes of the event without an id, or nothing |
//! | `o` | the coalescing key, or nothing |
//!
//! Every entry has all of them, because a stream stores the names of equal fields once. An entry of
//! another form, such as a later version's, is a gap.

use std::sync::Arc;

use bytes::Bytes;
use redis::Value;

use super::mark::{Link, Mark};
use crate::{
    hub::{
        log::{Entry, Record},
        position::Position,
    },
    wire::EncodedEvent,
};

/// An entry as it is stored: an id and fields with values.
pub(super) struct Stored {
    pub(super) at: Position,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Returns the fields of a record: its kind, its data, and the coalescing key.
pub(super) fn fields(record: &Record) -> [&[u8]; 3] {
    match record {
        Record::Event { event, coalesce } => match coalesce {
            None => [b"e", event.as_bytes(), b""],
            Some(key) => [b"c", event.as_bytes(), key.as_bytes()],
        },
        Record::Finish => [b"f", b"", b""],
        Record::Remove => [b"r", b"", b""],
    }
}

impl Stored {
    /// Returns the entries of a reply to `XRANGE`, or `None` if the reply has another form.
    pub(super) fn from_reply(reply: Value) -> Option<Vec<Self>> {
        let Value::Array(entries) = reply else {
            return None;
        };
        entries.into_iter().map(Self::from_value).collect()
    }

    fn from_value(entry: Value) -> Option<Self> {
        let [id, fields] = pair(entry)?;
        let at = String::from_utf8(bytes(id)?).ok()?.parse().ok()?;
        let Value::Array(fields) = fields else {
            return None;
        };
        let mut values = fields.into_iter().map(bytes);
        let mut fields = Vec::new();
        while let Some(name) = values.next() {
            fields.push((name?, values.next()??));
        }
        Some(Self { at, fields })
    }

    /// Returns the size of the entry, in bytes.
    pub(super) fn len(&self) -> usize {
        self.fields.iter().map(|(_, value)| value.len()).sum()
    }

    /// Returns the mark of the entry, or `None` if something else has added it.
    pub(super) fn mark(&self) -> Option<Mark> {
        Some(self.link()?.mark(self.at))
    }

    fn link(&self) -> Option<Link> {
        let (_, link) = self.fields.iter().find(|(name, _)| name == b"c")?;
        std::str::from_utf8(link).ok()?.parse().ok()
    }

    /// Returns the entry and its mark, if it directly follows `last` and can be read.
    pub(super) fn after(self, last: Mark) -> Option<(Entry, Mark)> {
        let mark = last.followed_by(self.at, self.link()?)?;
        Some((self.entry()?, mark))
    }

    /// Returns the entry, or `None` if it is not one that this version of the crate writes.
    pub(super) fn entry(mut self) -> Option<Entry> {
        let mut take = |wanted: &[u8]| {
            let field = self.fields.iter_mut().find(|(name, _)| name == wanted);
            field.map(|(_, value)| std::mem::take(value))
        };
        let topic = String::from_utf8(take(b"t")?).ok()?;
        let (kind, data, key) = (take(b"k")?, take(b"d")?, take(b"o")?);
        let coalesce = match &*kind {
            b"c" => Some(Arc::from(String::from_utf8(key).ok()?)),
            _ => None,
        };
        let record = match &*kind {
            b"e" | b"c" => Record::Event {
                event: EncodedEvent::try_from(Bytes::from(data)).ok()?,
                coalesce,
            },
            b"f" => Record::Finish,
            b"r" => Record::Remove,
            _ => return None,
        };
        Some(Entry {
            at: self.at,
            topic: topic.into(),
            record,
        })
    }
}

/// Returns the entries of the one stream in a reply to `XREAD`. They are empty if there is none.
pub(super) fn of_read(reply: Value) -> Option<Vec<Stored>> {
    match reply {
        Value::Nil => Some(Vec::new()),
        Value::Array(mut streams) if streams.len() == 1 => {
            let [_key, entries] = pair(streams.remove(0))?;
            Stored::from_reply(entries)
        }
        _ => None,
    }
}

fn pair(value: Value) -> Option<[Value; 2]> {
    match value {
        Value::Array(values) => values.try_into().ok(),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    }
}
