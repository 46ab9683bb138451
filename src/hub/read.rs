//! One read by a subscription: where it begins, and its result.

use std::{
    num::NonZeroUsize,
    task::{RawWakerVTable, Waker},
};

use super::{encoded_events::EncodedEvents, position::Position};

/// The position up to which a subscription has read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) after: Position,
    /// The generation of the hub that `after` belongs to.
    pub(super) generation: u64,
}

/// The result of a read by a subscription.
#[derive(Debug)]
pub(super) enum Read {
    /// The events, and the waker if it waits for more already.
    Events(EncodedEvents, Option<Left>),
    /// There are none. The waker waits for them.
    Nothing(Option<Left>),
    /// Events that the subscription has not read are no longer available, or a new generation has
    /// begun.
    Lost,
    /// The topics are finished, or the hub is closed.
    Finished,
    /// The subscription was closed by the server.
    Closed,
}

/// A stored waker, and the version of its topic or listener at that time.
///
/// While the version is unchanged, nothing was published and the waker is still stored. No other
/// waker can have its address then. So a poll with a waker of that address has nothing to read, and
/// the next publish wakes it. The address is that of the stored clone, because a clone may differ
/// from the waker that the task polls with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    data: usize,
    /// Not zero, so that an `Option` of this is no larger.
    vtable: NonZeroUsize,
    version: u64,
}

impl Left {
    #[inline]
    pub(super) fn new(stored: &Waker, version: u64) -> Self {
        let vtable: *const RawWakerVTable = stored.vtable();
        Self {
            data: stored.data() as usize,
            vtable: NonZeroUsize::new(vtable as usize).unwrap_or(NonZeroUsize::MAX),
            version,
        }
    }

    #[inline]
    pub(super) fn at(self, version: u64) -> Self {
        Self { version, ..self }
    }
}
