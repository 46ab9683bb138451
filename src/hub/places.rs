//! The places of a subscription, of one topic or of several.

use std::{sync::Arc, task::Waker};

use super::{
    many::Many,
    one::One,
    position::Position,
    read::{Left, Mark, Read},
    replay::Replay,
    shared::Shared,
    topic::{Topic, TopicState},
};

/// The places of a subscription in its topics. Most subscriptions have one topic, whose place needs
/// no allocation.
pub(super) enum Places {
    One(One),
    Many(Box<Many>),
}

impl Places {
    /// Takes seats in some topics. Returns also the position up to which the subscription has nothing
    /// to read, and wakers to wake.
    pub(super) fn join(hub: &Shared, names: &[&str]) -> (Self, Position, Vec<Waker>) {
        if let [name] = names {
            let (one, after, wakers) = One::join(hub, name);
            return (Self::One(one), after, wakers);
        }
        let (many, after, wakers) = Many::join(hub, names);
        (Self::Many(Box::new(many)), after, wakers)
    }

    /// Turns the place of a single topic, which was read up to `after`, into one of several. Returns also
    /// wakers to wake.
    pub(super) fn make_many(&mut self, hub: &Shared, after: Position) -> (&mut Many, Vec<Waker>) {
        let mut wakers = Vec::new();
        if let Self::One(one) = self {
            let (many, left) = Many::replace(one, hub, after);
            *self = Self::Many(Box::new(many));
            wakers = left;
        }
        match self {
            Self::Many(many) => (many, wakers),
            Self::One(_) => unreachable!("a place of one topic was turned into one of several"),
        }
    }

    /// Reads the next events after `mark`, up to `limit` if there is one, and moves `mark`.
    pub(super) fn read(
        &mut self,
        hub: &Shared,
        mark: &mut Mark,
        limit: Option<Position>,
        waker: &Waker,
    ) -> Read {
        match self {
            Self::One(one) => one.read(hub, mark, limit, waker),
            Self::Many(many) => many.read(hub, mark, limit, waker),
        }
    }

    /// Waits for something new. Returns `None` if there is something already.
    pub(super) fn wait(&self, hub: &Shared, mark: Mark, waker: &Waker) -> Option<Option<Left>> {
        match self {
            Self::One(one) => one.wait(hub, mark, waker).map(Some),
            Self::Many(many) => many.wait_for_news(hub, waker),
        }
    }

    /// Returns the version that a stored waker is compared with.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        match self {
            Self::One(one) => one.topic.version(),
            Self::Many(many) => many.listener.version(),
        }
    }

    /// Waits for a change of the topics while `replay` reads the log for them. Returns `false` if the
    /// subscription was disconnected from all.
    pub(super) fn watch(
        &mut self,
        hub: &Shared,
        after: Position,
        replay: &mut Replay,
        waker: &Waker,
    ) -> bool {
        match self {
            Self::One(one) => one.watch(hub, waker),
            Self::Many(many) => {
                let has_changed = many.watch(hub, after, waker);
                if has_changed {
                    replay.keep_only(many.list.wanted(hub));
                }
                !(has_changed && many.is_disconnected(hub))
            }
        }
    }

    /// Goes on with the history, after events were read from the log.
    pub(super) fn resume(&mut self) {
        if let Self::Many(many) = self {
            many.resume();
        }
    }

    /// Starts again, at the position of the subscription.
    pub(super) fn start_again(&mut self) {
        if let Self::Many(many) = self {
            many.start_again();
        }
    }

    /// Starts before the last events of all topics together. Returns the position up to which the
    /// subscription has nothing to read.
    pub(super) fn start_before_last(&mut self, hub: &Shared, events: usize) -> Position {
        match self {
            Self::One(one) => one.before_last(hub, events),
            Self::Many(many) => {
                many.list.start_before_last(hub, events);
                Position::default()
            }
        }
    }

    /// Starts before the first event of each topic. Returns the position up to which the subscription
    /// has nothing to read.
    pub(super) fn start_before_first(&mut self, hub: &Shared) -> Position {
        match self {
            Self::One(one) => hub.lock(&one.topic).beginning(),
            Self::Many(many) => {
                many.list.start_at(hub, TopicState::beginning);
                Position::default()
            }
        }
    }

    /// Skips to the newest event of each topic after `after`, or of all if it is `None`, and moves
    /// `mark`. Returns `false` if the newest event of a topic was lost. If `all_lost` is set, every
    /// topic without an event counts as such.
    pub(super) fn skip_to_newest(
        &mut self,
        hub: &Shared,
        mark: &mut Mark,
        after: Option<Position>,
        all_lost: bool,
    ) -> bool {
        let from = after.unwrap_or_default();
        match self {
            Self::One(one) => {
                let newest = hub.lock(&one.topic).before_newest(from, all_lost);
                mark.after = newest.unwrap_or(mark.after);
                newest.is_some()
            }
            Self::Many(many) => {
                mark.after = from;
                many.list.skip_to_newest(hub, after, all_lost)
            }
        }
    }

    /// Skips to the newest event of each topic after `mark`. Returns the position up to which they are
    /// read, and the number of items between.
    pub(super) fn skip_and_count(&mut self, hub: &Shared, mark: &mut Mark) -> (Position, u64) {
        match self {
            Self::One(one) => one.skip_and_count(hub, &mut mark.after),
            Self::Many(many) => {
                let complete = hub.order.complete();
                (complete, many.skip_and_count(hub, mark.after))
            }
        }
    }

    /// Returns the topics that are not over and that `is_wanted` selects. It is called with the position
    /// after which the subscription wants events of the topic, or with 0-0.
    pub(super) fn topics(&self, is_wanted: impl Fn(&Topic, Position) -> bool) -> Vec<Arc<Topic>> {
        match self {
            Self::One(one) if is_wanted(&one.topic, Position::default()) => {
                vec![one.topic.clone()]
            }
            Self::One(_) => Vec::new(),
            Self::Many(many) => {
                let open = many.list.iter().filter(|place| !place.is_over);
                let wanted = open.filter(|place| is_wanted(&place.topic, place.from));
                wanted.map(|place| place.topic.clone()).collect()
            }
        }
    }

    /// Returns whether there are topics, and all are finished and their histories were dropped.
    pub(super) fn are_over(&self, hub: &Shared) -> bool {
        let is_over = |topic| {
            let state = hub.lock(topic);
            state.finish.as_ref().is_some_and(|finish| finish.is_over)
        };
        match self {
            Self::One(one) => is_over(&one.topic),
            Self::Many(many) => {
                let mut places = many.list.iter().peekable();
                places.peek().is_some() && places.all(|place| is_over(&place.topic))
            }
        }
    }

    /// Gives up all seats. Returns wakers to wake.
    pub(super) fn leave(&mut self, hub: &Shared) -> Vec<Waker> {
        match self {
            Self::One(one) => one.leave(hub),
            Self::Many(many) => many.leave(hub),
        }
    }
}
