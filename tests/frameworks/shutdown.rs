//! What `src/frameworks.md` says of the frameworks' own types for events: whether a server stops
//! when it is asked to, with one open stream, its settings being the default ones.
//!
//! `cargo test --test shutdown -- --nocapture` prints how long each takes. What this crate's
//! streams do is in `tests/contract.rs`.

use std::{
    convert::Infallible,
    future::Future,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use crate::raw_client::RawClient;
use futures_util::{FutureExt as _, Stream, stream};
use tokio::sync::oneshot;

/// Serves `/` with a stream on which nothing happens, until it is told to stop.
type Serve = fn(TcpListener, oneshot::Receiver<()>);

/// The longest that any may take that does stop.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long those are watched that do not.
const NEVER: Duration = Duration::from_secs(3);

fn silence<T>() -> stream::Pending<Result<T, Infallible>> {
    stream::pending()
}

/// How long the server takes to stop while a client has its stream open, if it does in `within`.
fn stops(name: &str, serve: Serve, within: Duration) -> Option<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        serve(listener, stopped);
        ended.send(()).unwrap();
    });
    let runtime = runtime();
    let client = runtime.block_on(async {
        listening(address).await;
        let mut client = RawClient::get(address, "/", "").await;
        assert_eq!(client.head().await.0, 200);
        client
    });
    let start = Instant::now();
    stop.send(()).unwrap();
    let took = end.recv_timeout(within).ok().map(|()| start.elapsed());
    println!("{name}: {took:?}");
    runtime.block_on(async { client.close() });
    if took.is_none() {
        // It was the stream that it waited for.
        end.recv_timeout(PATIENCE).unwrap();
    }
    took
}

async fn listening(address: SocketAddr) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::task::yield_now().await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

fn block_on(future: impl Future<Output = ()>) {
    runtime().block_on(future);
}

#[test]
fn axum_never_stops() {
    use axum::{Router, response::sse, routing::get};

    async fn events() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        sse::Sse::new(silence())
    }
    assert_eq!(
        stops(
            "axum",
            |listener, stopped| block_on(async {
                let app = Router::new().route("/", get(events));
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let served = axum::serve(listener, app).with_graceful_shutdown(stopped.map(drop));
                served.await.unwrap();
            }),
            NEVER
        ),
        None
    );
}

#[test]
fn warp_never_stops() {
    use warp::{Filter as _, sse};

    assert_eq!(
        stops(
            "warp",
            |listener, stopped| block_on(async {
                let app = warp::any().map(|| sse::reply(silence::<sse::Event>()));
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                warp::serve(app)
                    .incoming(listener)
                    .graceful(stopped.map(drop))
                    .run()
                    .await;
            }),
            NEVER
        ),
        None
    );
}

#[test]
fn poem_never_stops() {
    use poem::{Route, Server, get, handler, listener::TcpAcceptor, web::sse};

    #[handler]
    fn events() -> sse::SSE {
        sse::SSE::new(stream::pending::<sse::Event>())
    }
    assert_eq!(
        stops(
            "poem",
            |listener, stopped| block_on(async {
                let server = Server::new_with_acceptor(TcpAcceptor::from_std(listener).unwrap());
                let app = Route::new().at("/", get(events));
                server
                    .run_with_graceful_shutdown(app, stopped.map(drop), None)
                    .await
                    .unwrap();
            }),
            NEVER
        ),
        None
    );
}

#[test]
fn salvo_never_stops() {
    use salvo::{Response, Router, Server, conn::tcp::TcpAcceptor, handler, sse};

    #[handler]
    async fn events(response: &mut Response) {
        sse::stream(response, silence::<sse::SseEvent>());
    }
    assert_eq!(
        stops(
            "salvo",
            |listener, stopped| block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = Server::new(TcpAcceptor::try_from(listener).unwrap());
                let handle = server.handle();
                tokio::spawn(stopped.map(move |_| handle.stop_graceful(None)));
                server.serve(Router::new().get(events)).await;
            }),
            NEVER
        ),
        None
    );
}

/// It has no type of its own: this is its response with a stream for a body.
#[test]
fn actix_web_breaks_it_off_after_half_a_minute() {
    use actix_web::{App, HttpResponse, HttpServer, rt, web};

    async fn events() -> HttpResponse {
        HttpResponse::Ok().streaming(silence::<web::Bytes>())
    }
    let took = stops(
        "actix-web",
        |listener, stopped| {
            rt::System::new().block_on(async {
                let server = HttpServer::new(|| App::new().route("/", web::get().to(events)));
                let server = server
                    .workers(1)
                    .disable_signals()
                    .listen(listener)
                    .unwrap()
                    .run();
                let handle = server.handle();
                rt::spawn(async move {
                    let _ = stopped.await;
                    handle.stop(true).await;
                });
                server.await.unwrap();
            });
        },
        PATIENCE,
    );
    assert_eq!(took.unwrap().as_secs(), 30);
}

#[test]
fn rocket_breaks_it_off_after_its_grace_and_mercy() {
    use rocket::{
        Config,
        config::{LogLevel, Shutdown},
        get,
        response::stream::{Event, EventStream},
        routes,
    };

    #[get("/")]
    fn events() -> EventStream<impl Stream<Item = Event>> {
        EventStream::from(stream::pending())
    }
    let took = stops(
        "rocket",
        |listener, stopped| {
            let port = listener.local_addr().unwrap().port();
            drop(listener); // it only takes a port
            block_on(async {
                let config = Config {
                    port,
                    log_level: LogLevel::Off,
                    shutdown: Shutdown {
                        ctrlc: false,
                        ..Shutdown::default()
                    },
                    ..Config::default()
                };
                let rocket = rocket::custom(config).mount("/", routes![events]);
                let rocket = rocket.ignite().await.unwrap();
                let shutdown = rocket.shutdown();
                tokio::spawn(stopped.map(move |_| shutdown.notify()));
                let error = rocket.launch().await.unwrap_err();
                println!("rocket: {error}"); // or its drop would panic
            });
        },
        PATIENCE,
    );
    // Mostly a second later; and now and then it looks at the wrong moment, and fails at once.
    assert!(took.unwrap() < Duration::from_secs(8), "{took:?}");
}
