//! Compares the body with a naive model under random sources, options, actions, readers and times.
//!
//! `HTTP_SSE_SEED=… cargo test --test suite body_model` repeats a run.

mod model;
mod plan;

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
use http_sse::{Connections, EncodedEvent, Event, EventType, KeepAlive, Sse};
use tokio::time::{Instant, advance};

use self::{
    model::check,
    plan::{OnError, Order, Plan, Step, plan},
};
use crate::chance::chance;

/// The time after which the reader leaves a stream that has not ended. It is longer than every
/// plan, including the wait before an error.
const GIVEN_UP: Duration = Duration::from_millis(800);

/// The outcome of a run.
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

    // The reader polls at its own pace, and ignores wake-ups.
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
                assert!(!ends, "a frame after the end");
                assert!(!frame.is_empty());
                outcome.bytes.extend_from_slice(&frame);
                held.push_back(frame);
            }
            Ok(None) => {
                assert!(!ends, "pending after the end");
                held.pop_front();
                advance(plan.pace).await;
                if start.elapsed() > GIVEN_UP {
                    outcome.left = true; // it may never end
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

/// A part of a source whose drop panics, unless the thread is already panicking.
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
fn every_run_of_a_body_agrees_with_the_model() {
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
