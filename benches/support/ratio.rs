//! Two ways of doing the same, timed in turns, so that their ratio holds when the machine drifts.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Prints how many times longer `peer` takes than `ours`, by the medians of 41 runs of each,
/// and whether that is as `promised`.
pub(crate) fn compare(
    name: &str,
    other: &str,
    promised: f64,
    ours: impl Fn() -> usize,
    peer: impl Fn() -> usize,
) {
    const RUNS: usize = 41;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        times[0].push(time(&ours));
        times[1].push(time(&peer));
    }
    let [ours, peer] = times.map(|mut times| {
        times.sort();
        times[RUNS / 2].as_secs_f64()
    });
    let ratio = peer / ours;
    let kept = if ratio >= promised {
        "kept"
    } else {
        "NOT kept"
    };
    println!("ratio {name}: {ratio:.2}x less time than {other} (promised: {promised}x, {kept})");
}

fn time(run: impl Fn() -> usize) -> Duration {
    // A few in a row, so that what the other left in the caches counts little.
    const IN_A_ROW: usize = 8;
    let start = Instant::now();
    for _ in 0..IN_A_ROW {
        black_box(run());
    }
    start.elapsed()
}
