//! The hub against a simple model, a list of the events of each topic.

mod client;
mod model;
mod threads;

use std::collections::BTreeSet;

use http_sse::{
    Event, Hub,
    hub::{Position, PublishError, PublishOptions},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};

use self::{client::Client, model::Model};
use crate::{chance::chance, deadline::watch};

const TOPICS: usize = 12;
const PUBLISHERS: usize = 8;
const SUBSCRIBERS: usize = 32;
/// The number of events in the history of a topic.
const HISTORY: usize = 20;

type Topics = BTreeSet<usize>;

fn name(topic: usize) -> String {
    format!("topic {topic}")
}

fn some_topics(chance: &mut TestRng) -> Topics {
    let wanted = chance.random_range(1..=4);
    (0..wanted)
        .map(|_| chance.random_range(0..TOPICS))
        .collect()
}

/// An event or a reset that a client sees, with its position and its text.
#[derive(Clone, Debug, PartialEq)]
struct Seen(Position, String);

/// Runs a million operations. Each subscriber must see exactly what the model predicts.
#[test]
fn subscribers_see_what_the_model_predicts() {
    const OPERATIONS: usize = 1_000_000;
    /// The number of operations after which the hub is closed and replaced.
    const CLOSE: usize = 50_000;

    watch();
    let mut chance = chance();
    let new = || Hub::builder().history(HISTORY).build();
    let mut hub = new();
    let mut model = Model::new(hub.head());
    let mut clients: Vec<Client> = Vec::new();
    let (mut seen, mut resets) = (0, 0);
    for operation in 1..=OPERATIONS {
        if operation % CLOSE == 0 {
            hub.close();
            model.closed = true;
            clients
                .drain(..)
                .for_each(|mut client| _ = client.check(&model));
            hub = new();
            model = Model::new(hub.head());
        }
        assert!(hub.memory() < 1 << 20, "{} bytes", hub.memory());
        let client = chance.random_range(0..SUBSCRIBERS);
        // Some topics are busier than others.
        let topic = chance
            .random_range(0..TOPICS)
            .min(chance.random_range(0..TOPICS));
        match chance.random_range(0..1_000) {
            0 => {
                hub.remove(&name(topic));
                model.remove(topic);
            }
            1 => match hub.finish(&name(topic)) {
                Ok(at) => model.finish(topic, at),
                Err(error) => {
                    assert!(matches!(error, PublishError::Finished), "{error}");
                    assert!(model.is_finished(topic));
                }
            },
            2..20 if client < clients.len() => clients.swap_remove(client).leave(&mut model),
            20..60 if clients.len() < SUBSCRIBERS => {
                clients.push(Client::connect(&hub, &mut model, &mut chance));
            }
            60..80 if client < clients.len() => {
                clients[client].change_topics(&mut model, &mut chance);
            }
            80..500 if client < clients.len() => {
                for got in clients[client].check(&model) {
                    seen += 1;
                    resets += usize::from(got.1.starts_with("event"));
                }
            }
            _ => {
                let text = format!("{operation} of {topic}");
                let key = chance.random_range(0..30);
                let key = (key < 5).then(|| key.to_string());
                let mut options = PublishOptions::new();
                if let Some(key) = &key {
                    options = options.coalesce(key.clone());
                }
                let event = Event::data(text.clone());
                match hub.publish_with(&name(topic), event, &options) {
                    Ok(at) => model.publish(topic, at, &text, key),
                    Err(error) => {
                        assert!(matches!(error, PublishError::Finished), "{error}");
                        assert!(model.is_finished(topic));
                    }
                }
            }
        }
    }
    println!("{seen} events were seen, {resets} of them resets");
    assert!(seen > OPERATIONS / 2 && resets > OPERATIONS / 1_000);
}
