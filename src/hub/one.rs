//! The place of a subscription of a single topic.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    task::{RawWakerVTable, Waker},
};

use super::{
    encoded_events::EncodedEvents,
    position::Position,
    shared::Shared,
    topic::{Several, Topic},
};

/// The place of a subscription of a single topic.
#[derive(Debug)]
pub(super) struct One {
    pub(super) topic: Arc<Topic>,
    seat: u32,
    pub(super) epoch: u32,
    /// The topic's counter of published events at the last skip, or at the start.
    seen: u64,
}

/// The result of a read by a subscription.
#[derive(Debug)]
pub(super) enum Read {
    /// The events, and the waker if it waits for more already.
    Events(EncodedEvents, Option<Left>),
    /// There are none. The waker waits for them.
    Nothing(Option<Left>),
    /// Events that the subscription has not read are no longer available.
    Lost,
    /// A new generation has begun.
    NewGeneration,
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

impl One {
    /// Takes a seat in a topic. Returns also the position of the last event that was published, and
    /// wakers to wake.
    pub(super) fn join(hub: &Shared, name: &str) -> (Self, Position, Vec<Waker>) {
        let ((one, last), wakers) = hub.join(name, |topic, state| {
            let one = Self {
                topic: topic.clone(),
                seat: state.seats.join(),
                epoch: state.epoch,
                seen: state.counts.published,
            };
            // Every event of the topic with a position that was given is already in it.
            (one, hub.order.last())
        });
        (one, last, wakers)
    }

    /// Reads the next events after `after`, up to `limit` if there is one, and moves `after`.
    #[inline]
    pub(super) fn read(
        &self,
        hub: &Shared,
        generation: u64,
        after: &mut Position,
        limit: Option<Position>,
        waker: &Waker,
    ) -> Read {
        // Cloned and dropped without the lock, because both run foreign code.
        let waker = waker.clone();
        let left = Left::new(&waker, 0);
        let _replaced;
        let Some(mut state) = hub.lock_in(&self.topic, generation) else {
            return Read::NewGeneration;
        };
        if state.closed_epoch > self.epoch {
            return Read::Closed;
        }
        if state.loses_since(self.epoch, *after) {
            return Read::Lost;
        }
        if state.epoch != self.epoch {
            return Read::Finished; // the topic was finished, and began anew
        }
        let upto = limit.unwrap_or(Position::MAX);
        let read = match state.read(*after, upto) {
            Ok(read) => read,
            Err(Several) => hub.read_joined(&self.topic, &mut state, *after, upto),
        };
        // Asked under the lock: if the hub is closed after this, the closing thread finds the waker.
        let is_over = hub.order.is_closed() || state.finish.is_some();
        let Some((last, events)) = read else {
            if is_over && !state.has_more(*after) {
                return Read::Finished;
            }
            _replaced = state.seats.arm_with(self.seat, waker);
            return Read::Nothing(Some(left.at(self.topic.version())));
        };
        *after = last;
        if is_over || state.has_more(last) {
            return Read::Events(events, None);
        }
        _replaced = state.seats.arm_with(self.seat, waker);
        Read::Events(events, Some(left.at(self.topic.version())))
    }

    /// Waits for a change of the topic. Returns `false` if the subscription was disconnected.
    pub(super) fn watch(&self, hub: &Shared, waker: &Waker) -> bool {
        let waker = waker.clone();
        let _replaced;
        let mut state = hub.lock(&self.topic);
        _replaced = state.seats.arm_with(self.seat, waker);
        state.closed_epoch <= self.epoch
    }

    /// Waits for something new after `after`. Returns `None` if there is something already.
    pub(super) fn wait(
        &self,
        hub: &Shared,
        generation: u64,
        after: Position,
        waker: &Waker,
    ) -> Option<Left> {
        let waker = waker.clone();
        let left = Left::new(&waker, 0);
        let _replaced;
        let mut state = hub.lock_in(&self.topic, generation)?;
        let is_over = hub.order.is_closed() || state.finish.is_some() || state.epoch != self.epoch;
        if is_over || state.has_more(after) || state.loses(after) {
            return None;
        }
        _replaced = state.seats.arm_with(self.seat, waker);
        Some(left.at(self.topic.version()))
    }

    /// Returns the position before the newest event after `after`, or `after` if there is none.
    /// Returns `None` if it was lost. If `is_lost` is set, a topic without events has lost it.
    pub(super) fn before_newest(
        &self,
        hub: &Shared,
        after: Position,
        is_lost: bool,
    ) -> Option<Position> {
        let state = hub.lock(&self.topic);
        match state.last().filter(|last| *last > after) {
            Some(newest) => Some(newest.before()),
            None if is_lost || state.has_lost(after) => None,
            None => Some(after.max(state.complete_since())),
        }
    }

    /// Moves `after` before the newest event. Returns the position of the newest event, and the
    /// number of items between.
    pub(super) fn skip_and_count(&mut self, hub: &Shared, after: &mut Position) -> (Position, u64) {
        let mut state = hub.lock(&self.topic);
        let newest = state.last().filter(|last| *last > *after);
        let Some(newest) = newest else {
            return (*after, 0);
        };
        *after = newest.before();
        let published = state.counts.published;
        let skipped = published.saturating_sub(self.seen + 1);
        if skipped > 0 {
            state.counts.losses_mut().skipped += skipped;
        }
        self.seen = published;
        (newest, skipped)
    }

    /// Returns the position before the last events.
    pub(super) fn before_last(&self, hub: &Shared, events: usize) -> Position {
        let state = hub.lock(&self.topic);
        let oldest = state.history.newest_first().take(events).last();
        let end = state.last().unwrap_or_default().max(state.complete_since());
        oldest.map_or(end, |oldest| oldest.at.before().max(state.complete_since()))
    }

    /// Gives up the seat. Returns wakers to wake.
    pub(super) fn leave(&self, hub: &Shared) -> Vec<Waker> {
        hub.leave(&self.topic, self.seat)
    }
}
