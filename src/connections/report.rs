//! How a stream ended.

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The source had no more items, or the response had no stream: a `204`, a refusal, the method
    /// `HEAD`, or a body that was dropped before its first poll.
    End,
    /// The source, an item or [`Sse::on_error`](crate::Sse::on_error) failed or panicked.
    Error,
    /// The stream was open for its [`max_age`](crate::Sse::max_age).
    MaxAge,
    /// The server shut down, or had drained its streams long enough:
    /// [`Connections::shutdown`](crate::Connections::shutdown) and
    /// [`drain`](crate::Connections::drain).
    Shutdown,
    /// The server closed this stream: [`Connections::close`](crate::Connections::close) and
    /// [`close_where`](crate::Connections::close_where).
    ByServer,
    /// The body was dropped after its first poll and before its end, or a permit without a body
    /// was dropped: the client went away, or the server gave the stream up.
    ClientGone,
}

impl CloseReason {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::ClientGone as usize + 1;

    /// Every one, in their order.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::End,
        Self::Error,
        Self::MaxAge,
        Self::Shutdown,
        Self::ByServer,
        Self::ClientGone,
    ];

    /// Its name in metrics and logs, such as `max_age`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Error => "error",
            Self::MaxAge => "max_age",
            Self::Shutdown => "shutdown",
            Self::ByServer => "closed",
            Self::ClientGone => "client_gone",
        }
    }
}

/// The end of a stream, as [`Sse::on_close`](crate::Sse::on_close) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Why it ended.
    pub reason: CloseReason,
    /// How many events were encoded for the client, [`end_with`](crate::Sse::end_with) and the
    /// like among them. Those that stood in the last frame of a client that went away count too.
    pub events: u64,
    /// How many bytes the connection has taken, keep-alives among them.
    pub bytes: u64,
    /// How many keep-alives the connection has taken.
    pub keep_alives: u64,
}
