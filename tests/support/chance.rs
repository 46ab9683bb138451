//! A random number generator whose seed is printed, so that a failed run can be repeated.

use std::{
    env,
    hash::{BuildHasher as _, RandomState},
};

use proptest::{
    prelude::Rng as _,
    test_runner::{RngAlgorithm, TestRng},
};

/// Returns a generator. Its seed is `HTTP_SSE_SEED` if that is set, and random otherwise.
pub(crate) fn chance() -> TestRng {
    let seed = env::var("HTTP_SSE_SEED").ok().map_or_else(
        || RandomState::new().hash_one(()),
        |seed| seed.parse().expect("HTTP_SSE_SEED is a number"),
    );
    println!("HTTP_SSE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    seeded(bytes)
}

/// Returns an independent generator for a task or thread.
pub(crate) fn fork(chance: &mut TestRng) -> TestRng {
    let mut bytes = [0; 32];
    chance.fill_bytes(&mut bytes);
    seeded(bytes)
}

fn seeded(bytes: [u8; 32]) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}
