//! Reading: the items that a source has ready, encoded into the output.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::wire::{Encode, Output, encode_to};

/// The reason why [`read`] stopped.
pub(super) enum Stopped<E> {
    Pending,
    /// The frame is full.
    Full,
    Ended,
    /// The source or an item failed.
    Failed(E),
    Panicked(Panic),
}

/// The payload of a panic.
pub(super) type Panic = Box<dyn Any + Send>;

/// Encodes the items that are ready, and adds them to `events`.
///
/// If the source or an item panics, the bytes of earlier items stay in the output.
///
/// Always inlined: a call would count each event in memory, with three more instructions per event.
#[inline(always)]
pub(super) fn read<S>(
    mut source: Pin<&mut S>,
    output: &mut Output,
    events: &mut u64,
    cx: &mut Context<'_>,
) -> Stopped<<S::Item as Encode>::Error>
where
    S: Stream,
    S::Item: Encode,
{
    let mut before = output.waiting();
    let polled = catch_unwind(AssertUnwindSafe(|| {
        let mut empty = 0;
        while !output.is_full() {
            // Matched in one expression, so that the item is not copied.
            match source.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => match encode_to(output, item) {
                    Ok(encoded) => *events += encoded,
                    Err(error) => return Stopped::Failed(error),
                },
                Poll::Ready(None) => return Stopped::Ended,
                Poll::Pending => return Stopped::Pending,
            }
            let waiting = output.waiting();
            if waiting == before {
                empty += 1;
                if empty == MAX_EMPTY {
                    cx.waker().wake_by_ref();
                    return Stopped::Pending;
                }
            }
            before = waiting;
        }
        Stopped::Full
    }));
    polled.unwrap_or_else(|panic| {
        output.truncate(before);
        Stopped::Panicked(panic)
    })
}

/// The number of items without bytes that one poll takes. It bounds the time for which other tasks
/// wait.
const MAX_EMPTY: u32 = 1024;
