//! The events, gaps and resets that the subscribers of a hub get.

mod bounds;
mod caches;
mod demand;
mod disconnect;
mod disconnect_topic;
mod ends;
mod finish;
mod handle;
mod ids;
mod info;
mod lag;
mod latest_every;
mod newest;
mod options;
mod order;
mod replays;
mod resume;
mod sets;
mod wakers;

use futures_util::{FutureExt as _, StreamExt as _};
use http_sse::{Event, Hub, LastEventId, SseBody, Subscription, hub::Position};

/// Reads all ready events. The flag is false if the subscription has ended.
fn read(subscription: &mut Subscription) -> (String, bool) {
    let mut all = String::new();
    loop {
        match subscription.next().now_or_never() {
            Some(Some(events)) => all += std::str::from_utf8(events.as_bytes()).unwrap(),
            Some(None) => return (all, false),
            None => return (all, true),
        }
    }
}

/// Returns everything that a body sends now. The flag is false if it has ended.
fn sent(body: &mut SseBody<Subscription>) -> (String, bool) {
    let mut all = Vec::new();
    let is_open = loop {
        match body.next().now_or_never() {
            Some(Some(frame)) => all.extend_from_slice(&frame.unwrap()),
            Some(None) => break false,
            None => break true,
        }
    };
    (String::from_utf8(all).unwrap(), is_open)
}

fn last(position: impl ToString) -> LastEventId {
    position.to_string().parse().unwrap()
}

fn publish(hub: &Hub, topic: &str, data: &str) -> Position {
    hub.publish(topic, Event::data(data.to_owned())).unwrap()
}

fn wire(data: &str, at: Position) -> String {
    format!("data: {data}\nid: {at}\n\n")
}

fn reset(reason: &str, at: Position) -> String {
    format!("event: reset\ndata: {reason}\nid: {at}\n\n")
}
