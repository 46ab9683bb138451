//! A server like `app`, with a write timeout, socket options and metrics. It runs axum on
//! hyper-util, which has settings for each connection.
//!
//! ```text
//! $ cargo run -p http-sse-suite --example production
//! listening on http://127.0.0.1:3000
//!
//! $ curl -N http://127.0.0.1:3000/events
//! :
//! id: 1
//! data: 1
//!
//! (and so on, once per second, until ctrl-c or SIGTERM stops the server)
//! retry: 3141
//! event: goodbye
//! data: the server restarts
//!
//! ```
//!
//! The metrics, while the stream is open:
//!
//! ```text
//! $ curl http://127.0.0.1:3000/metrics
//! # HELP sse_streams_open Open streams
//! # TYPE sse_streams_open gauge
//! sse_streams_open 1
//!
//! (and so on, in any order)
//! ```

use std::{env, io, net::SocketAddr, pin::pin, str::FromStr, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::header::CONTENT_TYPE,
    response::IntoResponse,
    routing::get,
};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{AdmitError, Connections, Event, EventType, LastEventId, Sse};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown},
    },
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

/// The time after which a connection is closed if its client reads none of the pending bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The limit of a graceful stop, which takes milliseconds if all clients read. Supervisors kill a
/// server that needs longer than 10 s, or more.
const GRACE: Duration = Duration::from_secs(5);
const GOODBYE: EventType = EventType::from_static("goodbye");

#[derive(Clone)]
struct Server {
    connections: Connections,
    prometheus: PrometheusHandle,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", setting("PORT", 3000))).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let recorder = PrometheusBuilder::new().install_recorder();
    let server = Server {
        connections: Connections::new()
            .max(setting("MAX_STREAMS", 10_000))
            .max_per_key(setting("MAX_STREAMS_PER_ADDRESS", 20))
            .goodbye(Event::data("the server restarts").event_type(GOODBYE))
            .reconnect_within(Duration::from_secs(5)), // spreads the reconnections
        prometheus: recorder.map_err(io::Error::other)?,
    };
    let connections = server.connections.clone();
    let app = Router::new()
        .route("/events", get(events))
        .route("/metrics", get(metrics)) // in production, on a port that is not public
        .with_state(server);

    let graceful = GracefulShutdown::new();
    let mut stopped = pin!(stopped());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => {
                    let connection = serve(tcp, peer, app.clone());
                    tokio::spawn(graceful.watch(connection));
                }
                // The process may be out of file descriptors, which connections that end return.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            result = &mut stopped => break result?,
        }
    }

    drop(listener); // new connections go to the next server
    connections.shutdown();
    let closed = async {
        connections.closed().await;
        graceful.shutdown().await;
    };
    if timeout(GRACE, closed).await.is_err() {
        println!("cut off {} streams", connections.totals().open);
    }
    Ok(())
}

async fn events(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    last: LastEventId,
) -> Result<Sse<impl Stream<Item = Event>>, AdmitError> {
    let permit = server.connections.admit(peer.ip().to_string())?;
    let first = last.parse::<u64>().map_or(1, |last| last.saturating_add(1));
    Ok(Sse::new(numbers(first)).permit(permit))
}

/// Returns the metrics in the text format of Prometheus. This also frees the samples of the
/// recorder's histograms: a server without scrapes calls [`PrometheusHandle::run_upkeep`].
async fn metrics(State(server): State<Server>) -> impl IntoResponse {
    // The recorder has no metric for streams whose clients do not read.
    let mut stalled = server.connections.snapshot();
    stalled.retain(|stream| stream.stalled_for > Some(Duration::from_secs(1)));
    metrics::gauge!("sse_streams_stalled").set(stalled.len() as f64);
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content_type, server.prometheus.render())
}

/// Serves one connection with HTTP/1.1 or HTTP/2.
fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    app: Router,
) -> impl GracefulConnection<Error: Send> + Send + 'static {
    _ = tcp.set_nodelay(true); // small writes must not wait for each other
    // The kernel, too, drops the bytes that a client does not read in time.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
    // A blocked write resumes when a third of the buffer is free. In a small buffer, a slow reader
    // frees that much before the timeout.
    _ = SockRef::from(&tcp).set_send_buffer_size(64 * 1024);
    let mut tcp = TimeoutStream::new(tcp);
    tcp.set_write_timeout(Some(WRITE_TIMEOUT));

    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()); // for the timeout of a request's head, which is 30 s
    // On HTTP/2, a client that does not read rarely fills the socket. Pings detect it.
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(WRITE_TIMEOUT / 2)
        .keep_alive_timeout(WRITE_TIMEOUT / 2);
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    });
    let connection = http.serve_connection(TokioIo::new(Box::pin(tcp)), service);
    connection.into_owned()
}

/// Waits for ctrl-c, or for SIGTERM on Unix.
async fn stopped() -> io::Result<()> {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => Ok(()),
            result = ctrl_c => result,
        }
    }
    #[cfg(not(unix))]
    ctrl_c.await
}

/// Counts from `first` on, once per second.
fn numbers(first: u64) -> impl Stream<Item = Event> {
    stream::iter(first..=u64::MAX).then(move |number| async move {
        if number > first {
            sleep(Duration::from_secs(1)).await;
        }
        Event::data(number.to_string()).id(number)
    })
}

/// Returns a number from the environment. Panics if the value is not a number.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    let value = env::var(name).ok();
    value.map_or(default, |value| {
        let number = value.parse().ok();
        number.unwrap_or_else(|| panic!("{name}={value} is not a number"))
    })
}
