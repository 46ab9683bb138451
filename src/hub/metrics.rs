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
    /// the number of topics is unbounded. They are registered with the recorder at the first change,
    /// and those of a log only for a hub that has one.
    ///
    /// Gauges are changed by differences, so that hubs with the same name report their sums. A hub
    /// that is dropped takes back its part.
    pub(in super::super) struct HubMetrics {
        name: Arc<str>,
        handles: OnceLock<HubHandles>,
        log_handles: OnceLock<LogHandles>,
        topics: AtomicI64,
        memory: AtomicI64,
        connected: AtomicI64,
        behind: AtomicI64,
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

    struct LogHandles {
        connected: Gauge,
        behind: Gauge,
        losses: Counter,
    }

    impl HubMetrics {
        pub(in super::super) fn new(name: Option<Arc<str>>) -> Self {
            Self {
                name: name.unwrap_or_else(|| "default".into()),
                handles: OnceLock::new(),
                log_handles: OnceLock::new(),
                topics: AtomicI64::new(0),
                memory: AtomicI64::new(0),
                connected: AtomicI64::new(0),
                behind: AtomicI64::new(0),
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

        /// Reports the connection to the log. An unknown number of entries counts as 0.
        pub(in super::super) fn follows(&self, is_connected: bool, behind: Option<u64>) {
            let connected = i64::from(is_connected);
            let behind = behind.unwrap_or(0) as i64;
            let connected = connected - self.connected.swap(connected, SeqCst);
            let behind = behind - self.behind.swap(behind, SeqCst);
            self.record_log(|handles| {
                change(&handles.connected, connected);
                change(&handles.behind, behind);
            });
        }

        /// Reports that the log had lost entries and was loaded again.
        pub(in super::super) fn log_lost(&self) {
            self.record_log(|handles| handles.losses.increment(1));
        }

        fn record(&self, record: impl FnOnce(&HubHandles)) {
            call(|| record(self.handles.get_or_init(|| HubHandles::new(&self.name))));
        }

        fn record_log(&self, record: impl FnOnce(&LogHandles)) {
            call(|| record(self.log_handles.get_or_init(|| LogHandles::new(&self.name))));
        }
    }

    impl Drop for HubMetrics {
        fn drop(&mut self) {
            if self.handles.get().is_some() {
                self.topics(-self.topics.load(SeqCst));
                self.holds(0);
            }
            if self.log_handles.get().is_some() {
                self.follows(false, None);
            }
        }
    }

    /// Calls the recorder. Its panics end here, because the hub is in the middle of a change.
    fn call(record: impl FnOnce()) {
        drop(catch_unwind(AssertUnwindSafe(record)));
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

    impl LogHandles {
        fn new(hub: &Arc<str>) -> Self {
            describe_gauge!(
                "sse_hub_log_connected",
                Unit::Count,
                "Hubs that are connected to their log"
            );
            describe_gauge!(
                "sse_hub_log_behind",
                Unit::Count,
                "Entries of the log that were not read yet"
            );
            describe_counter!(
                "sse_hub_log_losses_total",
                Unit::Count,
                "Times that the log had lost entries and was loaded again"
            );
            Self {
                connected: gauge!("sse_hub_log_connected", "hub" => hub.clone()),
                behind: gauge!("sse_hub_log_behind", "hub" => hub.clone()),
                losses: counter!("sse_hub_log_losses_total", "hub" => hub.clone()),
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

        pub(in super::super) fn follows(&self, _is_connected: bool, _behind: Option<u64>) {}

        pub(in super::super) fn log_lost(&self) {}
    }
}
