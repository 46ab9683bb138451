//! A subscriber that does not read, beside a thousand that do. Alone in its file, since it measures
//! times.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Event, Hub};
use tokio::{task::yield_now, time::interval};

/// A thousand subscribers of which one does not read, 10,000 events of 200 bytes a second: memory
/// stays within the history and 1 KiB for each, the others get theirs as soon as without it, and
/// it gets what its policy says when it reads again.
#[test]
fn one_that_stalls_costs_nothing_and_delays_nobody() {
    const SUBSCRIBERS: usize = 1_000;
    const HISTORY: usize = 1 << 20;
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let round = Duration::from_secs(if required { 6 } else { 1 });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let hub = Hub::builder()
        .history(usize::MAX)
        .history_bytes(HISTORY)
        .build();
    let began = Instant::now();
    let published_at = Arc::new(AtomicU64::new(0));
    let delays = Arc::new(std::sync::Mutex::new(Vec::new()));
    for _ in 1..SUBSCRIBERS {
        let mut subscription = hub.subscribe(["a"]);
        let (published_at, delays) = (published_at.clone(), delays.clone());
        runtime.spawn(async move {
            while let Some(events) = subscription.next().await {
                assert!(events.count() >= 1);
                let now = began.elapsed().as_nanos() as u64;
                delays
                    .lock()
                    .unwrap()
                    .push(now - published_at.load(Relaxed));
            }
        });
    }
    let data = "x".repeat(200);
    // Twenty bursts a second, of five hundred events each.
    let run = || {
        delays.lock().unwrap().clear();
        runtime.block_on(async {
            let start = Instant::now();
            let mut pace = interval(Duration::from_millis(50));
            while start.elapsed() < round {
                pace.tick().await;
                published_at.store(began.elapsed().as_nanos() as u64, Relaxed);
                for _ in 0..500 {
                    hub.publish("a", Event::data(data.clone())).unwrap();
                }
                yield_now().await;
            }
        });
        let mut delays = delays.lock().unwrap();
        delays.sort_unstable();
        assert!(delays.len() > SUBSCRIBERS);
        delays[delays.len() * 99 / 100]
    };
    run();
    let mut p99 = [Vec::new(), Vec::new()];
    let mut stalled = None;
    for n in 0..10 {
        stalled = (n % 2 == 1).then(|| hub.subscribe(["a"]));
        p99[n % 2].push(run());
    }
    let [without, with] = p99.map(|mut p99| {
        p99.sort_unstable();
        p99[p99.len() / 2] as f64
    });
    println!(
        "p99 without {without} ns, with {with} ns: {:+.1} %",
        (with / without - 1.0) * 100.0
    );
    assert!(
        with < without * 1.1,
        "{without} ns without, {with} ns with one that stalls"
    );

    let memory = hub.memory();
    println!("{memory} bytes of memory");
    let per_event = 2; // what an event costs beyond its bytes is less than those
    assert!(
        memory <= per_event * HISTORY + SUBSCRIBERS * 1_024,
        "{memory}"
    );

    let mut stalled = stalled.unwrap();
    let reset = stalled.next().now_or_never().unwrap().unwrap();
    let head = hub.head();
    assert_eq!(
        reset,
        &*format!("event: reset\ndata: lagged\nid: {head}\n\n")
    );
}
