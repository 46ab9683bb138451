//! The open streams of a server: limits, shutdown and counters.

mod admit_error;
mod info;
mod keys;
mod permit;
mod registry;
mod report;
mod streams;
mod sums;
mod telemetry;

use std::{
    fmt,
    sync::{Arc, Mutex, atomic::AtomicU64},
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
    registry::{NO_END, OpenStream, Server, Settings},
    sums::Sums,
    telemetry::{StreamMetrics, Trace},
};
pub(crate) use self::{registry::Order, telemetry::Counts};
use crate::{wake::wake_all, wire::EncodedEvent};

/// The open streams of a server, with limits, shutdown and counters.
///
/// Configure one `Connections` per server, then clone it: all clones share the same streams. A
/// handler [admits](Self::admit) a client and passes the [`Permit`] to
/// [`Sse::permit`](crate::Sse::permit). The stream is then counted, can be closed, and ends at
/// [`shutdown`](Self::shutdown). `Connections` spawns no task. It never closes a stream to make
/// room for another.
///
/// The methods that configure it return a new `Connections` without streams, so call them before
/// the first clone.
///
/// With the feature `metrics`, the counters of [`totals`](Self::totals) are also reported to the
/// recorder of the crate `metrics`, with the prefix `sse_`. `sse_stream_duration_seconds` adds how
/// long streams were open. The recorder is looked up once, so install it before the first client
/// is admitted.
///
/// With the feature `tracing`, each stream has a span, in which its source is polled. The span has
/// an event at the start of the stream and one at its end.
///
/// A panic of the recorder or of the subscriber reaches its caller. The stream still ends and its
/// place is still given back.
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
///
/// # Stopping a server
///
/// A graceful stop waits for open responses, and an event stream does not end by itself. Therefore
/// end the streams when the server begins to stop. With axum:
///
/// ```no_run
/// # use std::{future::IntoFuture as _, time::Duration};
/// # use axum::{Router, extract::State, routing::get};
/// # use futures_util::{Stream, stream};
/// # use http_sse::{Connections, Event, Sse};
/// # async fn events(State(connections): State<Connections>) -> Sse<impl Stream<Item = Event>> {
/// #     match connections.admit("a") {
/// #         Ok(permit) => Sse::new(stream::pending()).permit(permit),
/// #         Err(full) => full.into(),
/// #     }
/// # }
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
/// # let connections = Connections::new();
/// let app = Router::new().route("/events", get(events)).with_state(connections.clone());
/// let streams = connections.clone();
/// let signal = async move {
///     tokio::signal::ctrl_c().await.ok();
///     streams.shutdown();
/// };
/// let server = axum::serve(listener, app).with_graceful_shutdown(signal);
/// let server = tokio::spawn(server.into_future());
///
/// tokio::signal::ctrl_c().await?;
/// let stopped = async { (connections.closed().await, server.await) };
/// if tokio::time::timeout(Duration::from_secs(10), stopped).await.is_err() {
///     eprintln!("cut off clients that have not read to the end");
/// }
/// # Ok(())
/// # }
/// ```
///
/// The timeout is for clients that do not read. A stream counts as closed when its last frame was
/// handed to the server, which may not be able to write it.
///
/// In the other frameworks call [`shutdown`](Self::shutdown), wait for [`closed`](Self::closed),
/// and then:
///
/// - **hyper**: await `GracefulShutdown::shutdown` of hyper-util, which waits for the connections
///   that it watches.
/// - **actix-web**: call `ServerHandle::stop(true)`. It waits for idle connections up to
///   `HttpServer::shutdown_timeout`, which is 30 s by default. Set it to the time that you grant
///   to slow clients. With 0 it cuts them off. Call `HttpServer::disable_signals`, because the
///   server otherwise handles ctrl-c itself.
/// - **rocket**: call `rocket::Shutdown::notify`. It waits for idle connections for
///   `shutdown.grace` and then `shutdown.mercy`, which are 2 s and 3 s by default. Set them to 1
///   and 0, and `shutdown.ctrlc` to `false`.
/// - **poem**: complete the signal of `Server::run_with_graceful_shutdown`. Its last argument
///   limits the wait.
/// - **salvo**: call `ServerHandle::stop_graceful`. Its argument limits the wait.
/// - **warp**: complete the signal of `Server::graceful`.
#[derive(Clone)]
pub struct Connections(Arc<Server>);

impl Connections {
    /// Creates a `Connections` with no limits and no goodbye.
    ///
    /// # Panics
    ///
    /// Panics on `wasm32-unknown-unknown`, which has no clock. So do the methods that configure it.
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

