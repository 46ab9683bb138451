//! The refusal of a client for whom there is no room.

use std::{error::Error, fmt, time::Duration};

use http::StatusCode;

/// No room for a stream. It turns into the [`Sse`](crate::Sse) that says so, by `into`: `503` if
/// the server is full, which tells an `EventSource` not to come back as the standard asks of a
/// server without capacity, and `429` if the key is, each with `retry-after`.
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

/// What has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FullBy {
    Server,
    Key,
}

impl AdmitError {
    pub(crate) const fn new(by: FullBy, retry_after: Duration) -> Self {
        Self { by, retry_after }
    }

    /// Whether it is the key that has no room, and not the whole server.
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

    /// When to try again.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl fmt::Display for AdmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.by {
            FullBy::Server => "the server has as many streams as it may",
            FullBy::Key => "the client has as many streams as it may",
        })
    }
}

impl Error for AdmitError {}
