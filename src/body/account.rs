//! The counts of a stream, and the places that they are reported to.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::time::Instant;

use super::options::Callback;
use crate::connections::{CloseReason, CloseReport, Counts, Permit};

/// The counts of a stream, and its permit if it has one.
#[derive(Default)]
pub(super) struct Account {
    pub(super) permit: Option<Permit>,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) keep_alives: u64,
}

impl Account {
    /// Reports the counts after a frame was sent.
    pub(super) fn sent(&self, now: Instant) {
        if let Some(permit) = &self.permit {
            permit.sent(self.counts(), now);
        }
    }

    /// Returns the permit and calls `on_close`, also if a recorder of the permit panics.
    pub(super) fn close(
        &mut self,
        reason: CloseReason,
        on_close: Option<Callback<CloseReport, ()>>,
    ) {
        let counts = self.counts();
        let permit = self.permit.take();
        let closed = catch_unwind(AssertUnwindSafe(|| {
            if let Some(permit) = permit {
                permit.close(reason, counts);
            }
        }));
        if let Some(on_close) = on_close {
            on_close.call(CloseReport {
                reason,
                events: self.events,
                bytes: self.bytes,
                keep_alives: self.keep_alives,
            });
        }
        if let Err(panic) = closed {
            resume_unwind(panic);
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            events: self.events,
            bytes: self.bytes,
            keep_alives: self.keep_alives,
        }
    }
}
