//! Hubs of several servers on one log: the same order everywhere, and no gap without a reset.

mod bounds;
mod changes;
mod delivery;
mod engine;
mod finish;
mod gaps;
mod hangs;
mod latest;
mod memory_log;
mod reading;
mod status;

use std::{ops::Deref, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub, LastEventId, Subscription,
    hub::{DistributedHub, EncodedEvents, EventLog, Position},
};
use tokio::time::sleep;

use crate::deadline::{Background, until, within, within_time};

/// A time on the paused clock that is longer than any test.
const HOUR: Duration = Duration::from_secs(3_600);

/// A server, which has a hub on the log and a task that follows the log.
pub(crate) struct Node {
    pub(crate) hub: DistributedHub,
    _follows: Background,
}

impl Node {
    async fn start(log: &Arc<impl EventLog + 'static>, history: usize) -> Self {
        let hub = Hub::builder().history(history).distributed(log.clone());
        Self::of(within("the log to be loaded", hub).await.unwrap())
    }

    pub(crate) fn of(hub: DistributedHub) -> Self {
        let follows = hub.clone();
        let _follows = Background::spawn(async move {
            within_time(HOUR, "the hub to be closed", follows.follow()).await;
        });
        Self { hub, _follows }
    }

    /// Waits until the hub has read the log up to this position.
    async fn reaches(&self, at: Position) {
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

async fn publish(hub: &DistributedHub, topic: &str, data: &str) -> Position {
    let published = hub.publish(topic, Event::data(data.to_owned()));
    within("the log to take an event", published).await.unwrap()
}

fn wire(data: &str, at: Position) -> String {
    format!("data: {data}\nid: {at}\n\n")
}

fn reset(reason: &str, at: Position) -> String {
    format!("event: reset\ndata: {reason}\nid: {at}\n\n")
}

pub(crate) fn last(position: impl ToString) -> LastEventId {
    position.to_string().parse().unwrap()
}

/// Reads all events of the next three seconds. The paused clock advances when all tasks are idle.
async fn read(subscription: &mut Subscription) -> String {
    let read = subscription.take_until(sleep(Duration::from_secs(3)));
    let pieces: Vec<EncodedEvents> = within("all events", read.collect()).await;
    let pieces = pieces.iter().map(EncodedEvents::as_bytes);
    String::from_utf8(pieces.collect::<Vec<_>>().concat()).unwrap()
}
