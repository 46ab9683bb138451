//! The state of open streams, one by one and in total.

use std::{fmt, sync::Arc, time::Duration};

use super::{report::CloseReason, telemetry::Counts};

/// Names one stream of a server, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(super) opened: u64,
    pub(super) place: u32,
}

/// What is known of an open stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// Its name, for [`Connections::close`](super::Connections::close).
    pub id: ConnectionId,
    /// The key that it was admitted with.
    pub key: Arc<str>,
    /// How long ago it was admitted.
    pub age: Duration,
    /// How many events were encoded for it.
    pub events: u64,
    /// How many bytes the connection has taken.
    pub bytes: u64,
    /// How many keep-alives the connection has taken.
    pub keep_alives: u64,
    /// How long ago the connection took the last frame, if it has not asked for more since:
    /// the client reads slowly or not at all. A connection asks for more as long as it has room
    /// for what the client has not read, which with hyper is some 400 kB.
    pub stalled_for: Option<Duration>,
}

/// What a server's streams come to. Always `opened` is `open` and the sum of those closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How many streams are open.
    pub open: usize,
    /// How many were admitted.
    pub opened: u64,
    /// How many were refused because the server had its [`max`](super::Connections::max).
    pub refused_by_server: u64,
    /// How many were refused because the key had its [`max_per_key`](super::Connections::max_per_key).
    pub refused_by_key: u64,
    /// How many events were encoded, for open and for closed streams.
    pub events: u64,
    /// How many bytes were sent.
    pub bytes: u64,
    /// How many keep-alives were sent.
    pub keep_alives: u64,
    pub(super) closed: [u64; CloseReason::COUNT],
}

impl Totals {
    /// How many streams were closed for this reason.
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
