//! The polls of a body on tokio's paused clock: frames, times and ends.

mod begin_with;
mod break_off;
mod empty;
mod ends;
mod errors;
mod keep_alive;
mod last_frame;
mod linger;
mod merging;
mod panics;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http_body::Body;
use http_sse::{CloseReason, CloseReport, Encode, Event, Sse, SseBody};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::deadline::within_time;

const BUDGET: usize = 32 * 1024;
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Returns a source, and the sender of its items.
fn channel<T>() -> (UnboundedSender<T>, UnboundedReceiverStream<T>) {
    let (sender, receiver) = unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver))
}

/// Polls the body once. Returns `None` if it is pending.
fn poll<S>(body: &mut SseBody<S>) -> Option<Option<Result<Bytes, <S::Item as Encode>::Error>>>
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    body.next().now_or_never()
}

/// Polls the body once, and returns its frame.
pub(crate) fn frame<S>(body: &mut SseBody<S>) -> Bytes
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    poll(body)
        .expect("the body is pending")
        .expect("the body has ended")
        .unwrap()
}

/// Returns the error of a body whose last frame was dropped.
///
/// The body is pending once before the error, so that the connection can write. If nothing waited
/// to be sent, a comment precedes the error.
fn error<S>(body: &mut SseBody<S>) -> <S::Item as Encode>::Error
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    match poll(body) {
        Some(Some(Ok(comment))) => assert_eq!(comment, ":\n"),
        Some(end) => panic!("{end:?} without a pending poll"),
        None => return poll(body).unwrap().unwrap().unwrap_err(),
    }
    assert!(is_pending(body));
    poll(body).unwrap().unwrap().unwrap_err()
}

pub(crate) fn is_pending<S>(body: &mut SseBody<S>) -> bool
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    poll(body).is_none()
}

/// Waits for the next item, for at most a day of the paused clock. No body here waits longer.
async fn later<S>(body: &mut SseBody<S>) -> Option<Result<Bytes, <S::Item as Encode>::Error>>
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    within_time(86_400 * SECOND, "the next frame", body.next()).await
}

/// Waits for the next frame.
async fn later_frame<S>(body: &mut SseBody<S>) -> Bytes
where
    S: Stream + Unpin,
    S::Item: Encode<Error: std::fmt::Debug>,
{
    later(body).await.expect("the body has ended").unwrap()
}

/// Returns the body of a response, and a receiver of the calls of `on_close`.
fn closes<S>(sse: Sse<S>) -> (SseBody<S>, mpsc::Receiver<CloseReport>)
where
    S: Stream,
    S::Item: Encode,
{
    let (sender, receiver) = mpsc::channel();
    let body = sse.on_close(move |closed| {
        let _ = sender.send(closed);
    });
    (body.into_body(), receiver)
}

/// Returns the reason, events, bytes and keep-alives of the only call of `on_close`.
fn closed(closes: &mpsc::Receiver<CloseReport>) -> (CloseReason, u64, u64, u64) {
    let closed = closes.try_recv().expect("on_close was not called");
    assert!(closes.try_recv().is_err(), "on_close was called twice");
    (
        closed.reason,
        closed.events,
        closed.bytes,
        closed.keep_alives,
    )
}

fn is_over<S>(body: &mut SseBody<S>) -> bool
where
    S: Stream + Unpin,
    S::Item: Encode,
{
    body.is_end_stream()
        && Body::size_hint(body).exact() == Some(0)
        && Stream::size_hint(body) == (0, Some(0))
        && (0..3).all(|_| matches!(poll(body), Some(None)))
}

/// A source that calls a function when it is dropped.
struct OnDrop<S, F: FnMut()>(S, F);

impl<S: Stream + Unpin, F: FnMut() + Unpin> Stream for OnDrop<S, F> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<S, F: FnMut()> Drop for OnDrop<S, F> {
    fn drop(&mut self) {
        (self.1)();
    }
}

/// Returns a source that sets `dropped` when it is dropped.
fn sets_when_dropped<S>(source: S, dropped: &Arc<AtomicBool>) -> OnDrop<S, impl FnMut() + use<S>> {
    let dropped = dropped.clone();
    OnDrop(source, move || dropped.store(true, Ordering::Relaxed))
}

/// Returns a source whose drop panics.
fn panics_when_dropped<S>(source: S) -> OnDrop<S, impl FnMut() + use<S>> {
    OnDrop(source, || panic!("the drop panics"))
}

type Item = Result<Event, &'static str>;

/// Returns the reasons of all calls of `on_close` since the previous check.
fn reasons(closes: &mpsc::Receiver<CloseReport>) -> Vec<CloseReason> {
    closes.try_iter().map(|closed| closed.reason).collect()
}

/// Returns a source that yields an event and then fails.
fn failing() -> impl Stream<Item = Item> + Unpin {
    stream::iter([Ok(Event::data("a")), Err("gone")])
}
