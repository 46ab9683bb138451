//! The place of a subscription in one of its topics.

use std::{sync::Arc, task::Waker};

use super::{
    listener::Listener,
    position::Position,
    shared::Shared,
    topic::{Topic, TopicState},
};

/// The place of a subscription in one of its topics.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) topic: Arc<Topic>,
    pub(super) seat: u32,
    pub(super) epoch: u32,
    /// The subscription wants events of this topic after this position only.
    pub(super) from: Position,
    /// The value of the topic's counter of published events at the last skip, or at the start.
    pub(super) seen: u64,
    /// True if the topic was finished, or its subscriptions were closed.
    pub(super) is_over: bool,
}

/// The outcome of a visit to a topic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Visit {
    /// The position of the first event to read.
    Unread(Position),
    /// There is nothing to read. The seat is armed.
    Armed,
    /// The place is over. The flag is set if the server closed it.
    Over(bool),
}

impl Place {
    /// Takes a seat in a topic for a place of a listener. Returns also wakers to wake.
    pub(super) fn join(
        hub: &Shared,
        name: &str,
        listener: &Arc<Listener>,
        index: u32,
    ) -> (Self, Vec<Waker>) {
        hub.join(name, |topic, state| Self {
            topic: topic.clone(),
            seat: state.seats.join_listener(listener.clone(), index),
            epoch: state.epoch,
            from: state.last().unwrap_or_else(|| state.complete_since()),
            seen: state.counts.published,
            is_over: false,
        })
    }

    /// Looks for the first event to read after `after`. Arms the seat if there is none. The caller has
    /// the lock of the topic.
    pub(super) fn visit(&self, state: &mut TopicState, after: Position) -> Visit {
        let is_ended = state.epoch != self.epoch;
        let first = state.first_after(after.max(self.from));
        let first = first.filter(|_| !is_ended);
        if let Some(first) = first {
            return Visit::Unread(first);
        }
        if is_ended || state.finish.is_some() {
            return Visit::Over(state.closed_epoch > self.epoch);
        }
        state.seats.arm(self.seat);
        Visit::Armed
    }

    /// Gives up the seat. Returns wakers to wake.
    pub(super) fn leave(&self, hub: &Shared) -> Vec<Waker> {
        hub.leave(&self.topic, self.seat)
    }
}
