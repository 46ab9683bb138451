//! The body beside a naive model, under random sources, options, orders, readers and times.
//!
//! `HTTP_SSE_SEED=… cargo test --test suite body_model` repeats a run.

use std::{
    cell::Cell,
    collections::VecDeque,
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body::Body as _;
use http_sse::{
    CloseReason, CloseReport, Connections, EncodedEvent, Event, EventType, KeepAlive, Sse,
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::{Instant, advance};

use crate::chance::chance;

const KEEP_ALIVE: &str = ": keep\n";
const GOODBYE: &str = "data: bye\n\n";
const DONE: &str = "data: [DONE]\n\n";
const FAILED: &str = "event: failed\ndata: failed\n\n";
const BROKEN_OFF: &str = "data: broken off\n\n";

/// When the reader leaves a stream that goes on: after all that is planned, and the wait before an
/// error.
const GIVEN_UP: Duration = Duration::from_millis(800);

/// What a source does at one poll.
#[derive(Clone, Debug)]
enum Step {
    /// Yields an event, which has this data and perhaps an id.
    Event(String, Option<u32>, bool),
    /// Is pending for this time.
    Pause(Duration),
    Fail,
    Panic,
    /// Yields an item that panics when it has written a part of itself.
    PanickingItem,
    End,
}

/// What `on_error` does, if it is set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OnError {
    Event,
    Panic,
}

/// What is done to the stream from outside, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    Shutdown,
    Close,
    Drain(Duration),
    Leave,
}

#[derive(Debug)]
struct Plan {
    steps: Vec<Step>,
    keep_alive: Option<Duration>,
    linger: Option<Duration>,
    max_age: Option<Duration>,
    end_with: bool,
    on_error: Option<OnError>,
    break_off_with: bool,
    /// The drop of the source panics.
    drop_panics: bool,
    order: Option<(Duration, Order)>,
    /// How long the reader waits between two polls, and how many frames it holds.
    pace: Duration,
    holds: usize,
}

