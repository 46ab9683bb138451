//! A client's decoder of event streams, for bytes in memory and for streams of bytes.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::wire::Event;
pub use crate::wire::{DecodeError, Decoded, Decoder};

/// Decodes a stream of bytes, such as the body of an upstream's response, into events.
///
/// `decoder` has the limits and the last event ID to start from. With
/// [`Decoder::with_comments`], comments, reconnection times and ids without data are yielded too.
/// Each item is an [`Event`] that can be sent on unchanged. A reconnection time that clients
/// misread is replaced by the nearest one that they do not. An event of the type `message` has no
/// event type here, because clients treat both alike.
///
/// ```
/// use futures_util::{StreamExt as _, stream};
/// use http_sse::{Event, decode::{Decoder, events}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let body = stream::iter([Ok("data: a\n\n:idle\nid: 1\nda"), Ok("ta: b\n\n"), Err("reset")]);
/// let all: Vec<_> = events(body.map(|piece| piece.map(str::as_bytes)), Decoder::new()).collect().await;
/// assert_eq!(all[0].as_ref().unwrap(), &Event::data("a"));
/// assert_eq!(all[1].as_ref().unwrap(), &Event::data("b").id(1));
/// assert_eq!(all[2].as_ref().unwrap_err().to_string(), "reset");
/// # }
/// ```
pub fn events<S, B, E>(bytes: S, decoder: Decoder) -> Events<S, B>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    Events {
        bytes,
        decoder,
        piece: None,
        ended: false,
    }
}

pin_project! {
    /// A stream of the events in a stream of bytes, returned by [`events`].
    ///
    /// It yields an event once the empty line that ends the event is read. It ends with the bytes,
    /// or after the first error. An event that no empty line has ended is then discarded, as the
    /// standard requires (9.2.6). It polls for the next piece of bytes only after the last piece
    /// is decoded.
    ///
    /// # Errors
    ///
    /// Yields [`EventsError::Source`] if the stream of bytes fails, and [`EventsError::Decode`] if
    /// a line or an event exceeds its limit.
    #[derive(Debug)]
    #[must_use = "streams do nothing until they are polled"]
    pub struct Events<S, B> {
        #[pin]
        bytes: S,
        decoder: Decoder,
        // The last piece. Decoded bytes are removed from its front.
        piece: Option<B>,
        ended: bool,
    }
}

impl<S, B> Events<S, B> {
    /// Returns the last event ID so far. Send it to the upstream to resume after a lost connection.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.decoder.last_event_id()
    }
}

impl<S, B, E> Stream for Events<S, B>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
{
    type Item = Result<Event, EventsError<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        for _ in 0..MAX_PIECES {
            while let Some(piece) = this.piece.as_mut().filter(|piece| piece.has_remaining()) {
                let mut input = piece.chunk();
                let before = input.len();
                let decoded = this.decoder.decode(&mut input);
                let item = match decoded {
                    Ok(decoded) => decoded.map(|decoded| Ok(decoded.into())),
                    Err(error) => {
                        *this.ended = true;
                        Some(Err(EventsError::Decode(error)))
                    }
                };
                let read = before - input.len();
                piece.advance(read);
                if item.is_some() {
                    return Poll::Ready(item);
                }
            }
            match ready!(this.bytes.as_mut().poll_next(cx)) {
                Some(Ok(piece)) => *this.piece = Some(piece),
                Some(Err(error)) => {
                    *this.ended = true;
                    return Poll::Ready(Some(Err(EventsError::Source(error))));
                }
                None => {
                    *this.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The number of pieces that one poll reads at most without an event. It limits how long a poll
/// keeps other tasks waiting.
const MAX_PIECES: u32 = 256;

/// The error that ends [`Events`].
#[derive(Debug)]
#[non_exhaustive]
pub enum EventsError<E> {
    /// The stream of bytes failed.
    Source(E),
    /// The upstream sent a line or an event that exceeds the decoder's limit.
    Decode(DecodeError),
}

impl<E: fmt::Display> fmt::Display for EventsError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
        }
    }
}

impl<E: Error> Error for EventsError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Source(error) => error.source(),
            Self::Decode(error) => error.source(),
        }
    }
}
