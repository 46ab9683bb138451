//! The keep-alive: the bytes that are sent on an idle stream, and the interval.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use crate::wire::{EncodedEvent, Event, OPENING, comment_block};

/// The bytes that are sent on an idle stream, and the interval after which they are sent.
///
/// By default, a stream sends an empty comment line (`:` and LF) after 15 s. A keep-alive is sent
/// only between events, and only if nothing was sent for a full interval. The interval restarts
/// when the connection takes a frame.
///
/// Keep-alives prevent proxies from closing an idle connection, which nginx does after 60 s by
/// default. They also let the server notice a lost client whose connection was not closed.
///
/// # Choosing a form
///
/// The default is a comment **line**, without an empty line after it. All nine clients of the
/// [tests](crate::guide::clients_and_proxies) accept it. Other forms break some of them:
///
/// - **A comment block** is a line with an empty line after it. Two clients dispatch an empty
///   message for it, and openai-python fails.
/// - **An event** is a chunk without choices to OpenAI's clients.
///
/// go-sse fails after 64 KiB of comment lines without an event between them. At 2 bytes per 15 s,
/// this takes more than five days. Use [`comment_block`](Self::comment_block) for go-sse.
///
/// # Runtime
///
/// The interval needs a tokio runtime with time enabled. Without one, the body panics when it
/// waits, unless the keep-alive is turned off with `Sse::keep_alive(None)`.
///
/// ```
/// use std::time::Duration;
/// use http_sse::{KeepAlive, Sse};
///
/// # let source = futures_util::stream::empty::<http_sse::Event>;
/// Sse::new(source()).keep_alive(KeepAlive::new().interval(Duration::from_secs(30)));
/// Sse::new(source()).keep_alive(None); // no keep-alive
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    interval: Duration,
    pub(super) bytes: Bytes,
}

impl KeepAlive {
    /// The default interval: 15 s, as section 9.2.7 of the HTML standard recommends.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);

    /// Creates the default keep-alive: an empty comment line after 15 s.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            interval: Self::DEFAULT_INTERVAL,
            bytes: OPENING,
        }
    }

    /// Sets the time without a sent frame after which a keep-alive is sent.
    ///
    /// A time below 1 ms becomes 1 ms. A time that is too long for the clock, such as
    /// [`Duration::MAX`], means that no keep-alive is ever sent.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Duration::from_millis(1));
        self
    }

    /// Sets the keep-alive to this comment, as lines without an empty line after them.
    #[must_use]
    pub fn comment(self, text: impl Into<Cow<'static, str>>) -> Self {
        self.event(Event::new().comment(text))
    }

    /// Sets the keep-alive to this comment, as a block: with an empty line after it.
    #[must_use]
    pub fn comment_block(mut self, text: &str) -> Self {
        self.bytes = comment_block(text);
        self
    }

    /// Sets the keep-alive to this event, for clients that need to see keep-alives.
    ///
    /// The event should have data, because two of OpenAI's clients fail on an event with only an
    /// event type.
    #[must_use]
    pub fn event(mut self, event: impl Into<EncodedEvent>) -> Self {
        self.bytes = event.into().into_bytes();
        self
    }

    /// Returns the time without a sent frame after which a keep-alive is sent.
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
    fn each_form_has_its_bytes_and_the_interval_its_minimum() {
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
