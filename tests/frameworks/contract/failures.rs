//! Cases in which a source fails or panics.

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use http_sse::{CloseReason, CloseReport, Event, KeepAlive, Sse};
use tokio::sync::mpsc::unbounded_channel;

use super::{
    Source,
    ends::with,
    server::{Server, value_from},
    sources::{failing, panicking},
};
use crate::{deadline::within, undisturbed::Undisturbed};

pub(super) async fn an_error_breaks_the_response(server: &Server) {
    let (closes, mut closed) = unbounded_channel();
    let clock = Undisturbed::now();
    let mut client = server
        .get(|_| Sse::new(failing()).on_close(move |closed| closes.send(closed).unwrap()))
        .await;
    client.head().await;
    client.exactly(":\ndata: a\n\ndata: b\n\n").await;
    let end = client.chunk().await;
    let took = clock.elapsed();
    assert_eq!(end.is_err(), server.framework.breaks_off, "{end:?}");
    assert!(took < BREAKS_WITHIN, "after {took:?}");
    let closed: CloseReport = value_from("the close report", &mut closed).await;
    assert_eq!((closed.reason, closed.events), (CloseReason::Error, 2));
}

/// This event is the only sign of a failure if the framework ends a failed response cleanly.
pub(super) async fn the_break_off_event_is_sent_before_a_failure(server: &Server) {
    for (source, wire) in [
        (
            failing as fn() -> Source,
            ":\ndata: a\n\ndata: b\n\ndata: failed\n\n",
        ),
        (panicking, ":\ndata: a\n\ndata: failed\n\n"),
    ] {
        let (closes, mut closed) = unbounded_channel();
        let mut client = server
            .get(move |_| {
                Sse::new(source())
                    .break_off_with(Event::data("failed"))
                    .on_close(move |closed| closes.send(closed.reason).unwrap())
            })
            .await;
        client.head().await;
        client.exactly(wire).await;
        let end = client.chunk().await;
        assert_eq!(end.is_err(), server.framework.breaks_off, "{end:?}");
        let reason = value_from("the close report", &mut closed).await;
        assert_eq!(reason, CloseReason::Error);
    }
}

/// An error waits until the frame before it is freed, for ten seconds at most.
pub(super) async fn http2_breaks_a_failed_stream(server: &Server) {
    for (failure, source, wire) in [
        (
            "an error",
            failing as fn() -> Source,
            ":\ndata: a\n\ndata: b\n\n",
        ),
        ("a panic", panicking, ":\ndata: a\n\n"),
    ] {
        for keep_alive in [None, Some(KeepAlive::new())] {
            let what = format!("{failure} {} keep-alive", with(keep_alive.as_ref()));
            let mut sender = server.http2().await;
            let path = server.set(move |_| Sse::new(source()).keep_alive(keep_alive));
            let clock = Undisturbed::now();
            let mut body = sender.get(&path).await.into_body();
            let mut got = BytesMut::new();
            let end = loop {
                match within("the next frame or the end", body.frame()).await {
                    Some(Ok(frame)) => got.extend_from_slice(frame.data_ref().unwrap()),
                    end => break end,
                }
            };
            let took = clock.elapsed();
            assert_eq!(got, wire, "{what}");
            let broken = end.as_ref().is_some_and(Result::is_err);
            assert_eq!(broken, server.framework.breaks_off, "{what}: {end:?}");
            assert!(took < BREAKS_WITHIN, "{what}: after {took:?}");
        }
    }
}

pub(super) async fn an_error_can_be_an_event(server: &Server) {
    let mut client = server
        .get(|_| Sse::new(failing()).on_error(|error| Event::data(error.to_string())))
        .await;
    client.head().await;
    assert_eq!(
        client.rest().await.unwrap(),
        ":\ndata: a\n\ndata: b\n\ndata: the source failed\n\n"
    );
}

/// The longest time until an error arrives. It is below the ten seconds that a body waits at most.
const BREAKS_WITHIN: Duration = Duration::from_secs(5);
