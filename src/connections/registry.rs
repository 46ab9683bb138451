//! The open streams, under one lock, and the orders that the server gives them.

use std::{
    borrow::Borrow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    info::{ConnectionId, ConnectionInfo, Totals},
    telemetry::{Counts, Metrics},
};
use crate::wire::EncodedEvent;

pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) started: Instant,
    pub(super) registry: Mutex<Registry>,
    /// Told when the last stream has closed.
    pub(super) emptied: Notify,
    pub(super) metrics: Metrics,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) max: usize,
    pub(super) max_per_key: usize,
    pub(super) retry_after: Duration,
    pub(super) goodbye: Option<EncodedEvent>,
    pub(super) reconnect_within: Option<Duration>,
}

#[derive(Default)]
pub(super) struct Registry {
    /// Each stream keeps its place while it is open.
    pub(super) places: Vec<Option<Arc<OpenStream>>>,
    /// The places that are empty.
    pub(super) free: Vec<u32>,
    /// How many streams each key has; none that has none.
    pub(super) per_key: HashMap<Key, usize>,
    pub(super) phase: Phase,
    /// When the last was opened.
    pub(super) last: Option<u64>,
    /// The events, bytes and keep-alives are those of closed streams.
    pub(super) totals: Totals,
}

/// A key as a thin pointer: there is one in each stream.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) Arc<Arc<str>>);

#[derive(Clone, Copy, Default)]
pub(super) enum Phase {
    #[default]
    Running,
    /// Until then, if the clock reaches that far.
    Draining(Option<Instant>),
    Shutdown,
}

/// What the server and the body of one stream tell each other: 88 bytes of heap.
pub(super) struct OpenStream {
    /// In nanoseconds since the start; no two streams have the same.
    pub(super) opened: u64,
    pub(super) key: Key,
    pub(super) state: Mutex<StreamState>,
}

pub(super) struct StreamState {
    /// Written by the server; it only rises.
    pub(super) order: Order,
    /// Of whoever polls the body.
    pub(super) waker: Option<Waker>,
    pub(super) counts: Counts,
    /// Whether the last frame was taken and nobody has asked for more.
    pub(super) stalled: bool,
    /// When it was taken: in milliseconds since the start, which begin anew after 49 days.
    pub(super) taken: u32,
}

/// What a stream is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    GoOn,
    Drain,
    Shutdown,
    Close,
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Registry {
    pub(super) fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn open_stream(
        &mut self,
        now: Duration,
        key: Key,
    ) -> (ConnectionId, Arc<OpenStream>) {
        let now = now.as_nanos() as u64;
        let opened = self.last.map_or(now, |last| now.max(last + 1));
        self.last = Some(opened);
        let order = match self.phase {
            Phase::Running => Order::GoOn,
            Phase::Draining(_) => Order::Drain,
            Phase::Shutdown => Order::Shutdown,
        };
        let stream = Arc::new(OpenStream {
            opened,
            key,
            state: Mutex::new(StreamState {
                order,
                waker: None,
                counts: Counts::default(),
                stalled: false,
                taken: 0,
            }),
        });
        let place = self.free.pop().unwrap_or_else(|| {
            let places = self.places.len();
            if places == self.places.capacity() {
                // By less than `push` would: there are many streams, and each pays for the rest.
                self.places.reserve_exact(places / 8 + 8);
            }
            self.places.push(None);
            places as u32
        });
        self.places[place as usize] = Some(stream.clone());
        self.totals.opened += 1;
        (ConnectionId { opened, place }, stream)
    }

    /// The open streams, so that they are told and described without the lock: wakers and
    /// closures run the code of others.
    pub(super) fn streams(&self) -> Vec<(ConnectionId, Arc<OpenStream>)> {
        let open = self.places.iter().zip(0..);
        open.filter_map(|(stream, place)| {
            let stream = stream.clone()?;
            let opened = stream.opened;
            Some((ConnectionId { opened, place }, stream))
        })
        .collect()
    }
}

impl Shared {
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock can come from memory alone, and leaves nothing half done.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, phase: Phase, order: Order) {
        let streams = {
            let mut registry = self.registry();
            if !matches!(registry.phase, Phase::Shutdown) {
                registry.phase = phase;
            }
            registry.streams()
        };
        streams.iter().for_each(|(_, stream)| stream.tell(order));
    }

    pub(super) fn streams(&self) -> Vec<(ConnectionId, Arc<OpenStream>)> {
        self.registry().streams()
    }

    /// The time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn describe(&self, id: ConnectionId, stream: &OpenStream) -> ConnectionInfo {
        let now = self.now();
        let state = stream.state();
        ConnectionInfo {
            id,
            key: (*stream.key.0).clone(),
            age: stream.age(now),
            events: state.counts.events,
            bytes: state.counts.bytes,
            keep_alives: state.counts.keep_alives,
            stalled_for: state.stalled.then(|| {
                let millis = (now.as_millis() as u32).wrapping_sub(state.taken);
                Duration::from_millis(millis.into())
            }),
        }
    }
}

impl OpenStream {
    pub(super) fn state(&self) -> MutexGuard<'_, StreamState> {
        // No code of others runs under the lock but the copying of a waker, which changes nothing
        // if it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.opened))
    }

    /// Gives an order, and wakes the body for it.
    pub(super) fn tell(&self, order: Order) {
        let waker = {
            let mut state = self.state();
            state.order = state.order.max(order);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
