//! Hubs of several servers on one log: one order, nothing lost or doubled but what is told.

mod delivery;
mod engine;
mod faults;
mod memory_log;
mod reading;

use std::{ops::Deref, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use http_sse::{
    Event, Hub, LastEventId, Subscription,
    hub::{DistributedHub, EncodedEvents, EventLog, Position},
};
use tokio::time::sleep;

use crate::deadline::{Background, until, within, within_time};

/// Longer than any test lasts on the paused clock.
const HOUR: Duration = Duration::from_secs(3_600);

/// A server: a hub on the log, and the task that follows it.
struct Node {
    hub: DistributedHub,
    _follows: Background,
}

impl Node {
    async fn start(log: &Arc<impl EventLog + 'static>, history: usize) -> Self {
        let hub = Hub::builder().history(history).distributed(log.clone());
        Self::of(within("the log to be loaded", hub).await.unwrap())
    }

    fn of(hub: DistributedHub) -> Self {
        let follows = hub.clone();
        let _follows = Background::spawn(async move {
            within_time(HOUR, "the hub to be closed", follows.follow()).await;
        });
        Self { hub, _follows }
    }

    /// Waits until it has read the log up to there.
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

fn last(position: impl ToString) -> LastEventId {
    position.to_string().parse().unwrap()
}

/// Reads all that comes before the clock moves on by three seconds, which it does when nothing is
/// left to do.
async fn read(subscription: &mut Subscription) -> String {
    let read = subscription.take_until(sleep(Duration::from_secs(3)));
    let pieces: Vec<EncodedEvents> = within("all that there is", read.collect()).await;
    let pieces = pieces.iter().map(EncodedEvents::as_bytes);
    String::from_utf8(pieces.collect::<Vec<_>>().concat()).unwrap()
}
