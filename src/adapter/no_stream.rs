//! The source of a response without a stream, such as a refusal.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::Event;

pub(super) struct NoStream;

impl Stream for NoStream {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Event>> {
        Poll::Ready(None)
    }
}