    /// Sets the maximum number of open streams. With 0, every client is refused. By default there
    /// is no limit.
    #[must_use]
    pub fn max(self, streams: usize) -> Self {
        self.set(|settings| settings.max = streams)
    }

    /// Sets the maximum number of open streams with the same key, such as a user or an address. By
    /// default there is no limit.
    #[must_use]
    pub fn max_per_key(self, streams: usize) -> Self {
        self.set(|settings| settings.max_per_key = streams)
    }

    /// Sets the `retry-after` of refused clients, by default 5 s. The header has whole seconds,
    /// rounded up.
    #[must_use]
    pub fn retry_after(self, time: Duration) -> Self {
        self.set(|settings| settings.retry_after = time)
    }

    /// Sets the event that is sent last on every stream that [`shutdown`](Self::shutdown) or
    /// [`drain`](Self::drain) ends. By default nothing is sent.
    #[must_use]
    pub fn goodbye(self, event: impl Into<EncodedEvent>) -> Self {
        self.set(|settings| settings.goodbye = Some(event.into()))
    }

    /// Sends a random reconnection time from 1 ms to `window` when the server ends a stream, so
    /// that clients do not reconnect at the same moment.
    ///
    /// It is sent for [`shutdown`](Self::shutdown), [`drain`](Self::drain), [`close`](Self::close),
    /// [`close_key`](Self::close_key), [`close_where`](Self::close_where), and the other ends that
    /// [`Sse::reconnect_within`](crate::Sse::reconnect_within) lists. It takes precedence over that
    /// method. By default nothing is sent.
    #[must_use]
    pub fn reconnect_within(self, window: Duration) -> Self {
        self.set(|settings| settings.reconnect_within = Some(window))
    }

