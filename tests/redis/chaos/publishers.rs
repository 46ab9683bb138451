//! The publishers of a run.

use std::{sync::Arc, time::Duration};

use http_sse::{
    Event,
    hub::{AppendError, PublishError, PublishOptions},
};
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use tokio::time::sleep;

use super::{
    TOPICS, World,
    truth::{Id, Outcome},
};
use crate::deadline::within;

/// The publisher that has idempotency keys, and repeats until an event is stored. The other one has
/// none, and never repeats.
const KEYED: usize = 0;

/// The mean pause of a publisher is half of this.
const PAUSE: u64 = 20;

/// Publishes to random topics, through random nodes, until the run is over.
pub(super) async fn publish(world: Arc<World>, publisher: usize, mut chance: TestRng) {
    let mut numbers = [0; TOPICS];
    while !world.is_over() {
        let topic = chance.random_range(0..TOPICS);
        numbers[topic] += 1;
        let id = Id {
            publisher,
            topic,
            number: numbers[topic],
        };
        world.truth.begins(id);
        loop {
            let outcome = publish_one(&world, id, &mut chance).await;
            if publisher != KEYED || matches!(outcome, Outcome::Stored(_)) {
                world.truth.ends(id, outcome);
                break;
            }
            world.truth.repeats();
            sleep(Duration::from_millis(PAUSE)).await;
        }
        sleep(Duration::from_millis(chance.random_range(0..PAUSE))).await;
    }
}

async fn publish_one(world: &World, id: Id, chance: &mut TestRng) -> Outcome {
    let (_, hub) = world.hub(chance);
    let mut options = PublishOptions::new();
    if id.publisher == KEYED {
        options = options.idempotency_key(id.to_string());
    }
    let topic = id.topic_name();
    let published = hub.publish_with(&topic, Event::data(id.to_string()), &options);
    match within("the result of a publication", published).await {
        Ok(at) => Outcome::Stored(at),
        Err(PublishError::Append(AppendError::NotWritten(_))) => Outcome::NotWritten,
        Err(PublishError::Append(AppendError::Unknown(_))) => Outcome::Unknown,
        Err(error) => panic!("{id}: {error}"),
    }
}
