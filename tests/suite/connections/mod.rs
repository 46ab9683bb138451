//! Limits, ends and counts of connections, on tokio's paused clock.

mod counts;
mod ends;
mod ids;
mod limits;
mod many;
mod wakers;

use std::time::Duration;

use futures_util::stream;
use http_sse::{CloseReason, Connections, Event, Sse, SseBody, Totals};

use crate::body::frame;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Returns a silent stream without keep-alives.
fn silent(connections: &Connections, key: &str) -> SseBody<stream::Pending<Event>> {
    Sse::new(stream::pending())
        .keep_alive(None)
        .permit(connections.admit(key).unwrap())
        .into_body()
}

fn assert_balanced(totals: &Totals) {
    let closed: u64 = REASONS.iter().map(|reason| totals.closed(*reason)).sum();
    assert_eq!(totals.opened, totals.open as u64 + closed, "{totals:?}");
}

const REASONS: [CloseReason; 7] = [
    CloseReason::End,
    CloseReason::Error,
    CloseReason::MaxAge,
    CloseReason::Shutdown,
    CloseReason::ByServer,
    CloseReason::Lagged,
    CloseReason::ClientGone,
];
