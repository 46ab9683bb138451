//! The metrics of a hub. Without the feature `metrics` this is an empty type.

use super::{reset::ResetReason, state::Held};

pub(super) use self::recorded::HubMetrics;

#[cfg(feature = "metrics")]
mod recorded {
    use std::sync::OnceLock;

    use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

    use super::{Held, ResetReason};

    /// The metrics of a hub. They have no label for the topic, because the number of topics is
    /// unbounded. They are registered with the recorder at the first change.
    #[derive(Default)]
    pub(in super::super) struct HubMetrics(OnceLock<HubHandles>);

    struct HubHandles {
        topics: Gauge,
        subscriptions: Gauge,
        memory: Gauge,
        published: Counter,
        bytes: Counter,
        lagged: Counter,
        resets: [Counter; ResetReason::ALL.len()],
    }

    impl HubMetrics {
        pub(in super::super) fn published(&self, items: u64, bytes: usize) {
            let handles = self.handles();
            handles.published.increment(items);
            handles.bytes.increment(bytes as u64);
        }

        /// Sets the gauges to the present state of the hub.
        pub(in super::super) fn holds(&self, held: Held) {
            let handles = self.handles();
            handles.topics.set(held.topics as f64);
            handles.memory.set(held.memory as f64);
            handles.lagged.absolute(held.lagged);
        }

        pub(in super::super) fn subscribed(&self) {
            self.handles().subscriptions.increment(1);
        }

        pub(in super::super) fn left(&self) {
            self.handles().subscriptions.decrement(1);
        }

        pub(in super::super) fn reset(&self, reason: ResetReason) {
            self.handles().resets[reason as usize].increment(1);
        }

        fn handles(&self) -> &HubHandles {
            self.0.get_or_init(HubHandles::new)
        }
    }

    impl HubHandles {
        fn new() -> Self {
            describe_gauge!("sse_hub_topics", Unit::Count, "Topics");
            describe_gauge!("sse_hub_subscriptions", Unit::Count, "Open subscriptions");
            describe_gauge!(
                "sse_hub_memory_bytes",
                Unit::Bytes,
                "Estimated memory of topics and their history"
            );
            describe_counter!("sse_hub_published_total", Unit::Count, "Published items");
            describe_counter!(
                "sse_hub_published_bytes_total",
                Unit::Bytes,
                "Published bytes"
            );
            describe_counter!(
                "sse_hub_lagged_total",
                Unit::Count,
                "Times that a subscription lagged"
            );
            describe_counter!("sse_hub_resets_total", Unit::Count, "Resets, by reason");
            Self {
                topics: gauge!("sse_hub_topics"),
                subscriptions: gauge!("sse_hub_subscriptions"),
                memory: gauge!("sse_hub_memory_bytes"),
                published: counter!("sse_hub_published_total"),
                bytes: counter!("sse_hub_published_bytes_total"),
                lagged: counter!("sse_hub_lagged_total"),
                resets: ResetReason::ALL
                    .map(|reason| counter!("sse_hub_resets_total", "reason" => reason.as_str())),
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod recorded {
    use super::{Held, ResetReason};

    #[derive(Default)]
    pub(in super::super) struct HubMetrics {}

    impl HubMetrics {
        pub(in super::super) fn published(&self, _items: u64, _bytes: usize) {}

        pub(in super::super) fn holds(&self, _held: Held) {}

        pub(in super::super) fn subscribed(&self) {}

        pub(in super::super) fn left(&self) {}

        pub(in super::super) fn reset(&self, _reason: ResetReason) {}
    }
}
