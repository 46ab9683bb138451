//! The policy for a subscription that lags.

/// The policy for a subscription that lags, because events were dropped before it read them.
///
/// A subscription that resumes from an expired or unknown id gets a reset under `Reset` and
/// `Disconnect`, and the newest events under `Latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnLag {
    /// Yields one reset event, then the events that are published after it.
    #[default]
    Reset,
    /// Ends the subscription, with [`CloseReason::Lagged`](crate::CloseReason::Lagged). The client
    /// reconnects with its last event ID and gets a reset then.
    ///
    /// A client that has received no event has no id to reconnect with. It gets the reset at once.
    Disconnect,
    /// Yields the newest event of each topic that the client does not have yet. Use it for topics
    /// whose newest event is the whole state.
    ///
    /// A subscription that starts without a last event ID yields the newest events too. If the
    /// newest event of a topic was dropped, the subscription yields a reset instead.
    Latest,
}
