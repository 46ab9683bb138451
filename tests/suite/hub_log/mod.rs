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

use std::time::Duration;

use futures_util::StreamExt as _;
use http_sse::{
    Event, Subscription,
    hub::{DistributedHub, EncodedEvents, Position},
};
use tokio::time::sleep;

use crate::{
    deadline::within,
    node::{HOUR, Node, last},
};

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

/// Reads all events of the next three seconds. The paused clock advances when all tasks are idle.
async fn read(subscription: &mut Subscription) -> String {
    let read = subscription.take_until(sleep(Duration::from_secs(3)));
    let pieces: Vec<EncodedEvents> = within("all events", read.collect()).await;
    let pieces = pieces.iter().map(EncodedEvents::as_bytes);
    String::from_utf8(pieces.collect::<Vec<_>>().concat()).unwrap()
}
