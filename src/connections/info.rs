//! The state of each open stream, and the totals of a server.

use std::{fmt, sync::Arc, time::Duration};

use super::{report::CloseReason, telemetry::Counts};

/// The identifier of one stream of a server.
///
/// It is never used twice by the same [`Connections`](super::Connections). Later streams have
/// greater identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(super) opened: u64,
    pub(super) place: u32,
}

/// A snapshot of an open stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The identifier of the stream, for [`Connections::close`](super::Connections::close).
    pub id: ConnectionId,
    /// The key that its client was admitted with.
    pub key: Arc<str>,
    /// The time since its client was admitted.
    pub age: Duration,
    /// The number of events encoded for it.
    pub events: u64,
    /// The number of bytes that the connection has taken.
    pub bytes: u64,
    /// The number of keep-alives that the connection has taken.
    pub keep_alives: u64,
    /// The time since the connection took the last frame, if it has not polled the body since.
    ///
    /// `Some` means that the client reads slowly or not at all. The connection polls as long as
    /// its write buffer has room. With hyper on HTTP/1.1 that buffer holds about 400 kB
    /// (`max_buf_size`). The time has a resolution of 1 ms and wraps after 49 days.
    pub stalled_for: Option<Duration>,
}

/// Aggregate counters for all streams of a server.
///
/// `opened` always equals `open` plus the sum of [`closed`](Self::closed) over all reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Streams that are open now.
    pub open: usize,
    /// Streams that were admitted.
    pub opened: u64,
    /// Clients that were refused because the server had reached its
    /// [`max`](super::Connections::max).
    pub refused_by_server: u64,
    /// Clients that were refused because their key had reached its
    /// [`max_per_key`](super::Connections::max_per_key).
    pub refused_by_key: u64,
    /// Events that were encoded, for open and closed streams.
    pub events: u64,
    /// Bytes that were sent.
    pub bytes: u64,
    /// Keep-alives that were sent.
    pub keep_alives: u64,
    pub(super) closed: [u64; CloseReason::COUNT],
}

impl Totals {
    /// Returns the number of streams that ended for this reason.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.opened.fmt(f)
    }
}

impl Totals {
    pub(super) fn add(&mut self, counts: Counts) {
        self.events += counts.events;
        self.bytes += counts.bytes;
        self.keep_alives += counts.keep_alives;
    }
}
