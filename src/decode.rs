//! Reading of event streams, as a client does.

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

/// Reads a stream of bytes, such as the body of an upstream's response, as events.
///
/// `decoder` says how: with which limits, from which last event ID on, and whether comments,
/// reconnection times and ids without data are wanted too. Each comes as an [`Event`] that can be
/// sent on as it is.
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
    /// The events in a stream of bytes, made by [`events`].
    ///
    /// It yields each event when the empty line that ends it has come, and an error once, after
    /// which it is over, as it is when the bytes are. Nothing is read ahead.
    #[derive(Debug)]
    #[must_use = "streams do nothing until they are polled"]
    pub struct Events<S, B> {
        #[pin]
        bytes: S,
        decoder: Decoder,
        // The rest of the last piece.
        piece: Option<B>,
        ended: bool,
    }
}

impl<S, B> Events<S, B> {
    /// The last event ID so far, to ask the upstream with when the connection is lost.
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

/// The number of pieces that one poll reads without finding an event. It bounds the time for which
/// other tasks wait.
const MAX_PIECES: u32 = 256;

/// Why [`Events`] has no more.
#[derive(Debug)]
#[non_exhaustive]
pub enum EventsError<E> {
    /// The source of the bytes failed.
    Source(E),
    /// A line or an event is longer than the decoder allows.
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
