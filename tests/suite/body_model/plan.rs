//! Random plans of runs: a source, its options, an action from outside, and a reader.

use std::time::Duration;

use proptest::{prelude::RngExt as _, test_runner::TestRng};

/// A step of a source.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Yields an event with this data and perhaps an ID. If the flag is set, it is already encoded.
    Event(String, Option<u32>, bool),
    /// Is pending for this time.
    Pause(Duration),
    Fail,
    Panic,
    /// Yields an item that panics after it has written a part of itself.
    PanickingItem,
    End,
}

/// The behaviour of `on_error`, if it is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum OnError {
    Event,
    Panic,
}

/// An action on the stream from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Order {
    Shutdown,
    Close,
    Drain(Duration),
    Leave,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) keep_alive: Option<Duration>,
    pub(super) linger: Option<Duration>,
    pub(super) max_age: Option<Duration>,
    pub(super) end_with: bool,
    pub(super) on_error: Option<OnError>,
    pub(super) break_off_with: bool,
    /// True if the drop of the source panics.
    pub(super) drop_panics: bool,
    pub(super) order: Option<(Duration, Order)>,
    /// The time between two polls of the reader.
    pub(super) pace: Duration,
    /// The number of frames that the reader holds.
    pub(super) holds: usize,
}

pub(super) fn plan(chance: &mut TestRng) -> Plan {
    let mut steps = Vec::new();
    for n in 0..chance.random_range(0..12_u32) {
        if chance.random_range(0..3) == 0 {
            steps.push(Step::Pause(millis(chance, 40)));
        }
        let data = match chance.random_range(0..80) {
            0..5 => String::new(),
            5..15 => "two\nlines".into(),
            15 => "x".repeat(chance.random_range(30_000..34_000)),
            16 => "y".repeat(chance.random_range(64_000..70_000)),
            17 => "line\r".repeat(chance.random_range(1..9_000)),
            _ => format!("event {n}"),
        };
        let id = (chance.random_range(0..3) == 0).then_some(n);
        steps.push(Step::Event(data, id, chance.random_range(0..4) == 0));
    }
    steps.push(match chance.random_range(0..7) {
        0 => Step::Fail,
        1 => Step::Panic,
        2 => Step::PanickingItem,
        3 => Step::Pause(Duration::from_secs(1_000)),
        _ => Step::End,
    });
    let some = |chance: &mut TestRng, one_in| chance.random_range(0..one_in) == 0;
    Plan {
        steps,
        keep_alive: (!some(chance, 4)).then(|| millis(chance, 60)),
        linger: some(chance, 4).then(|| millis(chance, 30)),
        max_age: some(chance, 4).then(|| millis(chance, 200)),
        end_with: some(chance, 2),
        on_error: match chance.random_range(0..4) {
            0 | 1 => None,
            2 => Some(OnError::Event),
            _ => Some(OnError::Panic),
        },
        break_off_with: some(chance, 2),
        drop_panics: some(chance, 6),
        order: some(chance, 3).then(|| {
            let order = match chance.random_range(0..4) {
                0 => Order::Shutdown,
                1 => Order::Close,
                2 => Order::Drain(millis(chance, 100)),
                _ => Order::Leave,
            };
            (millis(chance, 150), order)
        }),
        pace: millis(chance, 8),
        holds: chance.random_range(0..4),
    }
}

fn millis(chance: &mut TestRng, below: u64) -> Duration {
    Duration::from_millis(chance.random_range(1..below))
}
