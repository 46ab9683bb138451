//! Random delays, so that streams that started together do not end or reconnect together.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// Returns a random time from zero up to `window`, uniformly distributed.
///
/// Each `RandomState` has its own keys, so its hash of no bytes is random. This is random enough
/// to spread clients, and needs no dependency.
pub(crate) fn up_to(window: Duration) -> Duration {
    const STEPS: u32 = 1 << 24;
    let random = RandomState::new().build_hasher().finish();
    let step = random % u64::from(STEPS);
    window.mul_f64(step as f64 / f64::from(STEPS))
}
