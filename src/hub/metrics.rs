//! The metrics of a hub. Without the feature `metrics` this is an empty type.

use super::reset::ResetReason;

pub(super) use self::recorded::HubMetrics;

#[cfg(feature = "metrics")]
mod recorded {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc, OnceLock,
            atomic::{AtomicI64, Ordering::SeqCst},
        },
    };

    use metrics::{Counter, Gauge, Unit, counter, describe_counter, describe_gauge, gauge};

    use super::ResetReason;

    /// The metrics of a hub, with its name as their label. They have no label for the topic, because
    /// the number of topics is unbounded. They are registered with the recorder at the first change.
    ///
    /// Gauges are changed by differences, so that hubs with the same name report their sums. A hub
    /// that is dropped takes back its part.
    pub(in super::super) struct HubMetrics {
        name: Arc<str>,
        handles: OnceLock<HubHandles>,
        topics: AtomicI64,
        memory: AtomicI64,
    }

    struct HubHandles {
        topics: Gauge,
        subscriptions: Gauge,
        memory: Gauge,
        published: Counter,
        bytes: Counter,
        lagged: Counter,
        skipped: Counter,
        resets: [Counter; ResetReason::ALL.len()],
    }

    impl HubMetrics {
        pub(in super::super) fn new(name: Option<Arc<str>>) -> Self {
            Self {
                name: name.unwrap_or_else(|| "default".into()),
                handles: OnceLock::new(),
                topics: AtomicI64::new(0),
                memory: AtomicI64::new(0),
            }
        }

        pub(in super::super) fn published(&self, items: u64, bytes: usize) {
            self.record(|handles| {
                handles.published.increment(items);
                handles.bytes.increment(bytes as u64);
            });
        }

        /// Reports the memory of the hub.
        pub(in super::super) fn holds(&self, memory: usize) {
            let memory = memory as i64;
            let before = self.memory.swap(memory, SeqCst);
            self.record(|handles| change(&handles.memory, memory - before));
        }

        /// Reports topics that were created or removed.
        pub(in super::super) fn topics(&self, difference: i64) {
            self.topics.fetch_add(difference, SeqCst);
            self.record(|handles| change(&handles.topics, difference));
        }

        pub(in super::super) fn subscribed(&self) {
            self.record(|handles| handles.subscriptions.increment(1));
        }

        pub(in super::super) fn left(&self) {
            self.record(|handles| handles.subscriptions.decrement(1));
        }

        pub(in super::super) fn lagged(&self) {
            self.record(|handles| handles.lagged.increment(1));
        }

        pub(in super::super) fn skipped(&self, items: u64) {
            self.record(|handles| handles.skipped.increment(items));
        }

        pub(in super::super) fn reset(&self, reason: ResetReason) {
            self.record(|handles| handles.resets[reason as usize].increment(1));
        }

        /// Calls the recorder. Its panics end here, because the hub is in the middle of a change.
        fn record(&self, record: impl FnOnce(&HubHandles)) {
            let recorded = catch_unwind(AssertUnwindSafe(|| {
                record(self.handles.get_or_init(|| HubHandles::new(&self.name)));
            }));
            drop(recorded);
        }
    }

    impl Drop for HubMetrics {
        fn drop(&mut self) {
            if self.handles.get().is_some() {
                self.topics(-self.topics.load(SeqCst));
                self.holds(0);
            }
        }
    }

    fn change(gauge: &Gauge, difference: i64) {
        match difference {
            0 => {}
            1.. => gauge.increment(difference as f64),
            _ => gauge.decrement(-difference as f64),
        }
    }

    impl HubHandles {
        fn new(hub: &Arc<str>) -> Self {
            describe_gauge!("sse_hub_topics", Unit::Count, "Topics");
            describe_gauge!("sse_hub_subscriptions", Unit::Count, "Open subscriptions");
            describe_gauge!(
                "sse_hub_memory_bytes",
                Unit::Bytes,
                "Memory of topics, histories and subscriptions"
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
            describe_counter!(
                "sse_hub_skipped_total",
                Unit::Count,
                "Items that subscriptions with an interval skipped"
            );
            describe_counter!("sse_hub_resets_total", Unit::Count, "Resets, by reason");
            let counter = |name: &'static str| counter!(name, "hub" => hub.clone());
            let gauge = |name: &'static str| gauge!(name, "hub" => hub.clone());
            Self {
                topics: gauge("sse_hub_topics"),
                subscriptions: gauge("sse_hub_subscriptions"),
                memory: gauge("sse_hub_memory_bytes"),
                published: counter("sse_hub_published_total"),
                bytes: counter("sse_hub_published_bytes_total"),
                lagged: counter("sse_hub_lagged_total"),
                skipped: counter("sse_hub_skipped_total"),
                resets: ResetReason::ALL.map(|reason| {
                    counter!(
                        "sse_hub_resets_total",
                        "hub" => hub.clone(),
                        "reason" => reason.as_str()
                    )
                }),
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod recorded {
    use std::sync::Arc;

    use super::ResetReason;

    pub(in super::super) struct HubMetrics {}

    impl HubMetrics {
        pub(in super::super) fn new(_name: Option<Arc<str>>) -> Self {
            Self {}
        }

        pub(in super::super) fn published(&self, _items: u64, _bytes: usize) {}

        pub(in super::super) fn holds(&self, _memory: usize) {}

        pub(in super::super) fn topics(&self, _difference: i64) {}

        pub(in super::super) fn subscribed(&self) {}

        pub(in super::super) fn left(&self) {}

        pub(in super::super) fn lagged(&self) {}

        pub(in super::super) fn skipped(&self, _items: u64) {}

        pub(in super::super) fn reset(&self, _reason: ResetReason) {}
    }
}
