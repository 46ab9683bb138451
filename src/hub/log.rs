//! The interface between a hub and the log that stores its events.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc};

use super::position::Position;
use crate::wire::EncodedEvent;

/// A log that stores the events of several servers in one order, such as a stream in a database.
///
/// A [`DistributedHub`](crate::hub::DistributedHub) reads and writes it, through one
/// [`tail`](Self::tail) for everything that is new, and through [`read`](Self::read) for clients
/// that missed more than the hub's history holds.
///
/// A position is never given to two entries. Positions increase, and an entry can be read only when all
/// earlier ones can: a sequence of a database whose transactions overlap does not do that. A log may
/// lose entries, at its beginning because it is bounded, and at its end because an engine failed. Its
/// head may then go back. The hub finds out through [`Page::Gap`], and resets its clients.
///
/// Dropping a future cancels the call. A cancelled [`append`](Self::append) may have written the
/// entry. The hub cancels any call that takes longer than 5 s.
pub trait EventLog: Send + Sync {
    /// Appends a record and returns its position.
    ///
    /// If the log remembers the idempotency key for this topic, nothing is written. The position of the
    /// first record is returned. An implementation documents how long it remembers keys.
    ///
    /// # Errors
    ///
    /// Fails with the [`AppendError`] that says whether the record is in the log.
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError>;

    /// Returns the position of the last entry, or the start of the log if it never had one.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn head(&self) -> LogFuture<'_, Position>;

    /// Returns the oldest entry, or `None` if the log has none.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn first(&self) -> LogFuture<'_, Option<Entry>>;

    /// Returns the first entries after `after`, at most `max`. It may return fewer, such as when
    /// they are large, but at least one if there is any.
    ///
    /// The result proves that no entry is missing between `after` and the first one returned. An
    /// implementation must look up `after` as well. It returns [`Page::Gap`] if `after` is neither
    /// in the log nor the last entry that was dropped from its beginning.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn read(&self, after: Position, max: usize) -> LogFuture<'_, Page>;

    /// Returns a reader of everything that is appended after `after`. A hub has one at a time.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn tail(&self, after: Position) -> LogFuture<'_, Box<dyn Tail>>;
}

/// A reader of everything that is appended to an [`EventLog`]. It may own a connection.
pub trait Tail: Send {
    /// Waits for entries, and returns the next ones, at most `max`. It may return fewer, such as
    /// when they are large, but at least one if there is any. The next call continues after them.
    ///
    /// Returns [`Page::Gap`] if it cannot prove that the entries follow the last ones, because the
    /// log has lost some at its beginning or its end.
    ///
    /// Returns an empty page at least once a second if there are no entries, after it has checked
    /// that its position is still in the log. If the future is dropped, no entry is lost: the next
    /// call returns it.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now. The hub then drops the reader and asks for another.
    fn next(&mut self, max: usize) -> LogFuture<'_, Page>;

    /// Returns the number of entries in the log after the last one that [`next`](Self::next)
    /// returned, as of its last answer, or `None` if the log does not count them.
    ///
    /// [`LogStatus::behind`](super::LogStatus::behind) reports it. By default it is `None`.
    fn behind(&self) -> Option<u64> {
        None
    }
}

/// The boxed future of an [`EventLog`] method.
pub type LogFuture<'a, T, E = EventLogError> =
    Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The error of an [`EventLog`] that cannot be read now.
pub type EventLogError = Box<dyn Error + Send + Sync>;

/// An entry of an [`EventLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The position of the entry.
    pub at: Position,
    /// The topic that the record was published to.
    pub topic: Arc<str>,
    /// The published event, or another change of the topic.
    pub record: Record,
}

/// The content of an [`Entry`] of an [`EventLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An event.
    Event {
        /// The event, without an id.
        event: EncodedEvent,
        /// The coalescing key: in the history of a hub, the event replaces an earlier one of its
        /// topic with the same key.
        coalesce: Option<Arc<str>>,
    },
    /// The end of the topic.
    Finish,
    /// The removal of the topic's history.
    Remove,
}

/// The entries of an [`EventLog`] after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Consecutive entries, in order. Empty if there are none after the position.
    Entries(Vec<Entry>),
    /// The log cannot prove that no entry is missing after the position.
    Gap,
}

/// The error of an append. It says whether the record is in the log.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The record is not in the log. It can be published again.
    NotWritten(EventLogError),
    /// The record may be in the log, as after a timeout. Publishing it again without an idempotency
    /// key may duplicate it.
    Unknown(EventLogError),
    /// The log rejects the record. Publishing it again fails too, until the record or the log's
    /// configuration changes.
    Rejected(EventLogError),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten(error) => write!(f, "the log did not store the event: {error}"),
            Self::Unknown(error) => write!(f, "the log may have stored the event: {error}"),
            Self::Rejected(error) => write!(f, "the log rejected the event: {error}"),
        }
    }
}

impl Error for AppendError {}

/// The maximum number of entries in one read.
pub(super) const PAGE: usize = 500;
