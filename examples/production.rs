//! axum on hyper-util with what a server needs in production: limits, a write timeout, a graceful
//! stop, and metrics.
//!
//! ```text
//! $ cargo run --example production
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
//! $ curl http://127.0.0.1:3000/metrics
//! # TYPE sse_streams_open gauge
//! sse_streams_open 1
//! (and so on)
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
use http_sse::{CloseReason, Connections, Event, EventType, LastEventId, Sse};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulConnection, GracefulShutdown},
    },
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

/// How long a client may take nothing of what there is for it, before it is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may take to stop, of which it needs more than some milliseconds only if
/// there are clients that do not read. A supervisor kills it after 10 s or more.
const GRACE: Duration = Duration::from_secs(5);
const GOODBYE: EventType = EventType::from_static("goodbye");

#[tokio::main]
async fn main() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", setting("PORT", 3000))).await?;
    println!("listening on http://{}", listener.local_addr()?);

    let connections = Connections::new()
        .max(setting("MAX_STREAMS", 10_000))
        .max_per_key(setting("MAX_STREAMS_PER_ADDRESS", 20))
        .goodbye(Event::data("the server restarts").event_type(GOODBYE))
        .reconnect_within(Duration::from_secs(5)); // not all at once
    let app = Router::new()
        .route("/events", get(events))
        .route("/metrics", get(metrics)) // better on a port that the public does not reach
        .with_state(connections.clone());

    let graceful = GracefulShutdown::new();
    let mut stopped = pin!(stopped());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => {
                    let connection = serve(tcp, peer, app.clone());
                    tokio::spawn(graceful.watch(connection));
                }
                // No files are left, say: some may be soon.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            result = &mut stopped => break result?,
        }
    }

    drop(listener); // who connects now is to reach the next server
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
    State(connections): State<Connections>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    last: LastEventId,
) -> Sse<impl Stream<Item = Event>> {
    // Behind a proxy this is the proxy's address, and the client's is in a header that it sets.
    match connections.admit(peer.ip().to_string()) {
        Ok(permit) => {
            let first = last.parse::<u64>().map_or(1, |last| last.saturating_add(1));
            Sse::new(numbers(first)).permit(permit)
        }
        Err(full) => full.into(),
    }
}

/// What Prometheus reads.
async fn metrics(State(connections): State<Connections>) -> impl IntoResponse {
    let totals = connections.totals();
    let mut streams = connections.snapshot();
    streams.retain(|stream| stream.stalled_for > Some(Duration::from_secs(1)));
    let mut text = format!(
        "\
# TYPE sse_streams_open gauge
sse_streams_open {}
# TYPE sse_streams_stalled gauge
sse_streams_stalled {}
# TYPE sse_streams_opened_total counter
sse_streams_opened_total {}
# TYPE sse_streams_refused_total counter
sse_streams_refused_total{{by=\"server\"}} {}
sse_streams_refused_total{{by=\"key\"}} {}
# TYPE sse_events_total counter
sse_events_total {}
# TYPE sse_keep_alives_total counter
sse_keep_alives_total {}
# TYPE sse_sent_bytes_total counter
sse_sent_bytes_total {}
# TYPE sse_streams_closed_total counter
",
        totals.open,
        streams.len(),
        totals.opened,
        totals.refused_by_server,
        totals.refused_by_key,
        totals.events,
        totals.keep_alives,
        totals.bytes,
    );
    for (name, reason) in [
        ("end", CloseReason::End),
        ("error", CloseReason::Error),
        ("max_age", CloseReason::MaxAge),
        ("shutdown", CloseReason::Shutdown),
        ("closed", CloseReason::ByServer),
        ("client_gone", CloseReason::ClientGone),
    ] {
        let closed = totals.closed(reason);
        text += &format!("sse_streams_closed_total{{reason=\"{name}\"}} {closed}\n");
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// One connection, with HTTP/1.1 or HTTP/2.
fn serve(
    tcp: TcpStream,
    peer: SocketAddr,
    app: Router,
) -> impl GracefulConnection<Error: Send> + Send + 'static {
    _ = tcp.set_nodelay(true); // small writes must not wait for each other
    // The kernel, too, gives up what it holds for a client that does not read.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
    // A write goes on when a third of the buffer is free: who reads slowly must get that far.
    _ = SockRef::from(&tcp).set_send_buffer_size(64 * 1024);
    let mut tcp = TimeoutStream::new(tcp);
    tcp.set_write_timeout(Some(WRITE_TIMEOUT));

    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()); // for the timeout of the head, which is 30 s
    // On HTTP/2 a client that reads nothing mostly fills no socket: it is asked to answer.
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

/// Waits for ctrl-c, or for SIGTERM where there is one.
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

/// A number from the environment.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    let value = env::var(name).ok();
    value.map_or(default, |value| {
        let number = value.parse().ok();
        number.unwrap_or_else(|| panic!("{name}={value} is not a number"))
    })
}
