//! The open streams of a server: limits, ends, counts.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU8, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    task::Waker,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    close::CloseReason,
    encoded_event::EncodedEvent,
    full::{Full, FullBy},
    telemetry::{Counts, Metrics, Trace},
};

/// The open streams of a server: how many there may be, how they end, and what they have sent.
///
/// It is made once, set up, and then cloned as a handle. A handler [admits](Self::admit) a client
/// and gives the [`Permit`] to [`Sse::connection`](crate::Sse::connection): from then on the stream
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
/// # async fn main() -> Result<(), http_sse::Full> {
/// let connections = Connections::new().max(1_000).goodbye(Event::data("see you"));
///
/// let permit = connections.admit("10.0.0.1")?;
/// let source = futures_util::stream::pending::<Event>();
/// let body = Sse::new(source).connection(permit).into_body();
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

struct Shared {
    settings: Settings,
    started: Instant,
    registry: Mutex<Registry>,
    /// Told when the last stream has closed.
    emptied: Notify,
    metrics: Metrics,
}

#[derive(Clone)]
struct Settings {
    max: usize,
    max_per_key: usize,
    retry_after: Duration,
    goodbye: Option<EncodedEvent>,
    reconnect_within: Option<Duration>,
}

#[derive(Default)]
struct Registry {
    streams: HashMap<ConnectionId, Arc<Stream>>,
    /// How many of them each key has; none that has none.
    per_key: HashMap<Arc<str>, usize>,
    phase: Phase,
    /// The events, bytes and keep-alives are those of closed streams.
    totals: Totals,
}

#[derive(Clone, Copy, Default)]
enum Phase {
    #[default]
    Running,
    /// Until then, if the clock reaches that far.
    Draining(Option<Instant>),
    Shutdown,
}

/// What the server and the body of one stream tell each other.
struct Stream {
    id: ConnectionId,
    key: Arc<str>,
    opened: Instant,
    /// The counts are written by the body alone.
    events: AtomicU64,
    bytes: AtomicU64,
    keep_alives: AtomicU64,
    /// Since when nobody took what there is: in milliseconds since the start, and one more; zero
    /// if somebody does.
    stalled: AtomicU64,
    /// An [`Order`], written by the server; it only rises.
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

/// What a stream is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    GoOn,
    Drain,
    Shutdown,
    Close,
}

/// Names one stream of a server, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// What is known of an open stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// Its name, for [`Connections::close`].
    pub id: ConnectionId,
    /// The key that it was admitted with.
    pub key: Arc<str>,
    /// How long ago it was admitted.
    pub age: Duration,
    /// How many events were encoded for it.
    pub events: u64,
    /// How many bytes the connection has taken.
    pub bytes: u64,
    /// How many keep-alives the connection has taken.
    pub keep_alives: u64,
    /// How long ago the connection took the last frame, if it has not asked for more since:
    /// the client reads slowly or not at all. A connection asks for more as long as it has room
    /// for what the client has not read, which with hyper is some 400 kB.
    pub stalled_for: Option<Duration>,
}

/// What a server's streams come to. Always `opened` is `open` and the sum of those closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How many streams are open.
    pub open: usize,
    /// How many were admitted.
    pub opened: u64,
    /// How many were refused because the server had its [`max`](Connections::max).
    pub refused_by_server: u64,
    /// How many were refused because the key had its [`max_per_key`](Connections::max_per_key).
    pub refused_by_key: u64,
    /// How many events were encoded, for open and for closed streams.
    pub events: u64,
    /// How many bytes were sent.
    pub bytes: u64,
    /// How many keep-alives were sent.
    pub keep_alives: u64,
    closed: [u64; CloseReason::COUNT],
}

