//! The open streams of a server: limits, ends, counts.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    /// Each stream keeps its place while it is open.
    places: Vec<Option<Arc<Stream>>>,
    /// The places that are empty.
    free: Vec<u32>,
    /// How many streams each key has; none that has none.
    per_key: HashMap<Key, usize>,
    phase: Phase,
    /// When the last was opened.
    last: Option<u64>,
    /// The events, bytes and keep-alives are those of closed streams.
    totals: Totals,
}

/// A key as a thin pointer: there is one in each stream.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(Arc<Arc<str>>);

#[derive(Clone, Copy, Default)]
enum Phase {
    #[default]
    Running,
    /// Until then, if the clock reaches that far.
    Draining(Option<Instant>),
    Shutdown,
}

/// What the server and the body of one stream tell each other: 88 bytes of heap.
struct Stream {
    /// In nanoseconds since the start; no two streams have the same.
    opened: u64,
    key: Key,
    state: Mutex<State>,
}

struct State {
    /// Written by the server; it only rises.
    order: Order,
    /// Of whoever polls the body.
    waker: Option<Waker>,
    counts: Counts,
    /// Whether the last frame was taken and nobody has asked for more.
    stalled: bool,
    /// When it was taken: in milliseconds since the start, which begin anew after 49 days.
    taken: u32,
}

/// What a stream is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    GoOn,
    Drain,
    Shutdown,
    Close,
}

/// Names one stream of a server, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    opened: u64,
    place: u32,
}

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
    /// told to [`stop`](crate::stop()) then.
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
    pub fn close_where(&self, mut wanted: impl FnMut(&Connection) -> bool) -> usize {
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
    pub fn snapshot(&self) -> Vec<Connection> {
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

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.opened.fmt(f)
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Registry {
    fn open(&self) -> usize {
        self.places.len() - self.free.len()
    }

    fn open_stream(&mut self, now: Duration, key: Key) -> (ConnectionId, Arc<Stream>) {
        let now = now.as_nanos() as u64;
        let opened = self.last.map_or(now, |last| now.max(last + 1));
        self.last = Some(opened);
        let order = match self.phase {
            Phase::Running => Order::GoOn,
            Phase::Draining(_) => Order::Drain,
            Phase::Shutdown => Order::Shutdown,
        };
        let stream = Arc::new(Stream {
            opened,
            key,
            state: Mutex::new(State {
                order,
                waker: None,
                counts: Counts::default(),
                stalled: false,
                taken: 0,
            }),
        });
        let place = self.free.pop().unwrap_or_else(|| {
            let places = self.places.len();
            if places == self.places.capacity() {
                // By less than `push` would: there are many streams, and each pays for the rest.
                self.places.reserve_exact(places / 8 + 8);
            }
            self.places.push(None);
            places as u32
        });
        self.places[place as usize] = Some(stream.clone());
        self.totals.opened += 1;
        (ConnectionId { opened, place }, stream)
    }

    /// The open streams, so that they are told and described without the lock: wakers and
    /// closures run the code of others.
    fn streams(&self) -> Vec<(ConnectionId, Arc<Stream>)> {
        let open = self.places.iter().zip(0..);
        open.filter_map(|(stream, place)| {
            let stream = stream.clone()?;
            let opened = stream.opened;
            Some((ConnectionId { opened, place }, stream))
        })
        .collect()
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // A panic under the lock can come from memory alone, and leaves nothing half done.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase, order: Order) {
        let streams = {
            let mut registry = self.registry();
            if !matches!(registry.phase, Phase::Shutdown) {
                registry.phase = phase;
            }
            registry.streams()
        };
        streams.iter().for_each(|(_, stream)| stream.tell(order));
    }

    fn streams(&self) -> Vec<(ConnectionId, Arc<Stream>)> {
        self.registry().streams()
    }

    /// The time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn describe(&self, id: ConnectionId, stream: &Stream) -> Connection {
        let now = self.now();
        let state = stream.state();
        Connection {
            id,
            key: (*stream.key.0).clone(),
            age: stream.age(now),
            events: state.counts.events,
            bytes: state.counts.bytes,
            keep_alives: state.counts.keep_alives,
            stalled_for: state.stalled.then(|| {
                let millis = (now.as_millis() as u32).wrapping_sub(state.taken);
                Duration::from_millis(millis.into())
            }),
        }
    }
}

impl Totals {
    fn add(&mut self, counts: Counts) {
        self.events += counts.events;
        self.bytes += counts.bytes;
        self.keep_alives += counts.keep_alives;
    }
}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code of others runs under the lock but the copying of a waker, which changes nothing
        // if it panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.opened))
    }

    /// Gives an order, and wakes the body for it.
    fn tell(&self, order: Order) {
        let waker = {
            let mut state = self.state();
            state.order = state.order.max(order);
            state.waker.take()
        };
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
    place: u32,
    closed: bool,
}

impl Permit {
    /// The name of the stream, for [`Connections::close`].
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        ConnectionId {
            opened: self.stream.opened,
            place: self.place,
        }
    }

    /// What the stream is to do. Whoever polls it is woken when that changes.
    pub(crate) fn order(&self, waker: &Waker) -> Order {
        let mut state = self.stream.state();
        state.stalled = false;
        match &mut state.waker {
            Some(stored) => stored.clone_from(waker),
            None => state.waker = Some(waker.clone()),
        }
        state.order
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
        let taken = (now - self.shared.started).as_millis() as u32;
        self.count(counts, Some(taken));
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
        self.count(counts, None);
        self.release(reason);
    }

    fn count(&self, counts: Counts, taken: Option<u32>) {
        let before = {
            let mut state = self.stream.state();
            state.stalled = taken.is_some();
            state.taken = taken.unwrap_or_default();
            mem::replace(&mut state.counts, counts)
        };
        self.shared.metrics.sent(Counts {
            events: counts.events - before.events,
            bytes: counts.bytes - before.bytes,
            keep_alives: counts.keep_alives - before.keep_alives,
        });
    }

    fn release(&mut self, reason: CloseReason) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let age = self.stream.age(self.shared.now());
        let counts = self.stream.state().counts;
        self.shared.metrics.closed(reason, age);
        self.trace.closed(reason, counts, age);
        let mut guard = self.shared.registry();
        let registry = &mut *guard;
        registry.places[self.place as usize] = None;
        registry.free.push(self.place);
        registry.totals.closed[reason as usize] += 1;
        registry.totals.add(counts);
        if let Some(of_key) = registry.per_key.get_mut(&self.stream.key) {
            *of_key -= 1;
            if *of_key == 0 {
                registry.per_key.remove(&self.stream.key);
            }
        }
        if registry.open() == 0 {
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
            .field("id", &self.id())
            .field("key", &self.stream.key.0)
            .finish_non_exhaustive()
    }
}
