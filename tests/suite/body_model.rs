//! The body beside a naive model, under random sources, options, orders, readers and times.
//!
//! `HTTP_SSE_SEED=… cargo test --test suite body_model` repeats a run.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body::Body as _;
use http_sse::{CloseReason, Connections, EncodedEvent, Event, EventType, KeepAlive, Sse};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::{Instant, advance};

use crate::chance::chance;

const KEEP_ALIVE: &str = ": keep\n";
const GOODBYE: &str = "data: bye\n\n";
const DONE: &str = "data: [DONE]\n\n";

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
    End,
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
    on_error: bool,
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
    steps.push(match chance.random_range(0..6) {
        0 => Step::Fail,
        1 => Step::Panic,
        2 => Step::Pause(Duration::from_secs(1_000)),
        _ => Step::End,
    });
    let some = |chance: &mut TestRng, one_in| chance.random_range(0..one_in) == 0;
    Plan {
        steps,
        keep_alive: (!some(chance, 4)).then(|| millis(chance, 60)),
        linger: some(chance, 4).then(|| millis(chance, 30)),
        max_age: some(chance, 4).then(|| millis(chance, 200)),
        end_with: some(chance, 2),
        on_error: some(chance, 2),
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
    let closes = Rc::new(RefCell::new(Vec::new()));
    let yielded = Rc::new(Cell::new(0));

    // The source.
    let mut steps: VecDeque<_> = plan.steps.clone().into();
    let mut until: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
    let count = yielded.clone();
    let source = stream::poll_fn(move |cx| {
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
                Step::Panic => std::panic::resume_unwind(Box::new("the source panics")),
                Step::End => return Poll::Ready(None),
            }
        }
    });

    // The response.
    let (sender, reports) = std::sync::mpsc::channel();
    let mut sse = Sse::new(source)
        .permit(permit)
        .on_close(move |report| sender.send(report).unwrap());
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
    if plan.on_error {
        const FAILED: EventType = EventType::from_static("failed");
        sse = sse.on_error(|error| Event::data(error).event_type(FAILED));
    }

    // The reader, which polls at its own pace whatever wakes it.
    let start = Instant::now();
    let mut body = Some(sse.into_body());
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
        let Some(polled) = body.as_mut() else { break };
        let ends = polled.is_end_stream();
        let frame = catch_unwind(AssertUnwindSafe(|| polled.next().now_or_never()));
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
    let left = body.is_some() && outcome.left;
    drop(body.take());
    closes.borrow_mut().extend(reports.try_iter());
    check(
        plan,
        &outcome,
        left,
        &closes.borrow(),
        yielded.get(),
        &connections,
    );
}

/// What the model says of an outcome.
fn check(
    plan: &Plan,
    outcome: &Outcome,
    left: bool,
    reports: &[http_sse::CloseReport],
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
    let failed = "event: failed\ndata: failed\n\n";
    let last = plan.steps.last().unwrap();
    let fails = matches!(last, Step::Fail);
    let end = match report.reason {
        CloseReason::End if plan.end_with => DONE,
        CloseReason::Error if plan.on_error && fails => failed,
        CloseReason::Error if rest == ":\n" => ":\n",
        CloseReason::Shutdown => GOODBYE,
        _ => "",
    };
    let is_whole = rest == end;
    assert!(
        is_whole || left && (torn || end.starts_with(rest)),
        "{:?} at the end, {:?} expected",
        rest.chars().take(60).collect::<String>(),
        end
    );

    // The reason, and that nothing is lost that was taken from the source.
    match report.reason {
        CloseReason::End => assert!(matches!(last, Step::End) && !outcome.failed),
        CloseReason::Error => {
            assert!(matches!(last, Step::Fail | Step::Panic));
            let breaks = outcome.failed || outcome.panicked || left;
            assert!(breaks || plan.on_error);
            assert!(!outcome.panicked || matches!(last, Step::Panic));
        }
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

/// An item of either kind.
enum Item {
    Event(Event),
    Encoded(EncodedEvent),
}

impl http_sse::Encode for Item {
    type Error = std::convert::Infallible;

    fn encode(self, encoder: &mut http_sse::Encoder<'_>) -> Result<(), Self::Error> {
        match self {
            Self::Event(event) => event.encode(encoder),
            Self::Encoded(event) => event.encode(encoder),
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
            std::panic::resume_unwind(panic);
        }
    }
}
