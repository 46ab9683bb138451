//! The place of a subscription of a single topic.

use std::{sync::Arc, task::Waker};

use super::{
    position::Position,
    read::{Left, Mark, Read},
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

    /// Reads the next events after `mark`, up to `limit` if there is one, and moves `mark`.
    #[inline]
    pub(super) fn read(
        &self,
        hub: &Shared,
        mark: &mut Mark,
        limit: Option<Position>,
        waker: &Waker,
    ) -> Read {
        // Cloned and dropped without the lock, because both run foreign code.
        let waker = waker.clone();
        let left = Left::new(&waker, 0);
        let _replaced;
        let Some(mut state) = hub.lock_in(&self.topic, mark.generation) else {
            return Read::Lost;
        };
        if state.closed_epoch > self.epoch {
            return Read::Closed;
        }
        if state.loses_since(self.epoch, mark.after) {
            return Read::Lost;
        }
        if state.epoch != self.epoch {
            return Read::Finished; // the topic was finished, and began anew
        }
        let upto = limit.unwrap_or(Position::MAX);
        let read = match state.read(mark.after, upto) {
            Ok(read) => read,
            Err(Several) => hub.read_joined(&self.topic, &mut state, mark.after, upto),
        };
        // Asked under the lock: if the hub is closed after this, the closing thread finds the waker.
        let is_over = hub.order.is_closed() || state.finish.is_some();
        let Some((last, events)) = read else {
            if is_over && !state.has_more(mark.after) {
                return Read::Finished;
            }
            _replaced = state.seats.arm_with(self.seat, waker);
            return Read::Nothing(Some(left.at(self.topic.version())));
        };
        mark.after = last;
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

    /// Waits for something new after `mark`. Returns `None` if there is something already.
    pub(super) fn wait(&self, hub: &Shared, mark: Mark, waker: &Waker) -> Option<Left> {
        let waker = waker.clone();
        let left = Left::new(&waker, 0);
        let _replaced;
        let mut state = hub.lock_in(&self.topic, mark.generation)?;
        let is_over = hub.order.is_closed() || state.finish.is_some() || state.epoch != self.epoch;
        if is_over || state.has_more(mark.after) || state.loses(mark.after) {
            return None;
        }
        _replaced = state.seats.arm_with(self.seat, waker);
        Some(left.at(self.topic.version()))
    }

    /// Moves `after` before the newest event. Returns the position of the newest event, and the
    /// number of items between.
    pub(super) fn skip_and_count(&mut self, hub: &Shared, after: &mut Position) -> (Position, u64) {
        let mut state = hub.lock(&self.topic);
        let Some((newest, skipped)) = state.skip_and_count(*after, &mut self.seen) else {
            return (*after, 0);
        };
        *after = newest.before();
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
