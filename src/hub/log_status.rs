//! The state of the log behind a hub, for monitoring.

use std::{sync::Arc, time::Duration};

/// A snapshot of the connection between a hub and its log, returned by
/// [`DistributedHub::status`](super::DistributedHub::status).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStatus {
    /// True from an answer of the log's [`Tail`](super::Tail) to the next call in
    /// [`follow`](super::DistributedHub::follow) that fails.
    ///
    /// It is false before `follow` runs, and after `follow` has returned or was dropped. A tail
    /// answers at least once a second, and a call that takes longer than 5 s fails.
    pub is_connected: bool,
    /// The time since the log last answered a read of
    /// [`follow`](super::DistributedHub::follow). `None` if it never has.
    ///
    /// It grows while the log does not answer, and after `follow` has returned or was dropped.
    pub last_contact: Option<Duration>,
    /// The number of entries in the log that this server has not read yet, as of the last answer
    /// of the log's [`Tail`](super::Tail). It counts the entries of all topics.
    ///
    /// `None` if it is unknown: if the log does not [count](super::Tail::behind) them, while the
    /// hub is not connected, or while it loads a log that has lost entries.
    pub behind: Option<u64>,
    /// The text of the last error of [`follow`](super::DistributedHub::follow) since the last answer of
    /// the log's [`Tail`](super::Tail). `None` if no call has failed since.
    pub error: Option<Arc<str>>,
    /// The number of resets that this server has sent since the hub was created, by reason.
    pub resets: ResetCounts,
    /// The number of times that the log had lost entries and was loaded again. It is 0 at the
    /// start. A load that failed does not count.
    pub losses: u64,
}

/// The number of resets by [`ResetReason`](super::ResetReason).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResetCounts {
    /// The number of resets for [`Expired`](super::ResetReason::Expired).
    pub expired: u64,
    /// The number of resets for [`Unknown`](super::ResetReason::Unknown).
    pub unknown: u64,
    /// The number of resets for [`Lagged`](super::ResetReason::Lagged).
    pub lagged: u64,
}
