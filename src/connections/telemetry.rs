//! StreamMetrics and spans of streams. Without the features `metrics` and `tracing` these are empty
//! types.

use std::time::Duration;

use super::report::CloseReason;

/// The counts of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    pub(crate) keep_alives: u64,
}

pub(crate) use self::{count::StreamMetrics, trace::Trace};

#[cfg(feature = "metrics")]
mod count {
    use std::sync::OnceLock;

    use metrics::{
        Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge,
        describe_histogram, gauge, histogram,
    };

    use super::{CloseReason, Counts, Duration};

    /// The metrics of a server's streams. They are registered with the recorder once, when the
    /// first client is admitted or refused.
    #[derive(Default)]
    pub(crate) struct StreamMetrics(OnceLock<StreamHandles>);

    struct StreamHandles {
        open: Gauge,
        opened: Counter,
        refused_by_server: Counter,
        refused_by_key: Counter,
        closed: [Counter; CloseReason::COUNT],
        events: Counter,
        bytes: Counter,
        keep_alives: Counter,
        duration: Histogram,
    }

    impl StreamMetrics {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn opened(&self) {
            self.handles().opened.increment(1);
            self.handles().open.increment(1);
        }

        pub(crate) fn refused(&self, by_key: bool) {
            let handles = self.handles();
            let refused = if by_key {
                &handles.refused_by_key
            } else {
                &handles.refused_by_server
            };
            refused.increment(1);
        }

        /// Adds the counts of one frame.
        pub(crate) fn sent(&self, counts: Counts) {
            let handles = self.handles();
            handles.events.increment(counts.events);
            handles.bytes.increment(counts.bytes);
            handles.keep_alives.increment(counts.keep_alives);
        }

        pub(crate) fn closed(&self, reason: CloseReason, age: Duration) {
            let handles = self.handles();
            handles.open.decrement(1);
            handles.closed[reason as usize].increment(1);
            handles.duration.record(age);
        }

        fn handles(&self) -> &StreamHandles {
            self.0.get_or_init(StreamHandles::new)
        }
    }

    impl StreamHandles {
        fn new() -> Self {
            describe_gauge!("sse_streams_open", Unit::Count, "Open streams");
            describe_counter!("sse_streams_opened_total", Unit::Count, "Admitted streams");
            describe_counter!(
                "sse_streams_refused_total",
                Unit::Count,
                "Refused clients, by limit"
            );
            describe_counter!(
                "sse_streams_closed_total",
                Unit::Count,
                "Ended streams, by reason"
            );
            describe_counter!("sse_events_total", Unit::Count, "Encoded events");
            describe_counter!("sse_sent_bytes_total", Unit::Bytes, "Sent bytes");
            describe_counter!("sse_keep_alives_total", Unit::Count, "Sent keep-alives");
            describe_histogram!(
                "sse_stream_duration_seconds",
                Unit::Seconds,
                "Time from the admission of a stream to its end"
            );
            Self {
                open: gauge!("sse_streams_open"),
                opened: counter!("sse_streams_opened_total"),
                refused_by_server: counter!("sse_streams_refused_total", "by" => "server"),
                refused_by_key: counter!("sse_streams_refused_total", "by" => "key"),
                closed: CloseReason::ALL
                    .map(|reason| counter!("sse_streams_closed_total", "reason" => reason.name())),
                events: counter!("sse_events_total"),
                bytes: counter!("sse_sent_bytes_total"),
                keep_alives: counter!("sse_keep_alives_total"),
                duration: histogram!("sse_stream_duration_seconds"),
            }
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod count {
    use super::{CloseReason, Counts, Duration};

    pub(crate) struct StreamMetrics {}

    impl StreamMetrics {
        pub(crate) fn new() -> Self {
            Self {}
        }

        pub(crate) fn opened(&self) {}

        pub(crate) fn refused(&self, _by_key: bool) {}

        pub(crate) fn sent(&self, _counts: Counts) {}

        pub(crate) fn closed(&self, _reason: CloseReason, _age: Duration) {}
    }
}

#[cfg(feature = "tracing")]
mod trace {
    use tracing::{Span, debug, debug_span, span::Entered};

    use super::{CloseReason, Counts, Duration};

    /// The span of a stream.
    pub(crate) struct Trace(Span);

    impl Trace {
        pub(crate) fn none() -> Self {
            Self(Span::none())
        }

        pub(crate) fn open(id: u64, key: &str) -> Self {
            let span = debug_span!(target: "http_sse", "sse_stream", id, key);
            debug!(target: "http_sse", parent: &span, "opened");
            Self(span)
        }

        /// Enters the span, so that it contains what the source logs until the guard is dropped.
        pub(crate) fn enter(&self) -> Entered<'_> {
            self.0.enter()
        }

        pub(crate) fn closed(&self, reason: CloseReason, counts: Counts, age: Duration) {
            let Counts {
                events,
                bytes,
                keep_alives,
            } = counts;
            let (reason, seconds) = (reason.name(), age.as_secs_f64());
            debug!(target: "http_sse", parent: &self.0, reason, events, bytes, keep_alives, seconds, "closed");
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod trace {
    use super::{CloseReason, Counts, Duration};

    pub(crate) struct Trace;

    /// The empty counterpart of a span's guard.
    pub(crate) struct Entered;

    impl Trace {
        pub(crate) fn none() -> Self {
            Self
        }

        pub(crate) fn open(_id: u64, _key: &str) -> Self {
            Self
        }

        pub(crate) fn enter(&self) -> Entered {
            Entered
        }

        pub(crate) fn closed(&self, _reason: CloseReason, _counts: Counts, _age: Duration) {}
    }
}
