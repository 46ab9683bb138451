//! The bytes that are sent when a stream is idle, and the interval.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use crate::wire::{EncodedEvent, Event, OPENING, comment_block};

/// What is sent when a stream is idle, and how soon. On by default: `:` and LF after 15 s.
///
/// It keeps proxies from cutting the connection (nginx does after 60 s of silence), and lets a
/// server find out that a client is gone where no end of the connection tells. It is written
/// between events only, and only after a full interval in which nothing was sent.
///
/// The default is a comment **line** without an empty line after it, because the fewest clients
/// fail on it: none of the nine that the [tests](crate#clients) run. For a comment block two of
/// them dispatch an empty message, and openai-python fails; an event is a chunk without choices to
/// the clients of OpenAI. The line makes go-sse fail after 64 KiB of comments with no event
/// between them, which at 15 s are more than five days; for it there is
/// [`comment_block`](Self::comment_block).
///
/// ```
/// use std::time::Duration;
/// use http_sse::{KeepAlive, Sse};
///
/// # let source = futures_util::stream::empty::<http_sse::Event>;
/// Sse::new(source()).keep_alive(KeepAlive::new().interval(Duration::from_secs(30)));
/// Sse::new(source()).keep_alive(None); // none at all
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    interval: Duration,
    pub(super) bytes: Bytes,
}

impl KeepAlive {
    /// The interval unless another is set: 15 s, as the standard advises (9.2.7).
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

    /// An empty comment line after 15 s.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            interval: Self::DEFAULT_INTERVAL,
            bytes: OPENING,
        }
    }

    /// Sets how long nothing must have been sent; at least 1 ms, shorter ones are taken as that.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sends this comment, as lines without an empty line after them.
    #[must_use]
    pub fn comment(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.event(Event::new().comment(text))
    }

    /// Sends this comment as a block: with an empty line after it.
    #[must_use]
    pub fn comment_block(mut self, text: &str) -> Self {
        self.bytes = comment_block(text);
        self
    }

    /// Sends this event, for clients that want to see keep-alives. Give it data: two clients of
    /// OpenAI's fail on an event that has only a type.
    #[must_use]
    pub fn event(mut self, event: impl Into<EncodedEvent>) -> Self {
        self.bytes = event.into().into_bytes();
        self
    }

    /// Returns the silence after which a keep-alive is sent.
    #[must_use]
    pub const fn as_interval(&self) -> Duration {
        self.interval
    }

    /// Returns the bytes of one keep-alive.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_are_these_bytes() {
        assert_eq!(KeepAlive::new().bytes, ":\n");
        assert_eq!(
            KeepAlive::new().comment("idle\nstill").bytes,
            ": idle\n: still\n"
        );
        assert_eq!(KeepAlive::new().comment("").bytes, ":\n");
        assert_eq!(KeepAlive::new().comment_block("").bytes, ":\n\n");
        assert_eq!(KeepAlive::new().comment_block("a").bytes, ": a\n\n");
        assert_eq!(KeepAlive::new().event(Event::data("")).bytes, "data: \n\n");
        assert_eq!(KeepAlive::new().event(Event::new()).bytes, ":\n");
        assert_eq!(
            KeepAlive::new().interval(Duration::ZERO).interval,
            Duration::from_millis(1)
        );
    }
}
