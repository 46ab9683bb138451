//! The report about a stream that has ended.

/// The reason for which a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The source had no more items. Also used for a response without a stream (`204`, a refusal,
    /// `HEAD`), and for a body dropped before its first poll.
    End,
    /// The source or an item failed or panicked, or [`Sse::on_error`](crate::Sse::on_error)
    /// panicked. Also used for a subscription that could not read the log of its hub.
    Error,
    /// The stream reached its [`max_age`](crate::Sse::max_age).
    MaxAge,
    /// The server shut down, or its drain time was over. See
    /// [`Connections::shutdown`](crate::Connections::shutdown) and
    /// [`drain`](crate::Connections::drain).
    Shutdown,
    /// The server closed this stream, or disconnected its subscription. See
    /// [`Connections::close`](crate::Connections::close),
    /// [`close_key`](crate::Connections::close_key),
    /// [`close_where`](crate::Connections::close_where) and `Hub::disconnect`.
    ByServer,
    /// The source ended because its client read too slowly. The event of
    /// [`Sse::end_with`](crate::Sse::end_with) is not sent.
    Lagged,
    /// The body was dropped after its first poll and before its end. The client left, or the server
    /// dropped the response. Also used for a permit that was dropped without a body.
    ClientGone,
}

impl CloseReason {
    /// The number of variants.
    pub(crate) const COUNT: usize = Self::ClientGone as usize + 1;

    /// All variants, in the order of their declaration.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::End,
        Self::Error,
        Self::MaxAge,
        Self::Shutdown,
        Self::ByServer,
        Self::Lagged,
        Self::ClientGone,
    ];

    /// Returns the name that metrics and logs use: the name of the variant in snake case, such as
    /// `max_age`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Error => "error",
            Self::MaxAge => "max_age",
            Self::Shutdown => "shutdown",
            Self::ByServer => "by_server",
            Self::Lagged => "lagged",
            Self::ClientGone => "client_gone",
        }
    }
}

/// The reason and the counts of a stream that has ended, for
/// [`Sse::on_close`](crate::Sse::on_close).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// The reason for the end.
    pub reason: CloseReason,
    /// The number of events encoded for the client. It includes the events that the response adds,
    /// such as [`end_with`](crate::Sse::end_with), and events that a client which left did not
    /// receive.
    pub events: u64,
    /// The number of bytes that the connection has taken, including keep-alives.
    pub bytes: u64,
    /// The number of keep-alives that the connection has taken.
    pub keep_alives: u64,
}
