//! The interface between a hub and the log that stores its events.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::position::Position;
use crate::wire::EncodedEvent;

/// A log that stores the events of several servers in one order, such as a stream in a database.
///
/// A [`DistributedHub`](crate::hub::DistributedHub) reads and writes it.
///
/// Positions only increase, even if entries are lost. A log that restarts with fewer entries must
/// continue after every position that it has returned, for example with a greater
/// [`Position::hi`]. If it does not, the hub does not notice the loss.
///
/// Dropping a future cancels the call. A cancelled [`append`](Self::append) may have written the
/// event.
pub trait EventLog: Send + Sync {
    /// Appends an event and returns its position.
    ///
    /// If an event with the same idempotency key is already in the log, nothing is written. The
    /// position of that event is returned.
    ///
    /// # Errors
    ///
    /// Fails with the [`AppendError`] that says whether the event is in the log.
    fn append<'a>(
        &'a self,
        topic: &'a str,
        event: EncodedEvent,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError>;

    /// Returns the position of the last entry, or the start of the log if it never had one.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn head(&self) -> LogFuture<'_, Position>;

    /// Returns the first `max` entries after `after`, up to and including `upto`.
    ///
    /// The result proves that no entry is missing between `after` and the first one returned. An
    /// implementation must look up `after` as well. It returns [`Page::Gap`] if `after` is neither
    /// in the log nor the last entry that was dropped from it.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn read(&self, after: Position, upto: Option<Position>, max: usize) -> LogFuture<'_, Page>;

    /// Waits until there are entries after `after`, and returns the first `max` of them. Returns
    /// none if there are none within `timeout`.
    ///
    /// The result proves nothing about earlier entries, which may no longer be available.
    ///
    /// # Errors
    ///
    /// Fails if the log cannot be read now.
    fn wait(&self, after: Position, max: usize, timeout: Duration) -> LogFuture<'_, Vec<Entry>>;
}

/// The boxed future of an [`EventLog`] method.
pub type LogFuture<'a, T, E = EventLogError> =
    Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// The error of an [`EventLog`] that cannot be read now.
pub type EventLogError = Box<dyn Error + Send + Sync>;

/// An event in an [`EventLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The position of the event.
    pub at: Position,
    /// The topic that the event was published to.
    pub topic: Arc<str>,
    /// The event, without its position as its id.
    pub event: EncodedEvent,
}

/// The entries of an [`EventLog`] after a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// Consecutive entries, in order. Empty if there are none after the position.
    Entries(Vec<Entry>),
    /// The position is not in the log, or no longer in it.
    Gap,
}

/// The error of an append. It says whether the event is in the log.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// The event is not in the log. It can be published again.
    NotWritten(EventLogError),
    /// The event may be in the log, as after a timeout. Publishing it again without an idempotency
    /// key may duplicate it.
    Unknown(EventLogError),
    /// The log rejects the event, now and later, as when it is too large.
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