fn plan(chance: &mut TestRng) -> Plan {
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

/// An event as the standard's 9.2.5 has it, in the simplest way.
fn wire(data: &str, id: Option<u32>) -> String {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    let data = data.replace("\r\n", "\n").replace('\r', "\n");
    let lines = data.split('\n').map(|line| format!("data: {line}\n"));
    format!("{id}{}\n", lines.collect::<String>())
}

/// What came of a run.
#[derive(Debug, Default)]
struct Outcome {
    bytes: Vec<u8>,
    failed: bool,
    panicked: bool,
    ended: bool,
    left: bool,
}

async fn run(plan: &Plan) {
    let connections = Connections::new().goodbye(Event::data("bye"));
    let permit = connections.admit("a").unwrap();
    let yielded = Rc::new(Cell::new(0));

    // The source.
    let mut steps: VecDeque<_> = plan.steps.clone().into();
    let mut until: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
    let count = yielded.clone();
    let dropped = PanicsWhenDropped(plan.drop_panics);
    let source = stream::poll_fn(move |cx| {
        let _ = &dropped;
        loop {
            if let Some(sleep) = &mut until {
                if sleep.as_mut().poll_unpin(cx).is_pending() {
                    return Poll::Pending;
                }
                until = None;
            }
            match steps.pop_front().unwrap_or(Step::End) {
                Step::Event(data, id, encoded) => {
                    count.set(count.get() + 1);
                    let mut event = Event::data(data);
                    if let Some(id) = id {
                        event = event.id(id);
                    }
                    return Poll::Ready(Some(Ok(if encoded {
                        Item::Encoded(event.into())
                    } else {
                        Item::Event(event)
                    })));
                }
                Step::Pause(time) => until = Some(Box::pin(tokio::time::sleep(time))),
                Step::Fail => return Poll::Ready(Some(Err("failed"))),
                Step::Panic => resume_unwind(Box::new("the source panics")),
                Step::PanickingItem => return Poll::Ready(Some(Ok(Item::Panicking))),
                Step::End => return Poll::Ready(None),
            }
        }
    });

    // The response.
    let (sender, reports) = std::sync::mpsc::channel();
    let mut sse = Sse::new(source)
        .permit(permit)
        .on_close(move |report| _ = sender.send(report));
    let keep = |interval| KeepAlive::new().interval(interval).comment("keep");
    sse = sse.keep_alive(plan.keep_alive.map(keep));
    if let Some(linger) = plan.linger {
        sse = sse.linger(linger);
    }
    if let Some(max_age) = plan.max_age {
        sse = sse.max_age(max_age);
    }
    if plan.end_with {
        sse = sse.end_with(Event::data("[DONE]"));
    }
    match plan.on_error {
        None => {}
        Some(OnError::Event) => {
            const FAILED: EventType = EventType::from_static("failed");
            sse = sse.on_error(|error| Event::data(error).event_type(FAILED));
        }
        Some(OnError::Panic) => {
            sse = sse.on_error(|_| resume_unwind(Box::new("on_error panics")));
        }
    }
    if plan.break_off_with {
        sse = sse.break_off_with(Event::data("broken off"));
    }

    // The reader, which polls at its own pace whatever wakes it.
    let start = Instant::now();
    let mut body = sse.into_body();
    let mut outcome = Outcome::default();
    let mut held: VecDeque<Bytes> = VecDeque::new();
    let mut ordered = None;
    for _ in 0..100_000 {
        if let Some((_, order)) = plan.order.filter(|(at, _)| start.elapsed() >= *at) {
            if ordered.is_none() {
                ordered = Some(order);
                match order {
                    Order::Shutdown => connections.shutdown(),
                    Order::Close => _ = connections.close_where(|_| true),
                    Order::Drain(time) => connections.drain(time),
                    Order::Leave => {}
                }
            }
        }
        if ordered == Some(Order::Leave) {
            outcome.left = true;
            break;
        }
        let ends = body.is_end_stream();
        let frame = catch_unwind(AssertUnwindSafe(|| body.next().now_or_never()));
        match frame {
            Err(_) => {
                outcome.panicked = true;
                break;
            }
            Ok(Some(None)) => {
                outcome.ended = true;
                break;
            }
            Ok(Some(Some(Err(error)))) => {
                assert_eq!(error, "failed");
                outcome.failed = true;
                break;
            }
            Ok(Some(Some(Ok(frame)))) => {
                assert!(!ends, "a frame after the last");
                assert!(!frame.is_empty());
                outcome.bytes.extend_from_slice(&frame);
                held.push_back(frame);
            }
            Ok(None) => {
                assert!(!ends, "pending after the last");
                held.pop_front();
                advance(plan.pace).await;
                if start.elapsed() > GIVEN_UP {
                    outcome.left = true; // it would go on for ever
                    break;
                }
            }
        }
        while held.len() > plan.holds {
            held.pop_front();
        }
    }
    let drop_panicked = catch_unwind(AssertUnwindSafe(|| drop(body))).is_err();
    assert!(!drop_panicked || plan.drop_panics && outcome.left);
    let reports: Vec<_> = reports.try_iter().collect();
    check(plan, &outcome, &reports, yielded.get(), &connections);
}

/// Asserts that the model allows an outcome.
fn check(
    plan: &Plan,
    outcome: &Outcome,
    reports: &[CloseReport],
    yielded: usize,
    connections: &Connections,
) {
    let [report] = reports else {
        panic!("{} reports", reports.len());
    };
    let totals = connections.totals();
    assert_eq!((totals.open, totals.opened), (0, 1));
    assert_eq!(totals.closed(report.reason), 1);
    assert_eq!(report.bytes, outcome.bytes.len() as u64);

    // Events in order, each whole, keep-alives only between them.
    let text = std::str::from_utf8(&outcome.bytes).unwrap();
    let mut rest = text;
    if !text.is_empty() {
        rest = text.strip_prefix(":\n").expect("it opens with a comment");
    }
    let mut keep_alives = 0;
    let mut events = 0;
    let mut expected = plan.steps.iter().filter_map(|step| match step {
        Step::Event(data, id, _) => Some(wire(data, *id)),
        _ => None,
    });
    let mut next = expected.next();
    loop {
        if let Some(after) = rest.strip_prefix(KEEP_ALIVE) {
            keep_alives += 1;
            rest = after;
        } else if let Some(after) = next.as_deref().and_then(|next| rest.strip_prefix(next)) {
            events += 1;
            next = expected.next();
            rest = after;
        } else {
            break;
        }
    }
    assert_eq!(keep_alives, report.keep_alives);
    let torn = next.is_some_and(|next| !rest.is_empty() && next.starts_with(rest));
    let ends = plan.ends(report.reason);
    let is_whole = ends.contains(&rest) || is_comment_before_failure(&ends, rest, report.reason);
    let left = outcome.left;
    let is_start = ends.iter().any(|end| end.starts_with(rest));
    assert!(
        is_whole || left && (torn || is_start),
        "{:?} at the end, one of {ends:?} expected",
        rest.chars().take(60).collect::<String>(),
    );

    // The reason, and that nothing is lost that was taken from the source.
    let last = plan.steps.last().unwrap();
    let fails = matches!(last, Step::Fail);
    let panics = matches!(last, Step::Panic | Step::PanickingItem);
    if report.reason == CloseReason::Error {
        assert!(fails || panics || plan.drop_panics);
        let becomes_event = plan.on_error == Some(OnError::Event) && !plan.drop_panics;
        assert!(outcome.failed || outcome.panicked || left || fails && becomes_event);
        assert!(!outcome.failed || fails && plan.on_error.is_none() && !plan.drop_panics);
        let callback_panics = fails && plan.on_error == Some(OnError::Panic);
        assert!(!outcome.panicked || panics || callback_panics || plan.drop_panics);
    } else {
        assert!(!outcome.failed && !outcome.panicked);
        assert!(left || !plan.drop_panics, "a panic is not lost");
    }
    match report.reason {
        CloseReason::End => assert!(matches!(last, Step::End)),
        CloseReason::Error => {}
        CloseReason::MaxAge => assert!(plan.max_age.is_some()),
        CloseReason::Shutdown => assert!(matches!(
            plan.order,
            Some((_, Order::Shutdown | Order::Drain(_)))
        )),
        CloseReason::ByServer => assert!(matches!(plan.order, Some((_, Order::Close)))),
        CloseReason::ClientGone => assert!(left),
        reason => panic!("{reason:?}"),
    }
    if !left {
        assert!(outcome.ended || outcome.failed || outcome.panicked);
        assert_eq!(events, yielded, "what was taken from the source was sent");
    }
}

/// Returns whether the rest is the comment that precedes a failure if nothing else waits to be sent.
fn is_comment_before_failure(ends: &[&str], rest: &str, reason: CloseReason) -> bool {
    reason == CloseReason::Error && ends.contains(&"") && rest == ":\n"
}

impl Plan {
    /// Returns what may stand after the last event of the source, if the stream closed for this
    /// reason.
    fn ends(&self, reason: CloseReason) -> Vec<&'static str> {
        match reason {
            CloseReason::End => self.end_of_source(),
            CloseReason::Shutdown => vec![GOODBYE],
            // Whichever end it was, the drop of the source panicked after it.
            CloseReason::Error if self.drop_panics => {
                let mut ends = self.end_of_source();
                ends.extend(self.order.and_then(|(_, order)| match order {
                    Order::Shutdown | Order::Drain(_) => Some(GOODBYE),
                    Order::Close => Some(""),
                    Order::Leave => None,
                }));
                ends.extend(self.max_age.map(|_| ""));
                ends
            }
            CloseReason::Error => self.end_of_source(),
            _ => vec![""],
        }
    }

    /// Returns what stands after the last event if the source comes to its end.
    fn end_of_source(&self) -> Vec<&'static str> {
        let broken_off = if self.break_off_with { BROKEN_OFF } else { "" };
        match (self.steps.last(), self.on_error) {
            (Some(Step::End), _) if self.end_with => vec![DONE],
            (Some(Step::End), _) => vec![""],
            (Some(Step::Fail), Some(OnError::Event)) => vec![FAILED],
            (Some(Step::Fail | Step::Panic | Step::PanickingItem), _) => vec![broken_off],
            _ => Vec::new(),
        }
    }
}

