//! The model, which decides whether a plan allows an outcome.

use http_sse::{CloseReason, CloseReport, Connections};

use super::{
    Outcome,
    plan::{OnError, Order, Plan, Step},
};

const KEEP_ALIVE: &str = ": keep\n";
const GOODBYE: &str = "data: bye\n\n";
const DONE: &str = "data: [DONE]\n\n";
const FAILED: &str = "event: failed\ndata: failed\n\n";
const BROKEN_OFF: &str = "data: broken off\n\n";

/// Encodes an event as section 9.2.5 of the standard defines it, in the simplest way.
fn wire(data: &str, id: Option<u32>) -> String {
    let id = id.map_or_else(String::new, |id| format!("id: {id}\n"));
    let data = data.replace("\r\n", "\n").replace('\r', "\n");
    let lines = data.split('\n').map(|line| format!("data: {line}\n"));
    format!("{id}{}\n", lines.collect::<String>())
}

/// Asserts that the model allows an outcome.
pub(super) fn check(
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

    // Whole events in order, with keep-alives only between them.
    let text = std::str::from_utf8(&outcome.bytes).unwrap();
    let mut rest = text;
    if !text.is_empty() {
        rest = text
            .strip_prefix(":\n")
            .expect("the output starts with a comment");
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

    // The reason fits the plan, and every event that the source yielded was sent.
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
        assert!(left || !plan.drop_panics, "the panic was lost");
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
        assert_eq!(events, yielded, "an event of the source was lost");
    }
}

/// Returns whether the rest is the comment that precedes a failure if nothing waits to be sent.
fn is_comment_before_failure(ends: &[&str], rest: &str, reason: CloseReason) -> bool {
    reason == CloseReason::Error && ends.contains(&"") && rest == ":\n"
}

impl Plan {
    /// Returns the texts that may follow the last event of the source if the stream closed for this
    /// reason.
    pub(super) fn ends(&self, reason: CloseReason) -> Vec<&'static str> {
        match reason {
            CloseReason::End => self.end_of_source(),
            CloseReason::Shutdown => vec![GOODBYE],
            // The drop of the source may panic after any end.
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

    /// Returns the texts that may follow the last event if the source ends.
    pub(super) fn end_of_source(&self) -> Vec<&'static str> {
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
