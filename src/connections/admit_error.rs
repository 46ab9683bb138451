//! The error of a client that exceeds a limit.

use std::{error::Error, fmt, time::Duration};

use http::StatusCode;

/// The error of [`Connections::admit`](super::Connections::admit) when a limit is reached.
///
/// It converts into the [`Sse`](crate::Sse) that refuses the client. The status is `503` if the
/// server is full and `429` if the key is. Both responses have a `retry-after` header, and neither
/// has a body. An `EventSource` does not reconnect after either status (9.2.3 of the standard).
/// A client that uses `fetch` can read the header and try again.
///
/// In every framework that has a feature it is also a response of its own, so a handler may return
/// `Result<Sse<_>, AdmitError>` and use `?`.
///
/// ```
/// use futures_util::{Stream, stream};
/// use http_sse::{Connections, Event, Sse};
///
/// fn feed(connections: &Connections, user: &str) -> Sse<impl Stream<Item = Event> + use<>> {
///     match connections.admit(user) {
///         Err(full) => full.into(),
///         Ok(permit) => Sse::new(stream::pending()).permit(permit),
///     }
/// }
///
/// let connections = Connections::new().max_per_key(1);
/// let first = feed(&connections, "a").into_response();
/// let second = feed(&connections, "a").into_response();
/// assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 429));
/// assert_eq!(second.headers()["retry-after"], "5");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmitError {
    by: FullBy,
    retry_after: Duration,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FullBy {
    Server,
    Key,
}

impl AdmitError {
    pub(crate) const fn new(by: FullBy, retry_after: Duration) -> Self {
        Self { by, retry_after }
    }

    /// Returns whether the key is full, rather than the whole server.
    #[must_use]
    pub fn is_by_key(&self) -> bool {
        self.by == FullBy::Key
    }

    /// Returns the status of the response: `429` if the key is full, and `503` if the server is.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.by {
            FullBy::Server => StatusCode::SERVICE_UNAVAILABLE,
            FullBy::Key => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Returns the time after which the client may try again.
    ///
    /// The header `retry-after` has it in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            FullBy::Server => "the server has reached its limit of open streams",
            FullBy::Key => "the client has reached its limit of open streams",
        })
    }
}

impl Error for AdmitError {}