impl Totals {
    /// How many streams were closed for this reason.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }
}

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
    /// [`Full`], which turns into the response that says so.
    pub fn admit(&self, key: impl Into<Arc<str>>) -> Result<Permit, Full> {
        let key = key.into();
        let settings = &self.0.settings;
        let full = |by| Full::new(by, settings.retry_after);
        let mut guard = self.0.registry();
        let registry = &mut *guard;
        if registry.streams.len() >= settings.max {
            registry.totals.refused_by_server += 1;
            drop(guard);
            self.0.metrics.refused(false);
            return Err(full(FullBy::Server));
        }
        let of_key = registry.per_key.get(&key).copied().unwrap_or_default();
        if of_key >= settings.max_per_key {
            registry.totals.refused_by_key += 1;
            drop(guard);
            self.0.metrics.refused(true);
            return Err(full(FullBy::Key));
        }
        // One copy of the key for all that have it.
        let key = match registry.per_key.get_key_value(&key) {
            Some((key, _)) => key.clone(),
            None => key,
        };
        registry.per_key.insert(key.clone(), of_key + 1);
        let order = match registry.phase {
            Phase::Running => Order::GoOn,
            Phase::Draining(_) => Order::Drain,
            Phase::Shutdown => Order::Shutdown,
        };
        let stream = Arc::new(Stream {
            id: ConnectionId(registry.totals.opened),
            key,
            opened: Instant::now(),
            events: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            keep_alives: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            order: AtomicU8::new(order as u8),
            waker: Mutex::default(),
        });
        registry.totals.opened += 1;
        registry.streams.insert(stream.id, stream.clone());
        drop(guard);
        self.0.metrics.opened();
        Ok(Permit {
            shared: self.0.clone(),
            trace: Trace::open(stream.id.0, &stream.key),
            stream,
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
    /// told to [`stop`](crate::stop()) then.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn close(&self, id: ConnectionId) -> bool {
        let stream = self.0.registry().streams.get(&id).cloned();
        stream.inspect(|stream| stream.tell(Order::Close)).is_some()
    }

    /// Closes every stream that `wanted` says, and tells how many those are.
    pub fn close_where(&self, mut wanted: impl FnMut(&Connection) -> bool) -> usize {
        let mut streams = self.streams();
        streams.retain(|stream| wanted(&self.0.describe(stream)));
        streams.iter().for_each(|stream| stream.tell(Order::Close));
        streams.len()
    }

    /// Waits until no stream is open.
    pub async fn closed(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.0.registry().streams.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// What is known of every open stream, in no order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Connection> {
        let streams = self.streams();
        streams
            .iter()
            .map(|stream| self.0.describe(stream))
            .collect()
    }

    /// What the streams come to, at one moment.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let registry = self.0.registry();
        let mut totals = registry.totals.clone();
        totals.open = registry.streams.len();
        for stream in registry.streams.values() {
            totals.add(stream);
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

    /// The open streams. They are told and described without the lock, since wakers and closures
    /// run the code of others.
    fn streams(&self) -> Vec<Arc<Stream>> {
        self.0.registry().streams.values().cloned().collect()
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

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock can come from memory alone, and leaves nothing half done.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase, order: Order) {
        let streams: Vec<_> = {
            let mut registry = self.registry();
            if !matches!(registry.phase, Phase::Shutdown) {
                registry.phase = phase;
            }
            registry.streams.values().cloned().collect()
        };
        streams.iter().for_each(|stream| stream.tell(order));
    }

    fn describe(&self, stream: &Stream) -> Connection {
        let stalled = stream.stalled.load(Relaxed).checked_sub(1);
        Connection {
            id: stream.id,
            key: stream.key.clone(),
            age: stream.opened.elapsed(),
            events: stream.events.load(Relaxed),
            bytes: stream.bytes.load(Relaxed),
            keep_alives: stream.keep_alives.load(Relaxed),
            stalled_for: stalled.map(|since| {
                let now = self.started.elapsed();
                now.saturating_sub(Duration::from_millis(since))
            }),
        }
    }
}

impl Totals {
    fn add(&mut self, stream: &Stream) {
        let counts = stream.counts();
        self.events += counts.events;
        self.bytes += counts.bytes;
        self.keep_alives += counts.keep_alives;
    }
}

impl Stream {
    fn counts(&self) -> Counts {
        Counts {
            events: self.events.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            keep_alives: self.keep_alives.load(Relaxed),
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order, and wakes the body for it.
    ///
    /// No order is lost: it is written before the waker is taken, and the body leaves its waker
    /// before it reads the order; the lock puts one before the other.
    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, AcqRel);
        let waker = self.waker().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// That a client is admitted. It is given to [`Sse::connection`](crate::Sse::connection), and
/// returned when the stream is over, however that comes; or when it is dropped.
#[must_use = "a permit that is dropped is returned"]
pub struct Permit {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    trace: Trace,
    closed: bool,
}

impl Permit {
    /// The name of the stream, for [`Connections::close`].
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.stream.id
    }

    /// What the stream is to do. Whoever polls it is woken when that changes.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        self.stream.stalled.store(0, Relaxed);
        {
            let mut stored = self.stream.waker();
            match &mut *stored {
                Some(stored) => stored.clone_from(waker),
                None => *stored = Some(waker.clone()),
            }
        }
        match self.stream.order.load(Acquire) {
            order if order == Order::Close as u8 => Order::Close,
            order if order == Order::Shutdown as u8 => Order::Shutdown,
            order if order == Order::Drain as u8 => Order::Drain,
            _ => Order::GoOn,
        }
    }

    /// When draining ends.
    pub(crate) fn drained_at(&self) -> Option<Instant> {
        match self.shared.registry().phase {
            Phase::Draining(until) => until,
            Phase::Running | Phase::Shutdown => None,
        }
    }

    /// The connection took a frame: what the stream has come to, and when.
    pub(crate) fn sent(&self, counts: Counts, now: Instant) {
        let stream = &self.stream;
        self.count(counts);
        let since = (now - self.shared.started).as_millis() as u64;
        stream.stalled.store(since + 1, Relaxed);
    }

    pub(crate) fn goodbye(&self) -> Option<EncodedEvent> {
        self.shared.settings.goodbye.clone()
    }

    pub(crate) fn reconnect_within(&self) -> Option<Duration> {
        self.shared.settings.reconnect_within
    }

    /// Makes what is logged while the source is polled part of the stream.
    pub(crate) fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Returns the permit, with why the stream is over and what it has come to.
    pub(crate) fn close(mut self, reason: CloseReason, counts: Counts) {
        self.count(counts);
        self.release(reason);
    }

    fn count(&self, counts: Counts) {
        let before = self.stream.counts();
        self.shared.metrics.sent(Counts {
            events: counts.events - before.events,
            bytes: counts.bytes - before.bytes,
            keep_alives: counts.keep_alives - before.keep_alives,
        });
        self.stream.events.store(counts.events, Relaxed);
        self.stream.bytes.store(counts.bytes, Relaxed);
        self.stream.keep_alives.store(counts.keep_alives, Relaxed);
    }

    fn release(&mut self, reason: CloseReason) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let age = self.stream.opened.elapsed();
        self.shared.metrics.closed(reason, age);
        self.trace.closed(reason, self.stream.counts(), age);
        let mut guard = self.shared.registry();
        let registry = &mut *guard;
        registry.streams.remove(&self.stream.id);
        registry.totals.closed[reason as usize] += 1;
        registry.totals.add(&self.stream);
        if let Some(of_key) = registry.per_key.get_mut(&self.stream.key) {
            *of_key -= 1;
            if *of_key == 0 {
                registry.per_key.remove(&self.stream.key);
            }
        }
        if registry.streams.is_empty() {
            drop(guard);
            self.shared.emptied.notify_waiters();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.release(CloseReason::ClientGone);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("id", &self.stream.id)
            .field("key", &self.stream.key)
            .finish_non_exhaustive()
    }
}
