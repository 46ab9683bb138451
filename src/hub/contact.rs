//! The record of what the log behind a hub has answered.

use std::sync::{Arc, atomic::Ordering::SeqCst};

use tokio::time::Instant;

use super::{
    log::EventLogError,
    log_status::{LogStatus, ResetCounts},
    reset::ResetReason,
    sync::{AtomicU64, Mutex, lock},
};

/// The answers of the log to `follow`, and the resets of the hub.
#[derive(Default)]
pub(super) struct Contact {
    answers: Mutex<Answers>,
    /// The number of resets, in the order of [`ResetReason::ALL`].
    resets: [AtomicU64; ResetReason::ALL.len()],
}

#[derive(Default)]
struct Answers {
    is_connected: bool,
    /// `None` unless the hub is connected.
    behind: Option<u64>,
    /// The time of the last answer.
    last: Option<Instant>,
    /// The error since that answer, if a call has failed.
    error: Option<Arc<str>>,
}

impl Contact {
    /// Records an answer of the tail, after which the log has `behind` more entries.
    pub(super) fn followed(&self, behind: Option<u64>, now: Instant) {
        *lock(&self.answers) = Answers {
            is_connected: true,
            behind,
            last: Some(now),
            error: None,
        };
    }

    /// Records an answer to a load. Ignores it before `follow` runs.
    pub(super) fn answered(&self, now: Instant) {
        let mut answers = lock(&self.answers);
        if answers.is_connected {
            answers.last = Some(now);
        }
    }

    /// Records the error of a call.
    pub(super) fn failed(&self, error: &EventLogError) {
        lock(&self.answers).error = Some(error.to_string().into());
    }

    /// Records that a call has failed, or that `follow` has ended.
    pub(super) fn disconnected(&self) {
        let mut answers = lock(&self.answers);
        (answers.is_connected, answers.behind) = (false, None);
    }

    /// Counts a reset.
    pub(super) fn reset(&self, reason: ResetReason) {
        self.resets[reason as usize].fetch_add(1, SeqCst);
    }

    /// Returns the state, in which no loss is counted.
    pub(super) fn status(&self) -> LogStatus {
        let answers = lock(&self.answers);
        let resets = |reason: ResetReason| self.resets[reason as usize].load(SeqCst);
        LogStatus {
            is_connected: answers.is_connected,
            last_contact: answers.last.map(|last| last.elapsed()),
            behind: answers.behind,
            error: answers.error.clone(),
            resets: ResetCounts {
                expired: resets(ResetReason::Expired),
                unknown: resets(ResetReason::Unknown),
                lagged: resets(ResetReason::Lagged),
            },
            losses: 0,
        }
    }
}
