//! The additions to a topic, and the removal of its history.

use std::task::Waker;

use super::{item::Item, position::Position, shared::Shared, topic::Finish, waiting::Waiting};
use crate::wake::wake_all;

/// An entry to add to a topic.
pub(super) enum Addition {
    Item(Item),
    /// The end of the topic.
    Finish,
    /// The removal of the history.
    Remove,
}

/// The result of [`Shared::add`].
pub(super) enum Added {
    /// The entry has this position and this size in bytes. These wait for it.
    New(Position, usize, Waiting),
    /// An event with the same idempotency key is in the history.
    Before(Position),
    /// The topic is finished.
    Finished,
    Closed,
}

impl Shared {
    /// Adds an entry to a topic, at the next position or at `at`.
    pub(super) fn add(&self, name: &str, addition: Addition, at: Option<Position>) -> Added {
        let now = self.now();
        self.with_topic(name, |topic, state| {
            if let Addition::Item(item) = &addition {
                let key = item.idempotency_key();
                if let Some(at) = key.and_then(|key| state.history.written(key)) {
                    return Added::Before(at);
                }
            }
            if let Some(finish) = &state.finish {
                if at.is_none() && !finish.is_over {
                    return Added::Finished;
                }
                // Two servers may have finished it.
                if finish.is_over || !matches!(addition, Addition::Finish) {
                    self.restart(state);
                }
            }
            let Ok(at) = self.order.give(at) else {
                return Added::Closed;
            };
            let mut bytes = 0;
            match addition {
                Addition::Item(item) => {
                    let stored = item.store(at, now);
                    bytes = stored.events.len();
                    state.push(stored, self.limits);
                }
                Addition::Finish if state.finish.is_none() => {
                    state.finish = Some(Finish::new(at, now));
                    self.finished(topic.clone(), at);
                }
                Addition::Finish => {}
                Addition::Remove => state.remove(),
            }
            Added::New(at, bytes, Waiting::take(topic, state))
        })
    }

    /// Completes an addition: signals it to the listeners, and then lets everybody read up to it.
    /// Returns the wakers to wake.
    ///
    /// The order matters. A reader of several topics that may read up to an event must have its
    /// signal already.
    pub(super) fn complete(&self, at: Position, waiting: Waiting) -> Vec<Waker> {
        let mut wakers = waiting.signal();
        wakers.append(&mut self.order.added(at));
        wakers
    }

    /// Drops the history of a topic, which may be finished. Returns whether there was one.
    pub(super) fn remove(&self, name: &str) -> bool {
        let Some(topic) = self.topics.get(name) else {
            self.topics.begin_anew(name);
            return false;
        };
        let mut state = self.lock(&topic);
        let had_history = !state.history.is_empty() || state.finish.is_some();
        state.remove();
        self.restart(&mut state);
        // An event that is added now has no seats to signal, so it is complete after these signals.
        let held = self.order.hold();
        let waiting = Waiting::take(&topic, &mut state);
        self.tidy(&topic, state);
        wake_all(self.complete(held, waiting));
        had_history
    }
}
