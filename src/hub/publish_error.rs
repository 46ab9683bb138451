//! The error of a publish.

use std::{convert::Infallible, error::Error, fmt};

use super::log::AppendError;
use crate::wire::EncodeEventError;

/// The error of a publish. Except for [`AppendError::Unknown`], nothing was published.
#[derive(Debug)]
#[non_exhaustive]
pub enum PublishError<E = Infallible> {
    /// The item could not be encoded. Holds the item's own error.
    Encode(E),
    /// The item wrote nothing, or wrote more after its first event. Only a
    /// [`DistributedHub`](super::DistributedHub) returns this.
    NotOneEvent,
    /// The log did not store the event, or may not have stored it. Only a
    /// [`DistributedHub`](super::DistributedHub) returns this.
    Append(AppendError),
    /// The topic is [finished](super::Hub::finish).
    Finished,
    /// The hub is [closed](super::Hub::close).
    Closed,
}

impl<E: fmt::Display> fmt::Display for PublishError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::NotOneEvent => EncodeEventError::<E>::NotOneEvent.fmt(f),
            Self::Append(error) => error.fmt(f),
            Self::Finished => f.write_str("the server has finished the topic"),
            Self::Closed => f.write_str("the server has closed the hub"),
        }
    }
}

impl<E: Error> Error for PublishError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Encode(error) => error.source(),
            Self::Append(error) => Some(error),
            Self::NotOneEvent | Self::Finished | Self::Closed => None,
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
