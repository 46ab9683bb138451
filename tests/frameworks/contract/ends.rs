//! Cases in which a stream ends or a client leaves.

use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use http_sse::{CloseReason, CloseReport, Event, KeepAlive, Sse};
use tokio::sync::mpsc::unbounded_channel;

use super::{
    server::{Server, one_frame, value_from},
    sources::{INTERVAL, channel, events, every, silence},
};
use crate::{deadline::within, raw_client::RawClient};

/// Without keep-alives nothing is sent, so only the disconnect itself can be noticed. With
/// keep-alives, the server notices it at the second keep-alive at the latest.
pub(super) async fn a_client_that_leaves_is_noticed(server: &Server) {
    for (how, leave) in [
        ("FIN", RawClient::close as fn(RawClient)),
        ("RST", RawClient::reset),
    ] {
        for keep_alive in [None, Some(every(INTERVAL))] {
            if keep_alive.is_none() && !server.framework.notices_silence {
                continue; // the next round has a keep-alive
            }
            let (closes, mut closed) = unbounded_channel();
            let (gone, source) = channel();
            let with = with(keep_alive.as_ref());
            let client = server
                .opened(move |_| {
                    Sse::new(source)
                        .keep_alive(keep_alive)
                        .on_close(move |closed| _ = closes.send((closed, Instant::now())))
                })
                .await;
            let start = Instant::now();
            leave(client);
            let sent = server.keep_alives();
            let (report, at) = value_from("the client to be noticed", &mut closed).await;
            assert_noticed(&report, sent);
            assert!(gone.is_closed(), "the source is still held");
            let again = within("the callback to be dropped", closed.recv()).await;
            assert!(again.is_none(), "reported twice");
            println!(
                "{}: {how}, {with} keep-alive: {:?}",
                server.framework.name,
                at - start
            );
        }
    }
}

pub(super) async fn http2_clients_that_leave_are_noticed(server: &Server) {
    for keep_alive in [None, Some(every(INTERVAL))] {
        if keep_alive.is_none() && !server.framework.notices_silence_on_http2 {
            continue;
        }
        let mut sender = server.http2().await;
        let (closes, mut closed) = unbounded_channel();
        let with = with(keep_alive.as_ref());
        let path = server.set(move |_| {
            Sse::new(silence())
                .keep_alive(keep_alive)
                .on_close(move |closed| _ = closes.send((closed, Instant::now())))
        });
        let mut body = sender.get(&path).await.into_body();
        assert_eq!(one_frame(&mut body).await, ":\n");
        let start = Instant::now();
        drop(body); // RST_STREAM
        let sent = server.keep_alives();
        let (report, at) = value_from("the client to be noticed", &mut closed).await;
        assert_noticed(&report, sent);
        println!(
            "{}: RST_STREAM, {with} keep-alive: {:?}",
            server.framework.name,
            at - start
        );
    }
}

pub(super) fn with(keep_alive: Option<&KeepAlive>) -> &'static str {
    if keep_alive.is_some() {
        "with"
    } else {
        "without"
    }
}

/// Asserts that at most two keep-alives were sent after the client left.
///
/// `sent` counts the earlier ones. It is `None` if the stream was already closed.
fn assert_noticed(report: &CloseReport, sent: Option<u64>) {
    assert_eq!(report.reason, CloseReason::ClientGone);
    let more = sent.map(|sent| report.keep_alives - sent);
    assert!(more <= Some(2), "noticed after {more:?} keep-alives");
}

pub(super) async fn finite_streams_end_cleanly(server: &Server) {
    let mut client = server
        .get(|_| Sse::new(events(["a"])).end_with(Event::data("[DONE]")))
        .await;
    client.head().await;
    assert_eq!(
        client.rest().await.unwrap(),
        ":\ndata: a\n\ndata: [DONE]\n\n"
    );

    // The maximum age ends a stream without another timer. It also ends one whose keep-alive is
    // due later, without waiting for that keep-alive.
    for keep_alive in [None, Some(every(2 * INTERVAL))] {
        let start = Instant::now();
        let mut client = server
            .get(move |_| {
                let silent = Sse::new(silence()).keep_alive(keep_alive);
                silent.max_age(INTERVAL)
            })
            .await;
        client.head().await;
        assert_eq!(client.rest().await.unwrap(), ":\n");
        let took = start.elapsed();
        assert!(took >= INTERVAL * 9 / 10, "{took:?}"); // jitter shortens it by up to a tenth
    }

    let ready = stream::repeat_with(|| Ok(Event::data("x")));
    let mut client = server
        .get(|_| Sse::new(ready.boxed()).max_age(INTERVAL))
        .await;
    client.head().await;
    let all = client.rest().await.unwrap();
    assert!(all.starts_with(":\ndata: x\n\n") && all.ends_with("data: x\n\n"));
}
