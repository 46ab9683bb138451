//! The publishers of the run.

use std::{sync::Arc, time::Duration};

use http_sse::{
    Event,
    hub::{PublishError, PublishOptions},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::sleep;

use super::World;
use crate::deadline::within;

/// The number of events of a generation.
pub(super) const CHUNKS: u64 = 20;

/// Publishes to a topic until the run is over.
pub(super) async fn publish(world: Arc<World>, topic: &str, mut chance: TestRng) {
    let is_feed = topic.starts_with("feed");
    loop {
        let key = match is_feed {
            true => String::new(),
            false => chance.random_range(0..5).to_string(),
        };
        let id = (topic.to_owned(), key.clone());
        let number = world.published.lock().unwrap().get(&id).copied();
        let number = number.unwrap_or_default() + 1;
        let mut options = PublishOptions::new();
        if !is_feed {
            options = options.coalesce(key.clone());
        }
        publish_one(&world, topic, &key, number, options, &mut chance).await;
        world.published.lock().unwrap().insert(id, number);
        sleep(chance.random_range(Duration::ZERO..world.plan.pause)).await;
    }
}

/// Publishes a generation and finishes its topic.
pub(super) async fn generate(world: Arc<World>, topic: String, mut chance: TestRng) {
    for number in 1..=CHUNKS {
        publish_one(
            &world,
            &topic,
            "",
            number,
            PublishOptions::new(),
            &mut chance,
        )
        .await;
        sleep(Duration::from_millis(chance.random_range(0..200))).await;
    }
    // The log may lose the end, so it is written again.
    loop {
        let is_last = world.is_ending();
        let (_, hub) = world.server(&mut chance);
        let finished = within("the result of a finish", hub.finish(&topic)).await;
        if is_last && matches!(finished, Ok(_) | Err(PublishError::Finished)) {
            return;
        }
        sleep(Duration::from_secs(5)).await;
    }
}

/// Publishes an event on any server, again and again until it is known to be in the log.
async fn publish_one(
    world: &World,
    topic: &str,
    key: &str,
    number: u64,
    options: PublishOptions,
    chance: &mut TestRng,
) {
    let text = format!("{topic}/{key}/{number}");
    let options = options.idempotency_key(text.clone());
    loop {
        let (_, hub) = world.server(chance);
        let published = hub.publish_with(topic, Event::data(text.clone()), &options);
        if within("the result of a publication", published)
            .await
            .is_ok()
        {
            return;
        }
    }
}
