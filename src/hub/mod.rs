//! Topics that any number of streams subscribe to, with a history to resume from.
//!
//! [`Hub`] and [`Subscription`] are in the root of the crate too.

mod builder;
mod distributed;
mod encoded_events;
#[expect(
    clippy::module_inception,
    reason = "the hub is the largest of its parts"
)]
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
