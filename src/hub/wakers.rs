//! The wakers of tasks that wait for the same event.

use std::task::Waker;

use crate::slots::Slots;

/// The wakers of tasks that wait for the same event, each in a seat of its own.
///
/// Taking all of them takes time in proportion to the armed seats, not to all seats. No waker is
/// woken or dropped here, because that runs foreign code. The caller does so without the lock.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    seats: Slots<Seat>,
    /// The seats whose waker was set since the last `take_all`. Each is listed at most once, and may
    /// be vacant by now.
    armed: Vec<usize>,
}

#[derive(Debug, Default)]
struct Seat {
    waker: Option<Waker>,
    /// True if the seat is in `Wakers::armed`.
    armed: bool,
}

impl Wakers {
    /// Takes a seat and returns its index.
    pub(super) fn join(&mut self) -> usize {
        self.seats.take()
    }

    /// Gives up a seat and returns its waker.
    pub(super) fn leave(&mut self, seat: usize) -> Option<Waker> {
        let waker = self.seats[seat].waker.take();
        self.seats.give_back(seat);
        if self.is_empty() {
            self.armed = Vec::new();
        }
        waker
    }

    /// Sets the waker of a seat and returns the one that it replaces.
    pub(super) fn arm(&mut self, seat: usize, waker: &Waker) -> Option<Waker> {
        let index = seat;
        let seat = &mut self.seats[index];
        if !seat.armed {
            seat.armed = true;
            self.armed.push(index);
        }
        match &seat.waker {
            Some(old) if old.will_wake(waker) => None,
            _ => seat.waker.replace(waker.clone()),
        }
    }

    /// Moves all wakers to `woken`.
    pub(super) fn take_all(&mut self, woken: &mut Vec<Waker>) {
        woken.reserve(self.armed.len());
        for index in self.armed.drain(..) {
            let seat = &mut self.seats[index];
            seat.armed = false;
            woken.extend(seat.waker.take());
        }
    }

    /// Returns the number of seats that are taken.
    pub(super) fn len(&self) -> usize {
        self.seats.taken()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
