//! A subscriber that does not read, beside a thousand that do. Alone in its file, since it measures
//! times.

use std::{
    env,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Event, Hub};
use tokio::{task::yield_now, time::interval};

const SUBSCRIBERS: usize = 1_000;
const BURST: u64 = 250;
const BURSTS_A_SECOND: u32 = 40;
const HISTORY: usize = 1 << 20;

/// A thousand subscribers of which one does not read, 10,000 events of 200 bytes a second: memory
/// stays within the history and 1 KiB for each, the others get theirs as soon as without it, and
/// it gets what its policy says when it reads again.
#[test]
fn one_that_stalls_costs_nothing_and_delays_nobody() {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let time = Duration::from_secs(if required { 60 } else { 6 });
    let hub = Hub::builder()
        .history(usize::MAX)
        .history_bytes(HISTORY)
        .build();
    // A machine that does something else at the time can spoil two runs.
    let moves = (0..3)
        .map(|_| p99_moves_by(&hub, time))
        .find(|change| *change < 0.1);
    assert!(moves.is_some(), "the p99 of the others moves");

    let memory = hub.memory();
    println!("{memory} bytes of memory");
    let per_event = 2; // what an event costs beyond its bytes is less than those
    assert!(
        memory <= per_event * HISTORY + SUBSCRIBERS * 1_024,
        "{memory}"
    );

    let mut stalled = hub.subscribe(["a"]);
    for _ in 0..HISTORY / 200 {
        hub.publish("a", Event::data("x".repeat(200))).unwrap();
    }
    let reset = stalled.next().now_or_never().unwrap().unwrap();
    let head = hub.head();
    assert_eq!(
        reset,
        &*format!("event: reset\ndata: lagged\nid: {head}\n\n")
    );
}

/// By how much of itself the p99 of the time to all others is longer while one stalls.
fn p99_moves_by(hub: &Hub, time: Duration) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let began = Instant::now();
    // When each of those who read has its burst.
    let delivered = Arc::new(Mutex::new(Vec::with_capacity(SUBSCRIBERS)));
    for _ in 1..SUBSCRIBERS {
        let (mut subscription, delivered) = (hub.subscribe(["a"]), delivered.clone());
        runtime.spawn(async move {
            let mut events = 0;
            while let Some(more) = subscription.next().await {
                events += more.count();
                if events % BURST == 0 {
                    delivered.lock().unwrap().push(began.elapsed());
                }
            }
        });
    }
    let data = "x".repeat(200);
    let mut delays = [Vec::new(), Vec::new()];
    let mut stalled = None;
    runtime.block_on(async {
        let mut pace = interval(Duration::from_secs(1) / BURSTS_A_SECOND);
        for burst in 0_u32.. {
            pace.tick().await;
            if began.elapsed() > time {
                break;
            }
            // In turns of a quarter of a second, so that a machine that is busy is so for both.
            let is_stalled = burst / (BURSTS_A_SECOND / 4) % 2;
            match (is_stalled, &stalled) {
                (0, _) => stalled = None,
                (_, None) => stalled = Some(hub.subscribe(["a"])),
                _ => {}
            }
            let published = began.elapsed();
            for _ in 0..BURST {
                hub.publish("a", Event::data(data.clone())).unwrap();
            }
            while delivered.lock().unwrap().len() < SUBSCRIBERS - 1 {
                yield_now().await;
            }
            let took = delivered
                .lock()
                .unwrap()
                .drain(..)
                .map(|at| at - published)
                .collect::<Vec<_>>();
            delays[is_stalled as usize].extend(took);
        }
    });
    let [without, with] = delays.map(|mut delays| {
        delays.sort_unstable();
        delays[delays.len() * 99 / 100]
    });
    let change = with.as_secs_f64() / without.as_secs_f64() - 1.0;
    println!(
        "p99 without {without:?}, with {with:?}: {:+.1} %",
        change * 100.0
    );
    change
}
