//! The exact output of the features `metrics` and `tracing`.
#![allow(clippy::unwrap_used)]

#[path = "../support/deadline.rs"]
mod deadline;
#[path = "telemetry/hubs.rs"]
mod hubs;

use std::{
    cell::RefCell,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_sse::{CloseReason, Connections, Event, Hub, KeepAlive, Sse, SseBody};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::{Instant, advance};

use deadline::{Background, within};

/// The telemetry of one test, whose streams are polled in the thread of the test.
struct Telemetry {
    metrics: PrometheusHandle,
}

/// Runs a test with its own recorder, and with the subscriber of the process.
///
/// `tracing` asks the subscriber about each call site only once per process. So all tests share one
/// subscriber, which exists before their first stream. Each thread has its own lines.
fn recorded<T>(test: impl FnOnce(Telemetry) -> T) -> T {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(|| Lines)
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("this is the only subscriber");
    });
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    metrics::with_local_recorder(&recorder, || test(Telemetry { metrics }))
}

/// Runs a test like [`recorded`], on the paused clock.
fn recorded_async<F: Future<Output = ()>>(test: impl FnOnce(Telemetry) -> F) {
    recorded(|telemetry| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(test(telemetry));
    });
}

impl Telemetry {
    /// Returns the lines with a value, sorted.
    fn metrics(&self) -> Vec<String> {
        let text = self.metrics.render();
        let values = text.lines().filter(|line| {
            !line.starts_with('#') && !line.is_empty() && !line.contains("quantile")
        });
        let mut values: Vec<_> = values.map(str::to_owned).collect();
        values.sort_unstable();
        values
    }

    /// Returns the lines that this thread logged.
    fn lines(&self) -> Vec<String> {
        let lines = LINES.with_borrow(|lines| String::from_utf8(lines.clone()).unwrap());
        lines.lines().map(str::to_owned).collect()
    }
}

thread_local! {
    static LINES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A writer to the lines of the current thread.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens a stream of one event. Reads the event and the first keep-alive.
async fn open(
    connections: &Connections,
) -> SseBody<impl futures_util::Stream<Item = Event> + use<>> {
    let source = stream::iter([Event::data("a")]).chain(stream::poll_fn(|_| {
        tracing::info!("polled");
        std::task::Poll::Pending
    }));
    let mut body = Sse::new(source)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
        .permit(connections.admit("user 7").unwrap())
        .into_body();
    for expected in [":\ndata: a\n\n", ":\n"] {
        let frame = within("an event and a keep-alive", body.next()).await;
        assert_eq!(frame.unwrap().unwrap(), expected);
    }
    body
}

#[test]
fn a_hub_records_its_metrics() {
    recorded(|telemetry| {
        let hub = Hub::builder().history(2).build();
        let mut slow = hub.subscribe(["a"]);
        let left = hub.subscribe(["a", "b"]);
        for _ in 0..3 {
            hub.publish("a", Event::data("x")).unwrap();
        }
        let reset = slow.next().now_or_never().unwrap().unwrap();
        assert!(
            reset
                .as_bytes()
                .starts_with(b"event: reset\ndata: lagged\n")
        );
        let mut lost = hub.subscribe(["b"]).after("garbage".parse().unwrap());
        let _ = lost.next().now_or_never().unwrap().unwrap();
        drop((left, lost));

        let bytes = hub.topics()[0].bytes / 2 * 3;
        let memory = hub.memory();
        assert_eq!(
            telemetry.metrics(),
            [
                "sse_hub_lagged_total{hub=\"default\"} 1".to_owned(),
                format!("sse_hub_memory_bytes{{hub=\"default\"}} {memory}"),
                format!("sse_hub_published_bytes_total{{hub=\"default\"}} {bytes}"),
                "sse_hub_published_total{hub=\"default\"} 3".to_owned(),
                "sse_hub_resets_total{hub=\"default\",reason=\"expired\"} 0".to_owned(),
                "sse_hub_resets_total{hub=\"default\",reason=\"lagged\"} 1".to_owned(),
                "sse_hub_resets_total{hub=\"default\",reason=\"unknown\"} 1".to_owned(),
                "sse_hub_skipped_total{hub=\"default\"} 0".to_owned(),
                "sse_hub_subscriptions{hub=\"default\"} 1".to_owned(),
                "sse_hub_topics{hub=\"default\"} 1".to_owned(),
            ]
        );
    });
}

#[test]
fn connections_record_their_metrics() {
    recorded_async(async |telemetry| {
        let connections = Connections::new().max(2).max_per_key(1);
        let body = open(&connections).await;
        assert!(connections.admit("user 7").is_err());
        let _other = connections.admit("user 8").unwrap();
        assert!(connections.admit("user 9").is_err());
        drop(body);
        connections.shutdown();
        let permit = connections.admit("user 7").unwrap();
        let mut ended = Sse::new(stream::pending::<Event>())
            .permit(permit)
            .into_body();
        while within("the end", ended.next()).await.is_some() {}

        assert_eq!(
            telemetry.metrics(),
            [
                "sse_events_total 1",
                "sse_keep_alives_total 1",
                "sse_sent_bytes_total 15",
                "sse_stream_duration_seconds_count 2",
                "sse_stream_duration_seconds_sum 10",
                "sse_streams_closed_total{reason=\"by_server\"} 0",
                "sse_streams_closed_total{reason=\"client_gone\"} 1",
                "sse_streams_closed_total{reason=\"end\"} 0",
                "sse_streams_closed_total{reason=\"error\"} 0",
                "sse_streams_closed_total{reason=\"lagged\"} 0",
                "sse_streams_closed_total{reason=\"max_age\"} 0",
                "sse_streams_closed_total{reason=\"shutdown\"} 1",
                "sse_streams_open 1",
                "sse_streams_opened_total 3",
                "sse_streams_refused_total{by=\"key\"} 1",
                "sse_streams_refused_total{by=\"server\"} 1",
            ]
        );
    });
}

#[test]
fn a_stream_has_a_span() {
    recorded_async(async |telemetry| {
        let connections = Connections::new();
        let start = Instant::now();
        let mut body = open(&connections).await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        advance(Duration::from_millis(2_500)).await;
        assert!(body.next().now_or_never().is_none());
        drop(body);

        let span = "sse_stream{id=0 key=\"user 7\"}";
        let polled = format!(" INFO {span}: telemetry: polled");
        let expected = [
            format!("DEBUG {span}: http_sse: opened"),
            polled.clone(),
            polled.clone(),
            polled.clone(),
            polled,
            format!(
                "DEBUG {span}: http_sse: closed reason=\"client_gone\" events=1 \
                 bytes=13 keep_alives=1 seconds=12.5"
            ),
        ];
        assert_eq!(telemetry.lines(), expected);
    });
}

/// A recorder whose calls panic while it is armed.
#[derive(Clone, Default)]
struct Panics(Arc<AtomicBool>);

impl Panics {
    fn arm(&self, armed: bool) {
        self.0.store(armed, SeqCst);
    }

    fn call(&self) {
        if self.0.load(SeqCst) {
            resume_unwind(Box::new("the recorder panics"));
        }
    }
}

impl Recorder for Panics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.call();
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.call();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.call();
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(self.clone()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(self.clone()))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(self.clone()))
    }
}

