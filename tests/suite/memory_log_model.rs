//! The model of servers on an unreliable log, with a log in memory and a paused clock.

use std::{env, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use http_sse::hub::{EventLog as _, MemoryLog, Position};

use crate::log_model::{Lossy, Plan, clients_get_each_event_once_or_an_explained_reset};

impl Lossy for MemoryLog {
    fn trim(&self, kept: usize) -> BoxFuture<'_, ()> {
        Self::trim(self, kept);
        Box::pin(async {})
    }

    fn lose(&self, entries: usize) -> BoxFuture<'_, Position> {
        Self::lose(self, entries);
        let head = self.head().now_or_never().unwrap().unwrap();
        Box::pin(async move { head })
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_switch_servers_get_each_event_once_or_an_explained_reset() {
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let plan = Plan {
        events: if required { 1_000_000 } else { 100_000 },
        clients: 40,
        pause: Duration::from_millis(100),
        time: Duration::from_secs(60),
    };
    let new_log = async || {
        let log: Arc<dyn Lossy> = Arc::new(MemoryLog::new(7, usize::MAX));
        log
    };
    clients_get_each_event_once_or_an_explained_reset(plan, new_log).await;
}
