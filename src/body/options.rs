//! The options of a body that most streams do not set.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    connections::CloseReport,
    wire::{EncodedEvent, Event, Retry},
};

/// The options of a stream whose source fails with `E`.
pub(crate) struct Options<E> {
    pub(crate) retry: Option<Retry>,
    pub(crate) begin_with: Option<EncodedEvent>,
    pub(crate) linger: Option<Duration>,
    pub(crate) max_age: Option<Duration>,
    pub(crate) reconnect_within: Option<Duration>,
    pub(crate) end_with: Option<EncodedEvent>,
    pub(crate) break_off_with: Option<EncodedEvent>,
    pub(crate) on_error: Option<Callback<E, Event>>,
    pub(crate) on_close: Option<Callback<CloseReport, ()>>,
    /// True if the method is `HEAD`. The response then has no stream.
    #[cfg(feature = "actix-web")]
    pub(crate) is_head: bool,
}

/// A closure of the user, which is called at most once.
///
/// The mutex makes the body `Sync`. It is never locked.
pub(crate) struct Callback<T, R>(Mutex<Box<dyn FnOnce(T) -> R + Send>>);

impl<T, R> Callback<T, R> {
    pub(crate) fn new(call: impl FnOnce(T) -> R + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(call)))
    }

    pub(crate) fn call(self, argument: T) -> R {
        let call = self.0.into_inner();
        call.unwrap_or_else(PoisonError::into_inner)(argument)
    }
}

impl<E> Default for Options<E> {
    fn default() -> Self {
        Self {
            retry: None,
            begin_with: None,
            linger: None,
            max_age: None,
            reconnect_within: None,
            end_with: None,
            break_off_with: None,
            on_error: None,
            on_close: None,
            #[cfg(feature = "actix-web")]
            is_head: false,
        }
    }
}
