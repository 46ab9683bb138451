//! A server with a hub on a log.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{ops::Deref, sync::Arc, time::Duration};

use http_sse::{
    Hub, LastEventId,
    hub::{DistributedHub, EventLog, Position},
};

use crate::deadline::{Background, until, within, within_time};

/// A time that is longer than any test.
pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// A server, which has a hub on the log and a task that follows the log.
pub(crate) struct Node {
    pub(crate) hub: DistributedHub,
    pub(crate) follows: Background,
}

impl Node {
    pub(crate) async fn start(log: &Arc<impl EventLog + 'static>, history: usize) -> Self {
        let hub = Hub::builder().history(history).distributed(log.clone());
        Self::of(within("the log to be loaded", hub).await.unwrap())
    }

    pub(crate) fn of(hub: DistributedHub) -> Self {
        let followed = hub.clone();
        let follows = Background::spawn(async move {
            within_time(HOUR, "the hub to be closed", followed.follow()).await;
        });
        Self { hub, follows }
    }

    /// Waits until the hub has read the log up to this position.
    pub(crate) async fn reaches(&self, at: Position) {
        until(format_args!("the hub to read up to {at}"), || {
            self.head() == at
        })
        .await;
    }
}

impl Deref for Node {
    type Target = DistributedHub;

    fn deref(&self) -> &DistributedHub {
        &self.hub
    }
}

/// Returns the last event ID of a client that has everything up to a position.
pub(crate) fn last(position: impl ToString) -> LastEventId {
    position.to_string().parse().unwrap()
}
