//! Chance, so that what was started together does not end, or come back, together.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// A random time from zero to `window`, evenly spread.
///
/// Each `RandomState` has keys of its own, so its hash of nothing is random; that is chance enough
/// to spread clients, and no dependency.
pub(crate) fn up_to(window: Duration) -> Duration {
    const STEPS: u32 = 1 << 24;
    let random = RandomState::new().build_hasher().finish();
    let step = random % u64::from(STEPS);
    window.mul_f64(step as f64 / f64::from(STEPS))
}
