//! The lock and the atomic of a hub: those of std, or those of shuttle in
//! `tests/interleavings`.

#[cfg(not(shuttle))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic::AtomicU64};

#[cfg(shuttle)]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic::AtomicU64};
