//! The reconnection time. A value that exists is legal.

use std::{error::Error, fmt, num::NonZeroU32, time::Duration};

/// A reconnection time, the `retry` field: 1 to 2147483647 milliseconds.
///
/// Zero and more than that are no use: Node clients wait 1 ms, and Firefox wraps around. Firefox
/// waits 500 ms at least, whatever it is told.
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
    /// In milliseconds.
    NonZeroU32,
);

impl Retry {
    /// The shortest, 1 ms.
    pub const MIN: Self = Self::from_millis(1);

    /// The longest, 2147483647 ms: almost 25 days.
    pub const MAX: Self = Self::from_millis(2_147_483_647);

    /// A reconnection time from a literal, in milliseconds.
    ///
    /// # Panics
    ///
    /// If `millis` is not in 1 to 2147483647; in a `const` that is an error of the compiler. For
    /// a time that is known only when the program runs there is [`Retry::new`].
    #[must_use]
    pub const fn from_millis(millis: u32) -> Self {
        match Self::checked(millis) {
            Some(retry) => retry,
            None => panic!("a reconnection time is 1 to 2147483647 ms"),
        }
    }

    /// A reconnection time; parts of a millisecond are dropped.
    ///
    /// # Errors
    ///
    /// [`InvalidRetry`] if `time` is not in 1 to 2147483647 ms.
    pub fn new(time: Duration) -> Result<Self, InvalidRetry> {
        u32::try_from(time.as_millis())
            .ok()
            .and_then(Self::checked)
            .ok_or(InvalidRetry(time))
    }

    /// The reconnection time nearest to `time`.
    pub(crate) fn saturating(time: Duration) -> Self {
        Self::new(time).unwrap_or(if time < Duration::from_millis(1) {
            Self::MIN
        } else {
            Self::MAX
        })
    }

    /// The time in milliseconds.
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

/// A time that cannot be a [reconnection time](Retry): not in 1 to 2147483647 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidRetry(
    /// The time that was refused.
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
    fn a_reconnection_time_has_its_bounds() {
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
