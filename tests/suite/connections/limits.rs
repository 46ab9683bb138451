//! Limits per server and per key.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::stream;
use http_sse::{Connections, Event, Sse};

use super::assert_balanced;
use crate::deadline::joined;

#[test]
fn a_server_rejects_streams_beyond_its_limit() {
    let connections = Connections::new().max(2);
    let first = connections.admit("a").unwrap();
    let _second = connections.admit("b").unwrap();
    let full = connections.admit("c").unwrap_err();
    assert!(!full.is_by_key());
    assert_eq!(
        full.to_string(),
        "the server has reached its limit of open streams"
    );
    drop(first);
    let _third = connections.admit("c").unwrap();
    assert!(connections.admit("d").is_err());

    let totals = connections.totals();
    assert_eq!((totals.open, totals.opened), (2, 3));
    assert_eq!((totals.refused_by_server, totals.refused_by_key), (2, 0));
    assert_balanced(&totals);
}

#[test]
fn a_key_rejects_streams_beyond_its_limit() {
    let connections = Connections::new().max(3).max_per_key(1);
    let first = connections.admit("a").unwrap();
    let full = connections.admit("a").unwrap_err();
    assert!(full.is_by_key());
    assert_eq!(
        full.to_string(),
        "the client has reached its limit of open streams"
    );
    let _other = connections.admit("b").unwrap();
    drop(first);
    let _again = connections.admit("a").unwrap();
    assert_eq!(connections.totals().refused_by_key, 1);
}

#[test]
fn a_limit_of_zero_admits_nobody() {
    assert!(
        !Connections::new()
            .max(0)
            .admit("a")
            .unwrap_err()
            .is_by_key()
    );
    let by_key = Connections::new().max_per_key(0);
    assert!(by_key.admit("a").unwrap_err().is_by_key());
}

#[test]
fn a_refusal_is_a_response() {
    let refused = |connections: Connections| {
        let full = connections.admit("a").unwrap_err();
        let response = Sse::<stream::Empty<Event>>::from(full).into_response();
        let retry_after = response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.headers().contains_key("content-type"));
        assert!(http_body::Body::is_end_stream(response.body()));
        (response.status().as_u16(), retry_after)
    };
    assert_eq!(refused(Connections::new().max(0)), (503, "5".into()));
    let by_key = Connections::new().max_per_key(0);
    let retry_after = by_key.retry_after(Duration::from_millis(1_001));
    assert_eq!(refused(retry_after), (429, "2".into()));
}

/// 64 threads compete for ten permits. No more than ten are ever open, and all are returned.
#[test]
fn a_race_never_exceeds_the_limit() {
    const TASKS: usize = 64;
    const MAX: usize = 10;
    let connections = Connections::new().max(MAX);
    let open = Arc::new(AtomicUsize::new(0));
    let barrier = Arc::new(Barrier::new(TASKS));
    let threads: Vec<_> = (0..TASKS)
        .map(|n| {
            let (connections, open) = (connections.clone(), open.clone());
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                barrier.wait(); // waits for good: all threads are started
                let mut admitted = 0;
                for _ in 0..500 {
                    if let Ok(permit) = connections.admit(format!("key {}", n % 7)) {
                        admitted += 1;
                        assert!(open.fetch_add(1, SeqCst) < MAX);
                        std::thread::yield_now();
                        open.fetch_sub(1, SeqCst);
                        drop(permit);
                    }
                }
                admitted
            })
        })
        .collect();
    let admitted: u64 = threads
        .into_iter()
        .map(|thread| joined("a thread that admits", thread))
        .sum();
    let totals = connections.totals();
    assert_eq!((totals.open, totals.opened), (0, admitted));
    assert_eq!(totals.refused_by_server, (TASKS * 500) as u64 - admitted);
    assert_balanced(&totals);
}
