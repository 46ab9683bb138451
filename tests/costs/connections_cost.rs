//! What a permit costs a stream, counted.

use std::{
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use allocation_counter::measure;
use futures_util::stream;
use http_body::Body as _;
use http_sse::{Connections, Event, Permit, Sse};

/// The permits of many streams of one user or address; a key that is new costs itself and its
/// entry besides. 96.8 bytes are measured, and 16.6 that stay for the next.
#[test]
fn a_permit_holds_less_than_a_hundred_bytes() {
    for streams in [1_000, 10_000, 16_385] {
        let connections = Connections::new();
        let key: Arc<str> = "a".into();
        let first = connections.admit(key.clone()).unwrap();
        let mut permits = Vec::with_capacity(streams);
        let admitted = measure(|| {
            permits.extend((0..streams).map(|_| connections.admit(key.clone()).unwrap()));
        });
        let each = admitted.bytes_current as f64 / streams as f64;
        println!("{streams} permits: {each:.1} bytes each");
        assert!(each <= 97.0);

        let again = measure(|| {
            permits.truncate(streams / 2);
            permits.extend((streams / 2..streams).map(|_| connections.admit(key.clone()).unwrap()));
        });
        println!("half of them anew: {:+} bytes", again.bytes_current);
        // The list of places that are free.
        assert!(again.bytes_current as usize <= 4 * streams);
        let closed = measure(|| permits.clear());
        let left = admitted.bytes_current + again.bytes_current + closed.bytes_current;
        println!(
            "left for the next: {:.1} bytes each",
            left as f64 / streams as f64
        );
        assert!(left as usize <= 17 * streams);
        drop(first);
    }
    // In the body, of which 40 are the span of the feature `tracing`.
    println!("{} bytes in place", size_of::<Permit>());
    assert!(size_of::<Permit>() <= 64);
}

#[test]
fn a_counted_event_allocates_as_one_that_is_not() {
    const EVENTS: u64 = 100_000;
    let allocations = |connections: Option<&Connections>| {
        let source = stream::iter((0..EVENTS).map(|_| Event::data("x")));
        let mut sse = Sse::new(source).keep_alive(None);
        if let Some(connections) = connections {
            sse = sse.permit(connections.admit("a").unwrap());
        }
        let mut body = pin!(sse.into_body());
        let mut cx = Context::from_waker(Waker::noop());
        let frames = measure(|| {
            while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
                black_box(frame);
            }
        });
        frames.count_total
    };
    let connections = Connections::new();
    let (with, without) = (allocations(Some(&connections)), allocations(None));
    println!("{EVENTS} events: {with} allocations with a permit, {without} without");
    assert_eq!(connections.totals().events, EVENTS);
    assert!(with <= without + 1); // at its close, for the place that is free
}
