//! The order of a hub: positions are given one after the other, and are complete in the same order.

use std::{collections::VecDeque, sync::atomic::Ordering::SeqCst, task::Waker};

use super::{
    position::Position,
    sync::{AtomicBool, AtomicU64, Mutex, lock},
};

/// The order of a hub's events.
///
/// A publisher takes a position under the lock of its topic, adds the event, and reports it as
/// added. Publishers to other topics do the same at the same time. A reader of several topics
/// therefore reads up to [`complete`](Self::complete): every event up to there is in its topic. A
/// reader of one topic needs no such bound, because it holds the lock of the topic.
#[derive(Debug)]
pub(super) struct Order {
    given: Mutex<Given>,
    complete: AtomicPosition,
    closed: AtomicBool,
}

#[derive(Debug)]
struct Given {
    /// The last position.
    last: Position,
    /// The positions whose events may not be in their topics yet, and whether they are. The first
    /// one is not.
    under_way: VecDeque<(Position, bool)>,
    /// The wakers of readers that wait until a position is complete.
    waiting: Vec<(Position, Waker)>,
}

/// The error of a position that was not given, because the hub is closed.
#[derive(Debug)]
pub(super) struct Closed;

impl Order {
    pub(super) fn new(start: Position) -> Self {
        Self {
            given: Mutex::new(Given {
                last: start,
                under_way: VecDeque::new(),
                waiting: Vec::new(),
            }),
            complete: AtomicPosition::new(start),
            closed: AtomicBool::new(false),
        }
    }

    /// Gives the position after the last one, or `at` if it is later. Every call must be followed
    /// by one of [`added`](Self::added).
    pub(super) fn give(&self, at: Option<Position>) -> Result<Position, Closed> {
        let mut given = lock(&self.given);
        if self.closed.load(SeqCst) {
            return Err(Closed);
        }
        let next = Position::new(given.last.hi(), given.last.lo() + 1);
        let at = at.unwrap_or(next);
        given.last = at;
        given.under_way.push_back((at, false));
        Ok(at)
    }

    /// Completes no later position until [`added`](Self::added) is called with the returned one.
    pub(super) fn hold(&self) -> Position {
        let mut given = lock(&self.given);
        let last = given.last;
        given.under_way.push_back((last, false));
        last
    }

    /// Reports that the event with this position is in its topic. Returns the wakers of readers
    /// that waited for it.
    pub(super) fn added(&self, at: Position) -> Vec<Waker> {
        let mut given = lock(&self.given);
        if let Some(added) = given
            .under_way
            .iter_mut()
            .find(|under_way| **under_way == (at, false))
        {
            added.1 = true;
        }
        let mut complete = None;
        while let Some((at, true)) = given.under_way.front() {
            complete = Some(*at);
            given.under_way.pop_front();
        }
        let Some(complete) = complete else {
            return Vec::new();
        };
        self.complete.store(complete);
        if given.waiting.is_empty() {
            return Vec::new();
        }
        let (woken, waiting) = given.waiting.drain(..).partition(|(at, _)| *at <= complete);
        given.waiting = waiting;
        let woken: Vec<(Position, Waker)> = woken;
        woken.into_iter().map(|(_, waker)| waker).collect()
    }

    /// Returns the position up to which all events are in their topics.
    pub(super) fn complete(&self) -> Position {
        let complete = self.complete.load();
        complete.unwrap_or_else(|| {
            let _given = lock(&self.given);
            self.complete.load().unwrap_or_default()
        })
    }

    /// Returns the last position that was given.
    pub(super) fn last(&self) -> Position {
        lock(&self.given).last
    }

    /// Wakes `waker` when `at` is complete. Gives it back if it already is.
    pub(super) fn wait(&self, at: Position, waker: Waker) -> Result<(), Waker> {
        let mut given = lock(&self.given);
        match given.under_way.front() {
            Some((first, _)) if *first <= at => {
                given.waiting.push((at, waker));
                Ok(())
            }
            _ => Err(waker),
        }
    }

    /// Moves the order to `at`, forwards or backwards. No position may be under way.
    pub(super) fn move_to(&self, at: Position) {
        let mut given = lock(&self.given);
        given.last = at;
        self.complete.store(at);
    }

    /// Gives no position from now on.
    pub(super) fn close(&self) {
        let _given = lock(&self.given);
        self.closed.store(true, SeqCst);
    }

    /// Returns whether no more positions are given. A topic that is locked after this has all its
    /// events.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }
}

/// A position that is stored under a lock and loaded without it.
#[derive(Debug)]
struct AtomicPosition {
    /// Odd while `hi` and `lo` are not of the same position.
    version: AtomicU64,
    hi: AtomicU64,
    lo: AtomicU64,
}

impl AtomicPosition {
    fn new(position: Position) -> Self {
        Self {
            version: AtomicU64::new(0),
            hi: AtomicU64::new(position.hi()),
            lo: AtomicU64::new(position.lo()),
        }
    }

    /// Stores a position. The caller holds the lock.
    fn store(&self, position: Position) {
        if self.hi.load(SeqCst) == position.hi() {
            self.lo.store(position.lo(), SeqCst);
            return;
        }
        self.version.fetch_add(1, SeqCst);
        self.hi.store(position.hi(), SeqCst);
        self.lo.store(position.lo(), SeqCst);
        self.version.fetch_add(1, SeqCst);
    }

    /// Loads the position. Returns `None` if it changes meanwhile, which cannot happen under the
    /// lock.
    fn load(&self) -> Option<Position> {
        let version = self.version.load(SeqCst);
        let position = Position::new(self.hi.load(SeqCst), self.lo.load(SeqCst));
        let is_whole = version % 2 == 0 && self.version.load(SeqCst) == version;
        is_whole.then_some(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_complete_in_their_order() {
        let start = Position::new(7, 0);
        let order = Order::new(start);
        let [first, second, third] = [(); 3].map(|()| order.give(None).unwrap());
        assert_eq!(third, Position::new(7, 3));
        order.added(second);
        assert_eq!((order.complete(), order.last()), (start, third));
        assert!(order.wait(second, Waker::noop().clone()).is_ok());
        assert!(order.wait(start, Waker::noop().clone()).is_err());
        assert_eq!(order.added(first).len(), 1);
        assert_eq!(order.complete(), second);
        order.added(third);
        assert_eq!(order.complete(), third);
        assert!(order.wait(third, Waker::noop().clone()).is_err());

        let later = order.give(Some(Position::new(9, 1))).unwrap();
        order.added(later);
        assert_eq!(order.complete(), Position::new(9, 1));
        order.move_to(Position::new(6, 90));
        assert_eq!(
            (order.complete(), order.last()),
            (Position::new(6, 90), Position::new(6, 90))
        );
        order.close();
        assert!(order.give(None).is_err() && order.is_closed());
    }
}
