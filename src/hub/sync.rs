//! The locks and atomics of a hub: those of std, or those of shuttle in `tests/interleavings`.

#[cfg(shuttle)]
pub(super) use shuttle::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};
use std::sync::PoisonError;
#[cfg(not(shuttle))]
pub(super) use std::sync::{
    Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};

/// Locks a mutex of the hub. No foreign code runs under any of them, so that only a failed
/// allocation can panic there. It leaves no partial update.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