/// A part of a source whose drop panics, unless a panic is under way.
struct PanicsWhenDropped(bool);

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        if self.0 && !std::thread::panicking() {
            resume_unwind(Box::new("the drop panics"));
        }
    }
}

/// An item of each kind.
enum Item {
    Event(Event),
    Encoded(EncodedEvent),
    Panicking,
}

impl http_sse::Encode for Item {
    type Error = std::convert::Infallible;

    fn encode(self, encoder: &mut http_sse::Encoder<'_>) -> Result<(), Self::Error> {
        match self {
            Self::Event(event) => event.encode(encoder),
            Self::Encoded(event) => event.encode(encoder),
            Self::Panicking => {
                encoder.data("first half");
                resume_unwind(Box::new("the item panics"))
            }
        }
    }
}

#[test]
fn any_run_of_a_body_is_as_the_model_says() {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let runs = if required { 100_000 } else { 3_000 };
    let mut chance = chance();
    for n in 0..runs {
        let plan = plan(&mut chance);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let checked = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&plan))));
        if let Err(panic) = checked {
            for step in &plan.steps {
                println!(
                    "{}",
                    format!("{step:?}").chars().take(80).collect::<String>()
                );
            }
            println!(
                "run {n}: {:?}",
                Plan {
                    steps: Vec::new(),
                    ..plan
                }
            );
            resume_unwind(panic);
        }
    }
}
