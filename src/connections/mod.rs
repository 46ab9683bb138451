//! The open streams of a server: limits, ends, counts.

mod admit_error;
mod info;
mod permit;
mod registry;
mod report;
mod telemetry;

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

pub use self::{
    admit_error::AdmitError,
    info::{ConnectionId, ConnectionInfo, Totals},
    permit::Permit,
    report::{CloseReason, CloseReport},
};
use self::{
    admit_error::FullBy,
    registry::{Key, Phase, Settings, Shared},
    telemetry::{Metrics, Trace},
};
pub(crate) use self::{registry::Order, telemetry::Counts};
use crate::wire::EncodedEvent;

/// The open streams of a server: how many there may be, how they end, and what they have sent.
///
/// It is made once, set up, and then cloned as a handle. A handler [admits](Self::admit) a client
/// and gives the [`Permit`] to [`Sse::connection`](crate::Sse::permit): from then on the stream
/// is counted, can be closed, and ends at [`shutdown`](Self::shutdown). There is no task behind it,
/// and no stream is closed to make room for another.
///
/// With the feature `metrics` the recorder of the crate `metrics` is told the same as
/// [`totals`](Self::totals), under names that begin with `sse_`, and how long streams were open; it
/// is looked up once, so install it before the first client is admitted. With the feature `tracing`
/// each stream is a span, in which its source is polled, with an event when it opens and one when
/// it closes.
///
/// A server that is told to stop waits for its open responses, and an event stream is a response
/// that does not end: so end the streams when the server is told to stop.
///
/// ```
/// use http_sse::{CloseReason, Connections, Event, Sse};
/// use http_body_util::BodyExt as _;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), http_sse::AdmitError> {
/// let connections = Connections::new().max(1_000).goodbye(Event::data("see you"));
///
/// let permit = connections.admit("10.0.0.1")?;
/// let source = futures_util::stream::pending::<Event>();
/// let body = Sse::new(source).permit(permit).into_body();
/// assert_eq!(connections.totals().open, 1);
///
/// connections.shutdown();
/// let bytes = body.collect().await.unwrap().to_bytes();
/// assert_eq!(bytes, ":\ndata: see you\n\n");
///
/// connections.closed().await;
/// assert_eq!(connections.totals().closed(CloseReason::Shutdown), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connections(Arc<Shared>);

impl Connections {
    /// No limits, and no goodbye.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Settings {
            max: usize::MAX,
            max_per_key: usize::MAX,
            retry_after: Duration::from_secs(5),
            goodbye: None,
            reconnect_within: None,
        })
    }

    /// Sets how many streams there may be.
    #[must_use]
    pub fn max(self, streams: usize) -> Self {
        self.set(|settings| settings.max = streams)
    }

    /// Sets how many streams there may be with the same key, such as a user or an address.
    #[must_use]
    pub fn max_per_key(self, streams: usize) -> Self {
        self.set(|settings| settings.max_per_key = streams)
    }

    /// Sets when a client that is refused is told to try again; parts of a second count as one. By
    /// default after 5 s.
    #[must_use]
    pub fn retry_after(self, time: Duration) -> Self {
        self.set(|settings| settings.retry_after = time)
    }

    /// Sends this event as the last to every stream that [`shutdown`](Self::shutdown) or
    /// [`drain`](Self::drain) ends.
    #[must_use]
    pub fn goodbye(self, event: impl Into<EncodedEvent>) -> Self {
        self.set(|settings| settings.goodbye = Some(event.into()))
    }

    /// Sends to every stream that the server ends a reconnection time picked from 1 ms to
    /// `window`, so that the clients do not come back together. It goes before that of
    /// [`Sse::reconnect_within`](crate::Sse::reconnect_within).
    #[must_use]
    pub fn reconnect_within(self, window: Duration) -> Self {
        self.set(|settings| settings.reconnect_within = Some(window))
    }

    /// Admits a client if the limits allow; `key` says whose it is.
    ///
    /// After [`shutdown`](Self::shutdown) clients are admitted too, and their streams end at once,
    /// so that they are told as the others are.
    ///
    /// # Errors
    ///
    /// [`AdmitError`], which turns into the response that says so.
    pub fn admit(&self, key: impl Into<Arc<str>>) -> Result<Permit, AdmitError> {
        let key = key.into();
        let settings = &self.0.settings;
        let full = |by| AdmitError::new(by, settings.retry_after);
        let mut guard = self.0.registry();
        let registry = &mut *guard;
        if registry.open() >= settings.max {
            registry.totals.refused_by_server += 1;
            drop(guard);
            self.0.metrics.refused(false);
            return Err(full(FullBy::Server));
        }
        let of_key = registry.per_key.get_key_value(&*key);
        if of_key.map_or(0, |(_, streams)| *streams) >= settings.max_per_key {
            registry.totals.refused_by_key += 1;
            drop(guard);
            self.0.metrics.refused(true);
            return Err(full(FullBy::Key));
        }
        // One copy of the key for all that have it.
        let key = of_key.map_or_else(|| Key(Arc::new(key)), |(key, _)| key.clone());
        *registry.per_key.entry(key.clone()).or_default() += 1;
        let (id, stream) = registry.open_stream(self.0.now(), key);
        drop(guard);
        self.0.metrics.opened();
        Ok(Permit {
            shared: self.0.clone(),
            trace: Trace::open(id.opened, &stream.key.0),
            stream,
            place: id.place,
            closed: false,
        })
    }

    /// Ends every stream now, and those admitted from now on at once.
    pub fn shutdown(&self) {
        self.0.enter(Phase::Shutdown, Order::Shutdown);
    }

    /// Lets the streams end by themselves for at most this time, and ends those that are left
    /// then; also those admitted from now on.
    pub fn drain(&self, time: Duration) {
        let until = Instant::now().checked_add(time);
        self.0.enter(Phase::Draining(until), Order::Drain);
    }

    /// Closes one stream; `false` if it is not open any more. Its client comes back unless it is
    /// told to [`stop`](crate::Sse::stop) then.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn close(&self, id: ConnectionId) -> bool {
        let stream = {
            let registry = self.0.registry();
            let stream = registry.places.get(id.place as usize);
            stream.cloned().flatten()
        };
        let stream = stream.filter(|stream| stream.opened == id.opened);
        stream.inspect(|stream| stream.tell(Order::Close)).is_some()
    }

    /// Closes every stream that `wanted` says, and tells how many those are.
    pub fn close_where(&self, mut wanted: impl FnMut(&ConnectionInfo) -> bool) -> usize {
        let mut streams = self.0.streams();
        streams.retain(|(id, stream)| wanted(&self.0.describe(*id, stream)));
        let told = streams.iter().map(|(_, stream)| stream.tell(Order::Close));
        told.count()
    }

    /// Waits until no stream is open.
    pub async fn closed(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.0.registry().open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// What is known of every open stream, in no order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ConnectionInfo> {
        let streams = self.0.streams();
        streams
            .iter()
            .map(|(id, stream)| self.0.describe(*id, stream))
            .collect()
    }

    /// What the streams come to, at one moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let registry = self.0.registry();
        let mut totals = registry.totals.clone();
        totals.open = registry.open();
        for stream in registry.places.iter().flatten() {
            totals.add(stream.state().counts);
        }
        totals
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Shared {
            settings,
            started: Instant::now(),
            registry: Mutex::default(),
            emptied: Notify::new(),
            metrics: Metrics::new(),
        }))
    }

    /// A handle to streams of its own, so that settings do not change under anybody.
    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self::with(settings)
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connections").field(&self.totals()).finish()
    }
}
