//! The times at which a body acts without its source. Nothing here reads the clock: `now` is an
//! argument.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::keep_alive::KeepAlive;
use crate::connections::CloseReason;

/// The keep-alive of a stream, and the time at which the next one is due.
#[derive(Debug)]
pub(super) struct IdleTimer {
    /// `None` means [`DEFAULT`]. It is a box, because an idle stream should be small.
    policy: Option<Box<KeepAlive>>,
    /// `None` before the first frame, and if the interval is too long for the clock.
    due: Option<Instant>,
}

impl IdleTimer {
    pub(super) fn new(policy: KeepAlive) -> Self {
        let policy = (policy != DEFAULT).then(|| Box::new(policy));
        Self { policy, due: None }
    }

    /// Starts a new interval, because a frame was sent.
    pub(super) fn restart(&mut self, now: Instant) {
        self.due = now.checked_add(self.policy().as_interval());
    }

    /// Returns the time at which a keep-alive is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the keep-alive if it is due.
    pub(super) fn keep_alive(&self, now: Instant) -> Option<Bytes> {
        self.due
            .is_some_and(|due| due <= now)
            .then(|| self.policy().bytes.clone())
    }

    fn policy(&self) -> &KeepAlive {
        self.policy.as_deref().unwrap_or(&DEFAULT)
    }
}

/// The deadlines that only some streams have.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// The time at which the batch that is held back is sent.
    batch: Option<Instant>,
    /// The time at which the stream ends, and the reason: `max_age` or the end of a drain.
    end: Option<(Instant, CloseReason)>,
    /// The time at which a failure stops waiting for the last frame.
    failure: Option<Instant>,
}

impl Deadlines {
    /// Starts a batch that is held back for `linger`, unless a batch has already started.
    pub(super) fn hold_batch(&mut self, now: Instant, linger: Duration) {
        if self.batch.is_none() {
            self.batch = now.checked_add(linger);
        }
    }

    /// Ends the batch, because it was sent.
    pub(super) fn end_batch(&mut self) {
        self.batch = None;
    }

    /// Sets the end of the stream, unless an earlier one is already set.
    pub(super) fn end_at(&mut self, at: Instant, reason: CloseReason) {
        if self.end.is_none_or(|(earlier, _)| at < earlier) {
            self.end = Some((at, reason));
        }
    }

    /// Returns whether the stream has an end, so that the clock needs to be read.
    pub(super) fn has_end(&self) -> bool {
        self.end.is_some()
    }

    /// Returns the reason for the end of the stream, if that time has come.
    pub(super) fn ended(&self, now: Instant) -> Option<CloseReason> {
        let (at, reason) = self.end?;
        (at <= now).then_some(reason)
    }

    /// Returns the time until which a failure waits for the last frame.
    ///
    /// It is [`MAX_FAILURE_WAIT`] after the first call, or the end of a drain if that is earlier.
    pub(super) fn failure(&mut self, now: Instant, drained_at: Option<Instant>) -> Instant {
        let until = *self.failure.get_or_insert_with(|| now + MAX_FAILURE_WAIT);
        drained_at.map_or(until, |drained_at| drained_at.min(until))
    }

    /// Returns the earlier of the end of the batch and the end of the stream.
    pub(super) fn next(&self) -> Option<Instant> {
        let end = self.end.map(|(at, _)| at);
        [self.batch, end].into_iter().flatten().min()
    }
}

/// The default keep-alive. A static, so that `IdleTimer::policy` can return a reference.
static DEFAULT: KeepAlive = KeepAlive::new();

/// The longest time that an error or a panic waits for the connection to write the frame before it.
///
/// A client that has read nothing for this long is assumed to be lost.
const MAX_FAILURE_WAIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_keep_alive_is_due_after_a_full_interval() {
        let start = Instant::now();
        let mut idle = IdleTimer::new(KeepAlive::new().interval(10 * SECOND));
        assert_eq!(idle.keep_alive(start + 99 * SECOND), None);

        idle.restart(start);
        assert_eq!(idle.due(), Some(start + 10 * SECOND));
        assert_eq!(idle.keep_alive(start + 10 * SECOND - MILLI), None);
        assert_eq!(idle.keep_alive(start + 10 * SECOND).unwrap(), ":\n");

        idle.restart(start + 9 * SECOND);
        assert_eq!(idle.keep_alive(start + 18 * SECOND), None);
    }

    #[test]
    fn a_keep_alive_beyond_the_clock_is_never_due() {
        let mut idle = IdleTimer::new(KeepAlive::new().interval(Duration::MAX));
        idle.restart(Instant::now());
        assert_eq!(idle.due(), None);
    }

    #[test]
    fn a_batch_is_held_from_its_first_event() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        deadlines.hold_batch(start, SECOND);
        deadlines.hold_batch(start + SECOND / 2, SECOND);
        assert_eq!(deadlines.next(), Some(start + SECOND));
        deadlines.end_batch();
        assert_eq!(deadlines.next(), None);
        deadlines.hold_batch(start, Duration::MAX);
        assert_eq!(deadlines.next(), None, "the time is too long for the clock");
    }

    #[test]
    fn the_earliest_end_wins() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        assert!(!deadlines.has_end());
        assert_eq!(deadlines.ended(start), None);

        deadlines.end_at(start + 2 * SECOND, CloseReason::MaxAge);
        deadlines.end_at(start + 3 * SECOND, CloseReason::Shutdown);
        assert!(deadlines.has_end());
        assert_eq!(deadlines.ended(start + 2 * SECOND - MILLI), None);
        let ended = deadlines.ended(start + 2 * SECOND);
        assert_eq!(ended, Some(CloseReason::MaxAge));

        deadlines.end_at(start + SECOND, CloseReason::Shutdown);
        assert_eq!(deadlines.next(), Some(start + SECOND));
        let ended = deadlines.ended(start + SECOND);
        assert_eq!(ended, Some(CloseReason::Shutdown));
    }

    #[test]
    fn the_next_deadline_is_the_earlier_of_batch_and_end() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        deadlines.end_at(start + 2 * SECOND, CloseReason::MaxAge);
        deadlines.hold_batch(start, SECOND);
        assert_eq!(deadlines.next(), Some(start + SECOND));
        deadlines.end_batch();
        assert_eq!(deadlines.next(), Some(start + 2 * SECOND));
    }

    #[test]
    fn a_failure_waits_ten_seconds_from_its_first_poll_or_until_the_end_of_a_drain() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.failure(start, None), start + MAX_FAILURE_WAIT);
        let later = start + 3 * SECOND;
        assert_eq!(deadlines.failure(later, None), start + MAX_FAILURE_WAIT);
        let drained_at = start + 4 * SECOND;
        assert_eq!(deadlines.failure(later, Some(drained_at)), drained_at);
        let drained_at = start + 40 * SECOND;
        let until = deadlines.failure(later, Some(drained_at));
        assert_eq!(until, start + MAX_FAILURE_WAIT);
    }
}
