//! A publish-subscribe hub, with a history that clients resume from.
//!
//! A server publishes events to the topics of a [`Hub`]. Each client's stream is a
//! [`Subscription`] to some topics, which is a source for [`Sse`](crate::Sse). The hub encodes an
//! event once for all subscribers and gives it an id. A client that reconnects with its last event
//! ID gets every event that it missed, or a reset if the history no longer has them all. A client
//! that does not read queues no events. A [`DistributedHub`] shares its events with other servers.
//!
//! ```
//! # use futures_util::StreamExt as _;
//! # use http_sse::{Event, Hub};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), http_sse::hub::PublishError> {
//! let hub = Hub::new();
//! let mut prices = hub.subscribe(["prices"]);
//! let id = hub.publish("prices", Event::data("100"))?;
//! assert_eq!(prices.next().await.unwrap(), &*format!("data: 100\nid: {id}\n\n"));
//! # Ok(())
//! # }
//! ```
//!
//! [`Hub`] and [`Subscription`] are also exported from the crate root.

mod builder;
mod distributed;
mod encoded_events;
#[expect(clippy::module_inception, reason = "the file defines `Hub`")]
mod hub;
mod info;
mod log;
mod memory_log;
mod metrics;
mod position;
mod publish_error;
mod reset;
mod shared;
mod state;
mod subscription;
mod sync;
mod topic;
mod wakers;

pub use self::{
    builder::HubBuilder,
    distributed::DistributedHub,
    encoded_events::EncodedEvents,
    hub::Hub,
    info::TopicInfo,
    log::{AppendError, Entry, EventLog, EventLogError, LogFuture, Page},
    memory_log::MemoryLog,
    position::{InvalidPosition, Position},
    publish_error::PublishError,
    reset::ResetReason,
    subscription::{OnLag, Subscription},
};
