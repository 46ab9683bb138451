//! The position of an event in the order of a hub.

use std::{error::Error, fmt, str::FromStr};

use crate::wire::EventId;

/// The position of an event in the order of a hub, over all its topics. It is sent as the event's
/// id.
///
/// Its text is `hi-lo`: two decimal numbers of 64 bits without leading zeros, of at most 41 bytes
/// together. `hi` identifies the hub or the log. `lo` counts its events from 1, and 0 is the
/// position before the first event.
///
/// ```
/// use http_sse::hub::Position;
///
/// let position: Position = "7-41".parse()?;
/// assert_eq!(position, Position::new(7, 41));
/// assert!(position < Position::new(7, 42) && position < Position::new(8, 0));
/// assert_eq!(position.to_string(), "7-41");
/// assert!("7-041".parse::<Position>().is_err());
/// # Ok::<(), http_sse::hub::InvalidPosition>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    hi: u64,
    lo: u64,
}

impl Position {
    /// Creates the position `hi-lo`.
    #[must_use]
    pub const fn new(hi: u64, lo: u64) -> Self {
        Self { hi, lo }
    }

    /// Returns the number that identifies the hub or the log.
    #[must_use]
    pub const fn hi(self) -> u64 {
        self.hi
    }

    /// Returns the number of the event, which counts from 1.
    #[must_use]
    pub const fn lo(self) -> u64 {
        self.lo
    }

    /// Returns the position directly before this one.
    pub(super) const fn before(self) -> Self {
        match self.lo.checked_sub(1) {
            Some(lo) => Self { hi: self.hi, lo },
            None => Self {
                hi: self.hi.saturating_sub(1),
                lo: u64::MAX,
            },
        }
    }

    /// The greatest position.
    pub(super) const MAX: Self = Self::new(u64::MAX, u64::MAX);
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.hi, self.lo)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    /// Parses the text that `Display` writes.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidPosition`] for any other text, such as one with leading zeros or signs.
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let number = |digits: &str| {
            let digits_only = digits.bytes().all(|byte| byte.is_ascii_digit());
            let leads_with_zero = digits.len() > 1 && digits.starts_with('0');
            if !digits_only || leads_with_zero {
                return Err(InvalidPosition);
            }
            digits.parse().map_err(|_| InvalidPosition)
        };
        let (hi, lo) = text.split_once('-').ok_or(InvalidPosition)?;
        Ok(Self::new(number(hi)?, number(lo)?))
    }
}

impl From<Position> for EventId {
    fn from(position: Position) -> Self {
        Self::new(position.to_string()).expect("digits and a hyphen are legal in an id")
    }
}

/// The error of a text that is not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidPosition;

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller's text is not a position of the form `hi-lo`")
    }
}

impl Error for InvalidPosition {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_exactly_one_text() {
        let max = format!("{0}-{0}", u64::MAX);
        assert_eq!(max.len(), 41);
        for text in ["0-0", "1-10", &max] {
            assert_eq!(text.parse::<Position>().unwrap().to_string(), text);
        }
        let garbage = [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "01-2",
            "1-02",
            "+1-2",
            "1-+2",
            " 1-2",
            "1-2 ",
            "1--2",
            "a-1",
            "1-\u{661}",
            "18446744073709551616-0",
            "0-18446744073709551616",
        ];
        for text in garbage {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition), "{text:?}");
        }
        assert!("9".repeat(1 << 20).parse::<Position>().is_err());
        assert!(
            format!("1-{}", "9".repeat(1 << 20))
                .parse::<Position>()
                .is_err()
        );
    }
}
