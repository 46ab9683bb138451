//! Calls that visit many streams, which open and end meanwhile.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
};

use futures_util::{FutureExt as _, Stream as _, StreamExt as _, stream};
use http_sse::{CloseReason, Connections, Permit, Sse};

use super::{SECOND, assert_balanced, frame, silent};

const MANY: usize = 2_000;

fn admit(connections: &Connections, streams: usize, key: &str) -> Vec<Permit> {
    let permits = (0..streams).map(|_| connections.admit(key).unwrap());
    permits.collect()
}

#[test]
fn streams_that_open_during_a_visit_are_not_visited() {
    let connections = Connections::new();
    let first = admit(&connections, MANY, "a");
    let mut later = Vec::new();
    let wanted = connections.snapshot_where(|stream| {
        later.push(connections.admit("b").unwrap());
        assert_eq!(&*stream.key, "a");
        stream.id == first[7].id()
    });
    assert_eq!(wanted.len(), 1);
    assert_eq!(later.len(), MANY);
    let closed = connections.close_where(|_| {
        later.push(connections.admit("c").unwrap());
        true
    });
    assert_eq!(closed, 2 * MANY);
    assert_eq!(connections.snapshot().len(), 4 * MANY);
    assert_balanced(&connections.totals());
}

#[test]
fn streams_that_end_during_a_visit_are_not_visited_later() {
    let connections = Connections::new();
    let mut permits = admit(&connections, MANY, "a");
    let mut visited = 0;
    connections.close_where(|_| {
        permits.clear();
        visited += 1;
        false
    });
    assert!((1..MANY).contains(&visited), "{visited}");
    assert!(connections.snapshot().is_empty());
}

/// Opens a stream when it is woken.
struct Opens(Connections, Mutex<Vec<Permit>>);

impl Wake for Opens {
    fn wake(self: Arc<Self>) {
        let permit = self.0.admit("later").unwrap();
        self.1.lock().unwrap().push(permit);
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_open_during_a_shutdown_or_drain_get_the_order() {
    let orders: [fn(&Connections); 2] = [Connections::shutdown, |connections| {
        connections.drain(SECOND);
    }];
    for order in orders {
        let connections = Connections::new();
        let opens = Arc::new(Opens(connections.clone(), Mutex::default()));
        let waker = Waker::from(opens.clone());
        let mut bodies: Vec<_> = (0..MANY).map(|_| silent(&connections, "a")).collect();
        for body in &mut bodies {
            frame(body);
            let polled = Pin::new(body).poll_next(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
        }
        order(&connections);
        let opened = std::mem::take(&mut *opens.1.lock().unwrap());
        assert_eq!(opened.len(), MANY);
        let opened = opened.into_iter().map(|permit| {
            let sse = Sse::new(stream::pending());
            sse.keep_alive(None).permit(permit).into_body()
        });
        let mut all: Vec<_> = bodies.into_iter().chain(opened).collect();
        all.iter_mut()
            .for_each(|body| _ = body.next().now_or_never());
        tokio::time::advance(SECOND).await;
        all.iter_mut()
            .for_each(|body| _ = body.next().now_or_never());
        let totals = connections.totals();
        assert_eq!(totals.open, 0);
        assert_eq!(totals.closed(CloseReason::Shutdown), 2 * MANY as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn the_streams_of_a_key_are_closed() {
    let connections = Connections::new();
    let _others = admit(&connections, MANY, "a");
    let mut bodies = [(); 2].map(|()| silent(&connections, "b"));
    let _more = admit(&connections, MANY, "a");
    bodies.iter_mut().for_each(|body| drop(frame(body)));
    assert_eq!(connections.close_key("c"), 0);
    assert_eq!(connections.close_key("b"), 2);
    for body in &mut bodies {
        assert!(matches!(body.next().now_or_never(), Some(None)));
    }
    assert_eq!(connections.totals().closed(CloseReason::ByServer), 2);
    assert_eq!(connections.close_key("b"), 0);
    assert_eq!(connections.close_key("a"), 2 * MANY);
}