impl CounterFn for Panics {
    fn increment(&self, _: u64) {
        self.call();
    }

    fn absolute(&self, _: u64) {
        self.call();
    }
}

impl GaugeFn for Panics {
    fn increment(&self, _: f64) {
        self.call();
    }

    fn decrement(&self, _: f64) {
        self.call();
    }

    fn set(&self, _: f64) {
        self.call();
    }
}

impl HistogramFn for Panics {
    fn record(&self, _: f64) {
        self.call();
    }
}

/// Runs a test with a recorder that panics while it is armed.
fn panicking(test: impl FnOnce(Connections, &Panics)) {
    let recorder = Panics::default();
    metrics::with_local_recorder(&recorder, || test(Connections::new().max(1), &recorder));
}

/// Asserts that a call panics with the message of the recorder.
fn assert_panics<T>(call: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(call()))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"the recorder panics"));
}

#[test]
fn a_recorder_that_panics_at_an_admission_takes_no_place() {
    for registered in [false, true] {
        panicking(|connections, recorder| {
            if registered {
                drop(connections.admit("a").unwrap());
            }
            recorder.arm(true);
            assert_panics(|| connections.admit("a"));
            recorder.arm(false);
            let totals = connections.totals();
            assert_eq!(totals.open, 0);
            assert_eq!(totals.opened, totals.closed(CloseReason::ClientGone));
            drop(connections.admit("a").unwrap());
        });
    }
}

#[test]
fn a_recorder_that_panics_at_an_end_takes_no_place() {
    type End = fn(&Connections, SseBody<stream::Pending<Event>>);
    let ends: [(CloseReason, End); 2] = [
        (CloseReason::ClientGone, |_, body| drop(body)),
        (CloseReason::Shutdown, |connections, mut body| {
            connections.shutdown();
            body.next().now_or_never();
        }),
    ];
    for (reason, end) in ends {
        panicking(|connections, recorder| {
            let (sender, reports) = std::sync::mpsc::channel();
            let mut body = Sse::new(stream::pending())
                .keep_alive(None)
                .permit(connections.admit("a").unwrap())
                .on_close(move |report| sender.send(report.reason).unwrap())
                .into_body();
            assert!(body.next().now_or_never().is_some());
            recorder.arm(true);
            assert_panics(|| end(&connections, body));
            recorder.arm(false);
            let totals = connections.totals();
            assert_eq!((totals.open, totals.closed(reason)), (0, 1));
            assert_eq!(reports.try_recv(), Ok(reason));
            connections.closed().now_or_never().unwrap();
        });
    }
}

#[test]
fn a_recorder_that_panics_during_a_panic_does_not_abort() {
    panicking(|connections, recorder| {
        let permit = connections.admit("a").unwrap();
        recorder.arm(true);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _permit = permit;
            resume_unwind(Box::new("the handler panics"));
        }));
        let panic = unwound.unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"the handler panics"));
        assert_eq!(connections.totals().open, 0);
    });
}
