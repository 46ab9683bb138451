//! The sums of all streams, which each stream adds to without a lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::telemetry::Counts;

/// The events, bytes and keep-alives of all streams, open and closed.
///
/// They are spread over several shards, so that the streams of many threads do not add to the same
/// cache line.
#[derive(Default)]
pub(super) struct Sums([Shard; SHARDS]);

#[derive(Default)]
#[repr(align(64))]
struct Shard {
    events: AtomicU64,
    bytes: AtomicU64,
    keep_alives: AtomicU64,
}

impl Sums {
    /// Adds what a stream has sent. `place` is that of the stream.
    pub(super) fn add(&self, place: u32, added: Counts) {
        let shard = &self.0[place as usize % SHARDS];
        for (sum, added) in [
            (&shard.events, added.events),
            (&shard.bytes, added.bytes),
            (&shard.keep_alives, added.keep_alives),
        ] {
            if added > 0 {
                sum.fetch_add(added, Relaxed);
            }
        }
    }

    /// Returns the sums so far.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for shard in &self.0 {
            counts.events += shard.events.load(Relaxed);
            counts.bytes += shard.bytes.load(Relaxed);
            counts.keep_alives += shard.keep_alives.load(Relaxed);
        }
        counts
    }
}

const SHARDS: usize = 16;
