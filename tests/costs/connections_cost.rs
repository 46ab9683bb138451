//! The memory and the allocations of permits.

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

/// Measures the permits of many streams with the same key. A permit takes 96.2 bytes. When it has
/// ended, 12.3 bytes are kept for later permits. A new key also costs itself and its entry.
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
        println!("half of them replaced: {:+} bytes", again.bytes_current);
        // The list of free places.
        assert!(again.bytes_current as usize <= 4 * streams);
        let closed = measure(|| permits.clear());
        let left = admitted.bytes_current + again.bytes_current + closed.bytes_current;
        println!(
            "kept for later permits: {:.1} bytes each",
            left as f64 / streams as f64
        );
        assert!(left as usize <= 17 * streams);
        drop(first);
    }
    // The permit in the body. 40 bytes of it are the span of the feature `tracing`.
    println!("{} bytes in place", size_of::<Permit>());
    assert!(size_of::<Permit>() <= 64);
}

/// Users come and go, and each has a key of its own.
#[test]
fn a_key_without_streams_costs_nothing() {
    let connections = Connections::new();
    let _open = connections.admit("open").unwrap();
    let measured = measure(|| {
        for user in 0..100_000 {
            drop(connections.admit(format!("user {user}")).unwrap());
        }
    });
    println!("{} bytes after 100,000 keys", measured.bytes_current);
    assert!(measured.bytes_current <= 1_024);
}

#[test]
fn counting_events_does_not_allocate() {
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
    assert!(with <= without + 1); // at the close, for the list of free places
}
