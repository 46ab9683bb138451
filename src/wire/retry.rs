//! The reconnection time. Every value is legal on the wire.

use std::{error::Error, fmt, num::NonZeroU32, time::Duration};

/// A reconnection time, the `retry` field: 1 to 2147483647 milliseconds.
///
/// Clients misread other values. Node clients wait 1 ms for zero and for longer times. Firefox wraps
/// around for longer times. Firefox also never waits less than 500 ms.
///
/// ```
/// use std::time::Duration;
/// use http_sse::{EncodedEvent, Event, Retry};
///
/// let retry = Retry::new(Duration::from_secs(3))?;
/// assert_eq!(EncodedEvent::from(Event::data("x").retry(retry)), "retry: 3000\ndata: x\n\n");
/// assert!(Retry::new(Duration::from_millis(2_147_483_648)).is_err());
/// # Ok::<(), http_sse::InvalidRetry>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retry(
    /// Milliseconds, at most `i32::MAX`.
    NonZeroU32,
);

impl Retry {
    /// The shortest reconnection time: 1 ms.
    pub const MIN: Self = Self::from_millis(1);

    /// The longest reconnection time: 2147483647 ms, almost 25 days.
    pub const MAX: Self = Self::from_millis(2_147_483_647);

    /// Creates a reconnection time from a literal, in milliseconds.
    ///
    /// # Panics
    ///
    /// Panics if `millis` is not in 1 to 2147483647. In a `const`, this is a compile error. For a
    /// time that is known only at run time, use [`Retry::new`].
    #[must_use]
    pub const fn from_millis(millis: u32) -> Self {
        match Self::checked(millis) {
            Some(retry) => retry,
            None => panic!("a reconnection time is 1 to 2147483647 ms"),
        }
    }

    /// Creates a reconnection time. Fractions of a millisecond are dropped.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidRetry`] if `time` in whole milliseconds is not in 1 to 2147483647.
    pub fn new(time: Duration) -> Result<Self, InvalidRetry> {
        u32::try_from(time.as_millis())
            .ok()
            .and_then(Self::checked)
            .ok_or(InvalidRetry(time))
    }

    /// Returns the reconnection time that is nearest to `time`.
    pub(crate) fn saturating(time: Duration) -> Self {
        Self::new(time).unwrap_or(if time < Duration::from_millis(1) {
            Self::MIN
        } else {
            Self::MAX
        })
    }

    /// Returns the time in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u32 {
        self.0.get()
    }

    const fn checked(millis: u32) -> Option<Self> {
        match NonZeroU32::new(millis) {
            Some(known) if millis <= i32::MAX as u32 => Some(Self(known)),
            _ => None,
        }
    }
}

impl TryFrom<Duration> for Retry {
    type Error = InvalidRetry;

    fn try_from(time: Duration) -> Result<Self, InvalidRetry> {
        Self::new(time)
    }
}

/// The error for a time that is not a [reconnection time](Retry): 1 to 2147483647 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRetry(
    /// The rejected time.
    pub Duration,
);

impl fmt::Display for InvalidRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the caller's `retry` of {} ms is not in 1 to 2147483647 ms",
            self.0.as_secs_f64() * 1e3
        )
    }
}

impl Error for InvalidRetry {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_out_of_bounds_are_rejected_or_clamped() {
        let of = |millis| Retry::new(Duration::from_millis(millis));
        assert_eq!(of(0), Err(InvalidRetry(Duration::ZERO)));
        assert_eq!(of(1), Ok(Retry::MIN));
        assert_eq!(of(2_147_483_647), Ok(Retry::MAX));
        assert!(of(2_147_483_648).is_err());
        assert!(of(u64::from(u32::MAX) + 2).is_err());
        assert!(Retry::new(Duration::MAX).is_err());
        assert_eq!(Retry::saturating(Duration::ZERO), Retry::MIN);
        assert_eq!(Retry::saturating(Duration::MAX), Retry::MAX);
    }
}
