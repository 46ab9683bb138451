//! Who is to be woken.

use std::task::Waker;

/// The wakers of those who wait for the same, each in a seat of its own.
///
/// Taking them all costs what there are that wait, not what there are seats. No waker is woken or
/// dropped here, but by the caller without the lock: that runs the code of others.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    seats: Vec<Seat>,
    free: Vec<usize>,
    /// The seats whose waker was set since all were taken; each at most once, and maybe one that
    /// was left since.
    armed: Vec<usize>,
}

#[derive(Debug, Default)]
struct Seat {
    waker: Option<Waker>,
    /// It is in `armed`.
    armed: bool,
}

impl Wakers {
    /// Takes a seat.
    pub(super) fn join(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.seats.push(Seat::default());
            self.seats.len() - 1
        })
    }

    /// Gives a seat up, with its waker.
    pub(super) fn leave(&mut self, seat: usize) -> Option<Waker> {
        let waker = self.seats[seat].waker.take();
        self.free.push(seat);
        if self.is_empty() {
            *self = Self::default();
        }
        waker
    }

    /// Sets the waker of a seat; tells the one that it replaces.
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

    /// How many seats are taken.
    pub(super) fn len(&self) -> usize {
        self.seats.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
