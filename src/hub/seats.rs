//! The seats of a topic: the subscriptions that wait for its next event.

use std::{mem, sync::Arc, task::Waker};

use super::listener::Listener;
use crate::slots::Slots;

/// The subscriptions of a topic, each with a seat.
///
/// A seat is armed if its subscription waits for the next event. Taking the armed seats takes time
/// in proportion to their number, not to that of all seats. Listeners are signalled here. No waker is
/// woken, cloned or dropped, because that runs foreign code. The caller does so without the lock.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: Slots<Seat>,
    /// The armed seats. Each is listed at most once, and may be vacant by now.
    armed: Vec<u32>,
}

#[derive(Debug, Default)]
struct Seat {
    holder: Holder,
    /// True if the seat is in `Seats::armed`, or in a list that was taken from there.
    listed: bool,
}

#[derive(Debug, Default)]
enum Holder {
    #[default]
    Vacant,
    /// A subscription of this topic alone.
    Reader(Option<Waker>),
    /// A subscription of several topics, and the index of its place.
    Listener(Arc<Listener>, u32),
}

impl Seats {
    /// Takes a seat for a subscription of this topic alone, and returns its index.
    pub(super) fn join(&mut self) -> u32 {
        self.join_as(Holder::Reader(None))
    }

    /// Takes a seat for a place of a listener, and returns its index.
    pub(super) fn join_listener(&mut self, listener: Arc<Listener>, place: u32) -> u32 {
        self.join_as(Holder::Listener(listener, place))
    }

    fn join_as(&mut self, holder: Holder) -> u32 {
        let seat = self.seats.take();
        self.seats[seat].holder = holder;
        seat as u32
    }

    /// Gives up a seat. Returns what it held, to be dropped without the lock.
    pub(super) fn leave(&mut self, seat: u32) -> impl Sized + use<> {
        let holder = mem::take(&mut self.seats[seat as usize].holder);
        self.seats.give_back(seat as usize);
        if self.is_empty() {
            self.armed = Vec::new();
        }
        holder
    }

    /// Arms the seat of a listener.
    #[inline]
    pub(super) fn arm(&mut self, seat: u32) {
        let row = &mut self.seats[seat as usize];
        if !row.listed {
            row.listed = true;
            if self.armed.is_empty() {
                self.armed.reserve_exact(1); // many topics have one subscriber
            }
            self.armed.push(seat);
        }
    }

    /// Arms the seat of a reader with its waker. Returns a waker that is no longer needed.
    #[inline]
    pub(super) fn arm_with(&mut self, seat: u32, waker: Waker) -> Option<Waker> {
        self.arm(seat);
        match &mut self.seats[seat as usize].holder {
            Holder::Reader(Some(stored)) if stored.will_wake(&waker) => Some(waker),
            Holder::Reader(stored) => stored.replace(waker),
            Holder::Vacant | Holder::Listener(..) => Some(waker),
        }
    }

    /// Takes the armed seats. Up to a [`PAGE`] of them, their holders are notified: the wakers to wake
    /// are added to `wakers`. If there are more, the seats are returned, and the caller goes on with
    /// [`take_page`](Self::take_page) and [`reuse`](Self::reuse).
    pub(super) fn take_armed(&mut self, wakers: &mut Vec<Waker>) -> Vec<u32> {
        let mut armed = mem::take(&mut self.armed);
        if armed.len() > PAGE {
            return armed;
        }
        self.take_page(&armed, wakers);
        armed.clear();
        self.armed = armed;
        Vec::new()
    }

    /// Keeps the room of a list of armed seats, so that the next list need not grow under the lock.
    pub(super) fn reuse(&mut self, mut armed: Vec<u32>) {
        if self.armed.capacity() == 0 && !self.is_empty() {
            armed.clear();
            self.armed = armed;
        }
    }

    /// Notifies the holders of a page of armed seats. The wakers to wake are added to `wakers`.
    pub(super) fn take_page(&mut self, page: &[u32], wakers: &mut Vec<Waker>) {
        wakers.reserve(page.len());
        for seat in page {
            if self.seats.get(*seat as usize).is_none() {
                continue; // all seats were given up meanwhile
            }
            let seat = &mut self.seats[*seat as usize];
            seat.listed = false;
            match &mut seat.holder {
                Holder::Vacant => {}
                Holder::Reader(waker) => wakers.extend(waker.take()),
                Holder::Listener(listener, place) => wakers.extend(listener.signal(*place)),
            }
        }
    }

    /// Returns the number of seats that are taken.
    pub(super) fn len(&self) -> usize {
        self.seats.taken()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the heap memory of the seats, in bytes, when all of them are armed. It includes a list of
    /// armed seats that was taken.
    pub(super) fn heap_bytes(&self) -> usize {
        let needed = match self.len() {
            0 => 0,
            1 => 1,
            seats => seats.next_power_of_two().max(4),
        };
        let listed = needed.max(self.armed.capacity());
        self.seats.heap_bytes() + listed * mem::size_of::<u32>()
    }
}

/// The number of seats that are taken under one lock. A page takes about 10 us. Under shuttle there are
/// few seats, and they are to be on several pages.
pub(super) const PAGE: usize = if cfg!(shuttle) { 1 } else { 256 };
