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

mod add;
mod backing;
mod beginning;
mod builder;
mod changes;
mod contact;
mod counts;
mod demand;
mod distributed;
mod encoded_events;
mod evict;
mod finished;
mod follow;
mod handle;
mod history;
#[expect(clippy::module_inception, reason = "the file defines `Hub`")]
mod hub;
mod info;
mod interrupted;
mod item;
mod keys;
mod known;
mod latest;
mod listener;
mod log;
mod log_status;
mod many;
mod memory;
mod memory_log;
mod merge;
mod metrics;
mod missed;
mod on_lag;
mod one;
mod order;
mod piece;
mod place;
mod place_list;
mod places;
mod position;
mod progress;
mod publish_error;
mod publish_options;
mod read;
#[cfg(feature = "redis")]
mod redis;
mod replay;
mod reset;
mod runs;
mod seats;
mod sets;
mod shared;
mod subscription;
mod sync;
mod topic;
mod topics;
mod unread;
mod waiting;
mod watchers;

#[cfg(feature = "redis")]
pub use self::redis::{RedisLog, RedisLogBuilder, RedisLogError, RedisWarning};
pub use self::{
    builder::HubBuilder,
    demand::{Demand, DemandChange},
    distributed::DistributedHub,
    encoded_events::EncodedEvents,
    handle::SubscriptionHandle,
    hub::Hub,
    info::TopicInfo,
    log::{AppendError, Entry, EventLog, EventLogError, LogFuture, Page, Record, Tail},
    log_status::{LogStatus, ResetCounts},
    memory_log::MemoryLog,
    on_lag::OnLag,
    position::{InvalidPosition, Position},
    publish_error::PublishError,
    publish_options::PublishOptions,
    reset::ResetReason,
    subscription::Subscription,
};
