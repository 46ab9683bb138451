//! The error of a publish.

use std::{convert::Infallible, error::Error, fmt};

use super::log::AppendError;
use crate::wire::EncodeEventError;

/// Why an event was not published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError<E = Infallible> {
    /// The item could not be encoded.
    Encode(E),
    /// The item wrote nothing or more than one event. Only a [`DistributedHub`](super::DistributedHub) returns it.
    NotOneEvent,
    /// The log of a [`DistributedHub`](super::DistributedHub) has not taken it, or may not have.
    Append(AppendError),
    /// The hub is closed.
    Closed,
}

impl<E: fmt::Display> fmt::Display for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::NotOneEvent => f.write_str("the item wrote nothing or more than one event"),
            Self::Append(error) => error.fmt(f),
            Self::Closed => f.write_str("the hub was closed by its owner"),
        }
    }
}

impl<E: Error> Error for PublishError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => error.source(),
            Self::Append(error) => Some(error),
            Self::NotOneEvent | Self::Closed => None,
        }
    }
}

impl<E> From<EncodeEventError<E>> for PublishError<E> {
    fn from(error: EncodeEventError<E>) -> Self {
        match error {
            EncodeEventError::Encode(error) => Self::Encode(error),
            EncodeEventError::NotOneEvent => Self::NotOneEvent,
        }
    }
}
