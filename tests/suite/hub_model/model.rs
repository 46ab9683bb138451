//! The expected state of a hub.

use http_sse::hub::Position;

use super::{HISTORY, Seen, TOPICS, Topics};

/// The expected state of a hub.
pub(super) struct Model {
    pub(super) head: Position,
    pub(super) topics: Vec<Topic>,
    /// The last position that a removed topic has lost.
    forgotten: Position,
    pub(super) closed: bool,
}

#[derive(Clone, Default)]
pub(super) struct Topic {
    pub(super) events: Vec<(Seen, Option<String>)>,
    subscribers: usize,
    /// The last position that the topic has lost. `None` if the topic does not exist.
    pub(super) lost: Option<Position>,
    /// True if the topic has dropped an event.
    pub(super) has_dropped: bool,
    /// The positions of the events that the topic itself has dropped, and of its ends.
    pub(super) dropped: Vec<Position>,
    /// The position before its first event.
    pub(super) began: Position,
    finished: Option<Position>,
    /// The last position of the run before this one.
    ended: Position,
    /// The number of times that it was finished and began anew.
    pub(super) run: u32,
}

impl Model {
    pub(super) fn new(head: Position) -> Self {
        Self {
            head,
            topics: vec![Topic::default(); TOPICS],
            forgotten: head,
            closed: false,
        }
    }

    pub(super) fn publish(&mut self, topic: usize, at: Position, text: &str, key: Option<String>) {
        self.moves_to(at);
        assert!(!self.is_finished(topic));
        self.create(topic);
        let topic = &mut self.topics[topic];
        if key.is_some() {
            topic.events.retain(|(_, other)| *other != key);
        }
        topic.events.push((Seen(at, format!("data: {text}")), key));
        if topic.events.len() > HISTORY {
            let oldest = topic.events.remove(0).0.0;
            topic.lost = Some(oldest);
            topic.has_dropped = true;
            topic.dropped.push(oldest);
        }
    }

    pub(super) fn finish(&mut self, topic: usize, at: Position) {
        self.moves_to(at);
        assert!(!self.is_finished(topic));
        self.create(topic);
        self.topics[topic].finished = Some(at);
    }

    pub(super) fn is_finished(&self, topic: usize) -> bool {
        self.topics[topic].finished.is_some()
    }

    pub(super) fn remove(&mut self, topic: usize) {
        let of_topic = &mut self.topics[topic];
        if let Some((last, _)) = of_topic.events.last() {
            of_topic.lost = Some(last.0);
            of_topic.has_dropped = true;
            let removed = of_topic.events.drain(..).map(|(seen, _)| seen.0);
            of_topic.dropped.extend(removed);
        }
        if let Some(finished) = of_topic.finished.take() {
            of_topic.ended = of_topic.lost.unwrap_or_default();
            of_topic.lost = of_topic.lost.max(Some(finished));
            of_topic.dropped.push(finished);
            of_topic.run += 1;
        }
        of_topic.began = of_topic.lost.unwrap_or_default();
        self.forget(topic);
    }

    pub(super) fn join(&mut self, topics: &Topics) {
        for &topic in topics {
            self.create(topic);
            self.topics[topic].subscribers += 1;
        }
    }

    pub(super) fn leave(&mut self, topics: &Topics) {
        for &topic in topics {
            self.topics[topic].subscribers -= 1;
            self.forget(topic);
        }
    }

    fn moves_to(&mut self, at: Position) {
        assert_eq!(at, Position::new(self.head.hi(), self.head.lo() + 1));
        self.head = at;
    }

    fn create(&mut self, topic: usize) {
        let topic = &mut self.topics[topic];
        if topic.lost.is_none() {
            topic.lost = Some(self.forgotten);
            topic.began = self.forgotten;
        }
    }

    fn forget(&mut self, topic: usize) {
        let topic = &mut self.topics[topic];
        if topic.subscribers == 0 && topic.events.is_empty() && topic.finished.is_none() {
            self.forgotten = self.forgotten.max(topic.lost.take().unwrap_or_default());
            topic.dropped.clear();
            topic.has_dropped = false;
        }
    }
}

impl Topic {
    /// Returns the events after `after`.
    pub(super) fn newer(&self, after: Position) -> impl Iterator<Item = &Seen> {
        let events = self.events.iter().map(|(seen, _)| seen);
        events.filter(move |seen| seen.0 > after)
    }

    pub(super) fn last(&self) -> Position {
        let last = self.events.last().map(|(seen, _)| seen.0);
        last.or(self.lost).unwrap_or_default()
    }

    /// Returns the first position after `after` that the topic has dropped, for a subscription that
    /// began in this run.
    pub(super) fn first_lost(&self, run: u32, after: Position) -> Option<Position> {
        if run != self.run {
            return Some(self.ended).filter(|ended| *ended > after);
        }
        let dropped = self.dropped.iter().chain(&self.lost).copied();
        dropped.filter(|at| *at > after).min()
    }

    /// Returns whether a subscription of this run has ended, once it has read everything.
    pub(super) fn is_over(&self, run: u32) -> bool {
        self.finished.is_some() || self.run != run
    }
}