    /// Admits a client if the limits allow it. [`max_per_key`](Self::max_per_key) limits the streams
    /// with the same `key`, such as a user or an address.
    ///
    /// Clients are also admitted after [`shutdown`](Self::shutdown). Their streams end at the first
    /// poll, with the same goodbye and reconnection time as the others.
    ///
    /// # Errors
    ///
    /// Returns [`AdmitError`] if the server or the key has as many open streams as its limit. The
    /// server's limit is checked first. The error converts into the response that refuses the
    /// client.
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
        let of_key = registry.keys.get(&key);
        if of_key.map_or(0, |(_, streams)| streams) >= settings.max_per_key {
            registry.totals.refused_by_key += 1;
            drop(guard);
            self.0.metrics.refused(true);
            return Err(full(FullBy::Key));
        }
        let (id, stream) = registry.open_stream(self.0.now(), key);
        drop(guard);
        // The permit gives the place back if the recorder or the subscriber panics.
        let mut permit = Permit {
            server: self.0.clone(),
            trace: Trace::none(),
            stream,
            place: id.place,
            closed: false,
        };
        self.0.metrics.opened();
        permit.trace = Trace::open(id.opened, &permit.stream.key.0);
        Ok(permit)
    }

    /// Ends every open stream, and every stream that is admitted from now on.
    ///
    /// It returns immediately. Each stream ends when its body is next polled, with
    /// [`CloseReason::Shutdown`]. Use [`closed`](Self::closed) to wait for that. A shutdown cannot
    /// be undone, and it ends a [`drain`](Self::drain).
    pub fn shutdown(&self) {
        self.0.enter_shutdown();
        self.0.give_all(Order::Shutdown);
    }

    /// Gives the streams at most `time` to end by themselves, then ends the remaining ones.
    ///
    /// It returns immediately. The same end applies to streams that are admitted from now on. They
    /// end with [`CloseReason::Shutdown`]. If the clock cannot represent the end of the drain, as
    /// with [`Duration::MAX`], the streams are not ended. After [`shutdown`](Self::shutdown) this
    /// has no effect. A second call can bring the end forward, but does not postpone it for streams
    /// that already know the first one.
    ///
    /// # Panics
    ///
    /// The body panics if its timer is first needed outside a tokio runtime with time enabled. The
    /// call itself panics on `wasm32-unknown-unknown`, which has no clock.
    pub fn drain(&self, time: Duration) {
        self.0.enter_drain(Instant::now().checked_add(time));
        self.0.give_all(Order::Drain);
    }

    /// Closes one stream. Returns `false` if it is no longer open.
    ///
    /// The stream ends when its body is next polled, with [`CloseReason::ByServer`] and without the
    /// goodbye. An `EventSource` then reconnects. Answer it with [`Sse::stop`](crate::Sse::stop) to
    /// prevent that.
    #[expect(
        clippy::must_use_candidate,
        reason = "callers may not care whether the stream was open"
    )]
    pub fn close(&self, id: ConnectionId) -> bool {
        let stream = {
            let registry = self.0.registry();
            let stream = registry.places.get(id.place as usize);
            stream.cloned().flatten()
        };
        let Some(stream) = stream.filter(|stream| stream.opened == id.opened) else {
            return false;
        };
        wake_all(stream.give(Order::Close));
        true
    }

    /// Closes every stream for which `wanted` returns `true`, as [`close`](Self::close) does.
    /// Returns the number of these streams.
    ///
    /// `wanted` is called without a lock, so it may use this `Connections`. It is not called for
    /// streams that open in the meantime. If it panics, the streams chosen before are closed.
    pub fn close_where(&self, mut wanted: impl FnMut(&ConnectionInfo) -> bool) -> usize {
        let streams = self.0.streams();
        close_all(streams.filter(|(id, stream)| wanted(&self.0.describe(*id, stream))))
    }

    /// Closes every stream with this key, as [`close`](Self::close) does. Returns the number of these
    /// streams.
    ///
    /// It takes time in proportion to all open streams, but less than
    /// [`close_where`](Self::close_where). It returns immediately if no stream has the key.
    ///
    /// ```
    /// use http_sse::Connections;
    ///
    /// # fn main() -> Result<(), http_sse::AdmitError> {
    /// let connections = Connections::new();
    /// let _permits = [connections.admit("ann")?, connections.admit("bob")?, connections.admit("ann")?];
    ///
    /// assert_eq!(connections.close_key("ann"), 2);
    /// assert_eq!(connections.close_key("nobody"), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[expect(
        clippy::must_use_candidate,
        reason = "callers may not care how many streams were open"
    )]
    pub fn close_key(&self, key: &str) -> usize {
        close_all(self.0.streams_of(key))
    }

    /// Waits until no stream is open.
    ///
    /// It returns immediately if none is. A [`Permit`] without a body counts as an open stream. A
    /// client that does not read can keep its stream open, so limit the wait with
    /// `tokio::time::timeout`. Dropping the future has no effect on the streams.
    pub async fn closed(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.0.registry().open() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Returns the state of every open stream, in no particular order.
    ///
    /// The streams are visited one after another. A stream that opens during the call is not
    /// included, and one that ends during the call may be. With many streams, use
    /// [`snapshot_where`](Self::snapshot_where) to copy only some of them.
    #[must_use]
    pub fn snapshot(&self) -> Vec<ConnectionInfo> {
        self.snapshot_where(|_| true)
    }

    /// Returns the state of every open stream for which `wanted` returns `true`, as
    /// [`snapshot`](Self::snapshot) does.
    ///
    /// `wanted` is called without a lock, so it may use this `Connections`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http_sse::Connections;
    ///
    /// let connections = Connections::new();
    /// let stalled = connections.snapshot_where(|stream| {
    ///     stream.stalled_for >= Some(Duration::from_secs(60))
    /// });
    /// assert!(stalled.is_empty());
    /// ```
    #[must_use]
    pub fn snapshot_where(
        &self,
        mut wanted: impl FnMut(&ConnectionInfo) -> bool,
    ) -> Vec<ConnectionInfo> {
        let streams = self.0.streams();
        let infos = streams.map(|(id, stream)| self.0.describe(id, &stream));
        infos.filter(|info| wanted(info)).collect()
    }

    /// Returns the counters of all streams.
    ///
    /// The numbers of streams and of refused clients are those of one moment, so they balance. The
    /// events, bytes and keep-alives include at least those of all closed streams. They may include
    /// a frame that is sent during the call. It takes the same time for any number of streams.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = {
            let registry = self.0.registry();
            Totals {
                open: registry.open(),
                ..registry.totals.clone()
            }
        };
        totals.add(self.0.sums.counts());
        totals
    }

    fn with(settings: Settings) -> Self {
        Self(Arc::new(Server {
            settings,
            started: Instant::now(),
            registry: Mutex::default(),
            drain_end: AtomicU64::new(NO_END),
            emptied: Notify::new(),
            sums: Sums::default(),
            metrics: StreamMetrics::new(),
        }))
    }

    /// Returns a new, empty handle with changed settings. The settings of an existing handle never
    /// change, because its clones share them.
    fn set(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.0.settings.clone();
        change(&mut settings);
        Self::with(settings)
    }
}

/// Closes streams, and returns their number.
fn close_all(streams: impl Iterator<Item = (ConnectionId, Arc<OpenStream>)>) -> usize {
    let mut closed = 0;
    wake_all(streams.filter_map(|(_, stream)| {
        closed += 1;
        stream.give(Order::Close)
    }));
    closed
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
