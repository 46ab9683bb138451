//! Cases of graceful shutdown.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http_sse::{CloseReason, CloseReport, Event, Sse};
use tokio::{runtime::Runtime, sync::mpsc::unbounded_channel};

use super::{
    server::{Server, one_frame, value_from, whole},
    sources::{channel, silence},
};
use crate::{deadline::within, undisturbed::Undisturbed};

pub(super) fn a_shutdown_lets_the_server_stop(mut server: Server, runtime: &Runtime) {
    // One framework at a time, because both ends of every connection need a descriptor.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);

    let silent = |_| Sse::new(silence()).keep_alive(None);
    let (clients, senders, bodies) = runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..1_000 {
            clients.push(server.opened(silent).await);
        }
        let (mut senders, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..if server.framework.http2 { 5 } else { 0 } {
            let mut sender = server.http2().await;
            for _ in 0..100 {
                let mut body = sender.get(&server.set(silent)).await.into_body();
                assert_eq!(one_frame(&mut body).await, ":\n");
                bodies.push(body);
            }
            senders.push(sender);
        }
        (clients, senders, bodies)
    });
    let streams = clients.len() + bodies.len();

    let (start, clock) = (Instant::now(), Undisturbed::now());
    server.answers.connections.shutdown();
    let closed = server.answers.connections.closed();
    runtime.block_on(within("all streams to be closed", closed));
    server.stop();
    server.wait_until_stopped();
    let (took, undisturbed) = (start.elapsed(), clock.elapsed());
    println!(
        "{}: stops with {streams} streams in {took:?}, {undisturbed:?} of it undisturbed",
        server.framework.name
    );
    assert!(
        undisturbed < server.framework.stops_within,
        "stopped after {took:?}, {undisturbed:?} of it undisturbed"
    );

    runtime.block_on(async {
        for mut client in clients {
            assert_eq!(client.rest().await.unwrap(), "data: bye\n\n");
        }
        for body in bodies {
            assert_eq!(whole(body).await, "data: bye\n\n");
        }
    });
    drop(senders);
    let totals = server.answers.connections.totals();
    assert_eq!(totals.open, 0);
    assert!(totals.closed(CloseReason::Shutdown) >= streams as u64);
}

pub(super) fn a_drain_lets_streams_end_by_themselves(mut server: Server, runtime: &Runtime) {
    const PATIENCE: Duration = Duration::from_secs(3);

    let (closes, mut closed) = unbounded_channel();
    let on_close = move || {
        let closes = closes.clone();
        move |closed: CloseReport| closes.send(closed.reason).unwrap()
    };
    let (events, source) = channel();
    let (of_one, of_other) = (on_close(), on_close());
    let (mut ends, mut goes_on) = runtime.block_on(async {
        let ends = server.opened(|_| Sse::new(source).on_close(of_one)).await;
        let silent = |_| Sse::new(silence()).on_close(of_other);
        (ends, server.opened(silent).await)
    });
    let (start, clock) = (Instant::now(), Undisturbed::now());
    server.answers.connections.drain(PATIENCE);
    runtime.block_on(async {
        events.send(Event::data("last")).unwrap();
        drop(events);
        assert_eq!(ends.rest().await.unwrap(), "data: last\n\n");
        assert_eq!(
            value_from("the close report", &mut closed).await,
            CloseReason::End
        );
        assert_eq!(goes_on.rest().await.unwrap(), "data: bye\n\n");
        assert!(start.elapsed() >= PATIENCE, "closed before the drain ended");
        let reason = value_from("the other close report", &mut closed).await;
        assert_eq!(reason, CloseReason::Shutdown);
        let closed = server.answers.connections.closed();
        within("all streams to be closed", closed).await;
    });
    server.stop();
    server.wait_until_stopped();
    let (took, undisturbed) = (start.elapsed(), clock.elapsed());
    println!(
        "{}: stops after a drain of {PATIENCE:?} in {took:?}, {undisturbed:?} of it undisturbed",
        server.framework.name
    );
    let patience = PATIENCE + server.framework.stops_within;
    assert!(
        undisturbed < patience,
        "stopped after {took:?}, {undisturbed:?} of it undisturbed"
    );
}
