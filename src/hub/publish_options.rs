//! Options of a publish.

use std::sync::Arc;

use super::keys::Keys;

/// Options of [`Hub::publish_with`](crate::Hub::publish_with).
///
/// ```
/// # use futures_util::{FutureExt as _, StreamExt as _};
/// # use http_sse::{Event, Hub, hub::PublishOptions};
/// # fn main() -> Result<(), http_sse::hub::PublishError> {
/// let hub = Hub::new();
/// let mut slow = hub.subscribe(["prices"]);
/// let of_a = PublishOptions::new().coalesce("A");
/// hub.publish_with("prices", Event::data("A 100"), &of_a)?;
/// let b = hub.publish("prices", Event::data("B 7"))?;
/// let a = hub.publish_with("prices", Event::data("A 101"), &of_a)?;
///
/// let events = slow.next().now_or_never().unwrap().unwrap();
/// assert_eq!(events, &*format!("data: B 7\nid: {b}\n\ndata: A 101\nid: {a}\n\n"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until something is published with them"]
pub struct PublishOptions {
    keys: Keys,
}

impl PublishOptions {
    /// Creates options that change nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Publishes the item only if the history of the topic has no item with this key. Otherwise the
    /// position of that item is returned.
    ///
    /// A key is remembered for as long as its item is in the history. For a
    /// [`DistributedHub`](super::DistributedHub), the [log](super::EventLog::append) remembers it. On a [`Hub`](crate::Hub), a known key
    /// returns its position even if the topic is finished or the hub is closed.
    pub fn idempotency_key(mut self, key: impl Into<Arc<str>>) -> Self {
        self.keys.idempotency = Some(key.into());
        self
    }

    /// Replaces the previous item of the topic that has the same coalescing key, such as the earlier
    /// price of a symbol. A client that has not read that one gets only the new one. This is no loss,
    /// so no client is reset. A client that resumes from the log of a
    /// [`DistributedHub`](super::DistributedHub) gets both.
    pub fn coalesce(mut self, key: impl Into<Arc<str>>) -> Self {
        self.keys.coalesce = Some(key.into());
        self
    }

    /// Returns the keys, if there are some.
    pub(super) fn keys(&self) -> Option<Box<Keys>> {
        let has_keys = self.keys.idempotency.is_some() || self.keys.coalesce.is_some();
        has_keys.then(|| Box::new(self.keys.clone()))
    }
}
