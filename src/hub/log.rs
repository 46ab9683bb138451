//! The seam between a hub and where its events are kept.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::position::Position;
use crate::wire::EncodedEvent;

/// Where the events of several servers are kept in one order, such as a stream of a database;
/// behind a [`DistributedHub`](crate::hub::DistributedHub).
///
/// Each call is a round trip, so that a boxed future costs nothing beside it. A call that is
/// dropped is cancelled; one of `append` may have written then.
pub trait EventLog: Send + Sync {
    /// Writes an event to the end, and tells its position. With an idempotency key, what was
    /// written with the same key before is not written again, and its position is told.
    fn append<'a>(
        &'a self,
        topic: &'a str,
        event: EncodedEvent,
        idempotency_key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError>;

    /// The position of the last entry, or of the start if there never was one.
    fn head(&self) -> LogFuture<'_, Position>;

    /// The first `max` entries behind `after`, up to and with `upto`. It proves that nothing is
    /// missing between `after` and the first of them: it looks `after` up too, and answers
    /// [`Page::Gap`] if that is neither there nor known to be the last that was dropped.
    fn read(&self, after: Position, upto: Option<Position>, max: usize) -> LogFuture<'_, Page>;

    /// The first `max` entries behind `after`, as soon as there are some, or none after `timeout`.
    /// It proves nothing: what was behind `after` may be gone.
    fn wait(&self, after: Position, max: usize, timeout: Duration) -> LogFuture<'_, Vec<Entry>>;
}

/// The answer of a [`EventLog`].
pub type LogFuture<'a, T, E = EventLogError> =
    Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// Why a log cannot be read now.
pub type EventLogError = Box<dyn Error + Send + Sync>;

/// An event in a [`EventLog`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub at: Position,
    /// What it was published to.
    pub topic: Arc<str>,
    /// Itself, without that position as its id.
    pub event: EncodedEvent,
}

/// What a [`EventLog`] has behind a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// These, in order, and nothing in between.
    Entries(Vec<Entry>),
    /// The position is not in the log, or not any more.
    Gap,
}

/// Why an event was not appended, or may not have been.
#[derive(Debug)]
#[non_exhaustive]
pub enum AppendError {
    /// It is not in the log: it can be published again.
    NotWritten(EventLogError),
    /// It may be in the log and may be sent, as after a time-out: to publish it again without an
    /// idempotency key may double it.
    Unknown(EventLogError),
    /// The log will not have it, now or later, as when it is too large.
    Rejected(EventLogError),
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWritten(error) => write!(f, "the log has not taken the event: {error}"),
            Self::Unknown(error) => write!(f, "the log may have taken the event: {error}"),
            Self::Rejected(error) => write!(f, "the log rejects the event: {error}"),
        }
    }
}

impl Error for AppendError {}

/// The number of entries that are read at once.
pub(super) const PAGE: usize = 500;
