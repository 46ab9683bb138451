//! The open streams of a server, a page at a time.

use std::{sync::Arc, vec};

use super::{
    info::ConnectionId,
    keys::Key,
    registry::{OpenStream, Order, Registry, Server},
};
use crate::wake::wake_all;

/// The streams that were open when this was created and are open when they are reached.
///
/// Each page of the table is copied under the lock and yielded without it. So the lock is held for
/// microseconds, whatever the number of streams, and the caller may run foreign code.
pub(super) struct Streams<'a> {
    server: &'a Server,
    /// If set, only the streams with this key are copied.
    key: Option<Key>,
    /// The places of the table that are still to visit.
    next: usize,
    end: usize,
    /// `OpenStream::opened` of the newest stream at the creation. Later ones are skipped, because
    /// streams that are closed can make their clients open new ones.
    newest: Option<u64>,
    page: vec::IntoIter<(ConnectionId, Arc<OpenStream>)>,
}

impl Server {
    /// Gives an order to every open stream.
    pub(super) fn give_all(&self, order: Order) {
        wake_all(self.streams().filter_map(|(_, stream)| stream.give(order)));
    }

    /// Returns the open streams.
    pub(super) fn streams(&self) -> Streams<'_> {
        Streams::new(self, &self.registry(), None)
    }

    /// Returns the open streams with a key.
    pub(super) fn streams_of(
        &self,
        key: &str,
    ) -> impl Iterator<Item = (ConnectionId, Arc<OpenStream>)> {
        let registry = self.registry();
        let of_key = registry.keys.get(key);
        let count = of_key.map_or(0, |(_, streams)| streams);
        let key = of_key.map(|(key, _)| key.clone());
        // The visit ends at the last of them, or at once if there are none.
        Streams::new(self, &registry, key).take(count)
    }
}

impl<'a> Streams<'a> {
    fn new(server: &'a Server, registry: &Registry, key: Option<Key>) -> Self {
        Self {
            server,
            key,
            next: 0,
            end: registry.places.len(),
            newest: registry.last,
            page: Vec::new().into_iter(),
        }
    }

    /// Copies the next page. It may be empty, as many places are after most streams have ended.
    fn turn(&mut self) {
        let places = self.next..self.end.min(self.next + PAGE);
        self.next = places.end;
        let mut page = Vec::with_capacity(places.len());
        {
            let registry = self.server.registry();
            page.extend(places.filter_map(|place| {
                let stream = registry.places.get(place)?.as_ref()?;
                let opened = stream.opened;
                let place = place as u32;
                self.includes(stream)
                    .then(|| (ConnectionId { opened, place }, stream.clone()))
            }));
        }
        self.page = page.into_iter();
    }

    fn includes(&self, stream: &OpenStream) -> bool {
        let is_of_key = |key: &Key| key.is_same(&stream.key);
        Some(stream.opened) <= self.newest && self.key.as_ref().is_none_or(is_of_key)
    }
}

impl Iterator for Streams<'_> {
    type Item = (ConnectionId, Arc<OpenStream>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stream) = self.page.next() {
                return Some(stream);
            }
            if self.next >= self.end {
                return None;
            }
            self.turn();
        }
    }
}

/// The number of places that are visited under one lock. With 100,000 streams it takes 10 µs.
const PAGE: usize = 512;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::Connections;

    #[test]
    fn a_lock_is_held_for_one_page() {
        const STREAMS: usize = 100_000;
        let connections = Connections::new();
        let admit = |n| connections.admit(format!("key {n}")).unwrap();
        let permits: Vec<_> = (0..STREAMS).map(admit).collect();
        let mut streams = connections.0.streams();
        let (mut visited, mut longest) = (0, Duration::ZERO);
        while streams.next < streams.end {
            let start = Instant::now();
            streams.turn();
            longest = longest.max(start.elapsed());
            assert!(streams.page.len() <= PAGE);
            visited += streams.page.len();
        }
        println!("{STREAMS} streams: a lock is held for at most {longest:?}");
        assert_eq!(visited, STREAMS);
        drop(permits);
    }
}
