//! Times two functions in turns, so that their ratio holds if the speed of the machine drifts.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Prints the ratio of the time of `peer` to the time of `ours`, and its floor.
///
/// Each time is the median of 41 runs.
pub(crate) fn compare(
    name: &str,
    other: &str,
    floor: f64,
    ours: impl Fn() -> usize,
    peer: impl Fn() -> usize,
) {
    let [ours, peer] = medians(ours, peer);
    let ratio = peer / ours;
    let label = if ratio >= floor {
        format!(" (floor {floor}x)")
    } else {
        format!(", below the floor of {floor}x")
    };
    println!("ratio {name}: {ratio:.2}x as fast as {other}{label}");
}

/// Prints the ratio of the time of `ours` to the time of `other`, and its ceiling.
#[allow(dead_code, reason = "not every benchmark has a ceiling")]
pub(crate) fn at_most(
    name: &str,
    other: &str,
    ceiling: f64,
    ours: impl Fn() -> usize,
    peer: impl Fn() -> usize,
) {
    let [ours, peer] = medians(ours, peer);
    let ratio = ours / peer;
    println!(
        "ratio {name}: {ratio:.2} of {other}{}",
        label(ratio, ceiling)
    );
}

/// Returns the ceiling, and whether a figure exceeds it.
#[allow(dead_code, reason = "not every benchmark has a ceiling")]
pub(crate) fn label(figure: f64, ceiling: f64) -> String {
    if figure <= ceiling {
        format!(" (ceiling {ceiling})")
    } else {
        format!(", above the ceiling of {ceiling}")
    }
}

/// Returns the median times of both, in seconds.
fn medians(ours: impl Fn() -> usize, peer: impl Fn() -> usize) -> [f64; 2] {
    const RUNS: usize = 41;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        times[0].push(time(&ours));
        times[1].push(time(&peer));
    }
    times.map(|mut times| {
        times.sort();
        times[RUNS / 2].as_secs_f64()
    })
}

fn time(run: impl Fn() -> usize) -> Duration {
    // Several runs in a row reduce the effect of the caches that the other function filled.
    const IN_A_ROW: usize = 8;
    let start = Instant::now();
    for _ in 0..IN_A_ROW {
        black_box(run());
    }
    start.elapsed()
}
