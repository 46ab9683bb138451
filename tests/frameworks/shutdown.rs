//! Graceful shutdown of each framework with one open stream of the framework's own event type.
//!
//! The servers have default settings. `src/guide/frameworks.md` states the results. `contract` has
//! the same cases for streams of this crate.
//!
//! `cargo test -p http-sse-frameworks -- --nocapture shutdown::` prints how long each takes.

use std::{
    convert::Infallible,
    thread,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, Stream, future::join, stream};
use tokio::{runtime::Runtime, sync::oneshot};

use crate::{
    deadline::joined,
    raw_client::RawClient,
    serving::{Listener, rocket_config, runtime, serve, serving},
    undisturbed::Undisturbed,
};

/// Serves `/` with a silent stream until the receiver is notified.
type Serve = fn(Listener, oneshot::Receiver<()>);

/// The time after which a server that has not stopped is taken to wait for its client.
const NEVER: Duration = Duration::from_secs(3);

fn silence<T>() -> stream::Pending<Result<T, Infallible>> {
    stream::pending()
}

/// A server that was notified to stop while a client has an open stream.
struct Stopping {
    name: &'static str,
    thread: thread::JoinHandle<()>,
    runtime: Runtime,
    client: RawClient,
    since: Instant,
    clock: Undisturbed,
}

fn stop(name: &'static str, serve: Serve) -> Stopping {
    let (listener, address) = Listener::open(|_| {});
    let (stop, stopped) = oneshot::channel();
    let thread = thread::spawn(move || serve(listener, stopped));
    let runtime = runtime(1);
    let client = runtime.block_on(async {
        let mut client = RawClient::get(address.get(), "/", "").await;
        assert_eq!(client.head().await.0, 200);
        client
    });
    let (since, clock) = (Instant::now(), Undisturbed::now());
    stop.send(()).unwrap();
    Stopping {
        name,
        thread,
        runtime,
        client,
        since,
        clock,
    }
}

impl Stopping {
    /// Asserts that the server waits for its client.
    fn waits_for_the_client(self) {
        thread::sleep(NEVER);
        assert!(!self.thread.is_finished(), "{} has stopped", self.name);
        println!(
            "{}: not stopped after {:?}",
            self.name,
            self.since.elapsed()
        );
        self.client.close();
        joined("the server to stop after its client has left", self.thread);
    }

    /// Asserts that the server breaks the stream off and stops, after `least` at the earliest.
    /// Returns the clock that was started with the shutdown.
    fn breaks_off(mut self, least: Duration) -> Undisturbed {
        joined("the server to stop", self.thread);
        let took = self.since.elapsed();
        println!("{}: {took:?}", self.name);
        assert!(took >= least, "stopped after {took:?}");
        let rest = self.runtime.block_on(self.client.rest());
        assert!(rest.is_err(), "{rest:?}");
        self.clock
    }
}

#[test]
fn axum_never_stops() {
    use axum::{Router, response::sse, routing::get};

    async fn events() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        sse::Sse::new(silence())
    }
    stop("axum", |listener, stopped| {
        serve(async {
            let app = Router::new().route("/", get(events));
            let served = axum::serve(listener.tokio(), app);
            let served = served.with_graceful_shutdown(stopped.map(drop));
            serving(served).await.unwrap();
        });
    })
    .waits_for_the_client();
}

#[test]
fn warp_never_stops() {
    use warp::{Filter as _, sse};

    stop("warp", |listener, stopped| {
        serve(async {
            let app = warp::any().map(|| sse::reply(silence::<sse::Event>()));
            let server = warp::serve(app).incoming(listener.tokio());
            serving(server.graceful(stopped.map(drop)).run()).await;
        });
    })
    .waits_for_the_client();
}

#[test]
fn poem_never_stops() {
    use poem::{Route, Server, get, handler, listener::TcpAcceptor, web::sse};

    #[handler]
    fn events() -> sse::SSE {
        sse::SSE::new(stream::pending::<sse::Event>())
    }
    stop("poem", |listener, stopped| {
        serve(async {
            let acceptor = TcpAcceptor::from_tokio(listener.tokio()).unwrap();
            let server = Server::new_with_acceptor(acceptor);
            let app = Route::new().at("/", get(events));
            let served = server.run_with_graceful_shutdown(app, stopped.map(drop), None);
            serving(served).await.unwrap();
        });
    })
    .waits_for_the_client();
}

#[test]
fn salvo_never_stops() {
    use salvo::{Response, Router, Server, conn::tcp::TcpAcceptor, handler, sse};

    #[handler]
    async fn events(response: &mut Response) {
        sse::stream(response, silence::<sse::SseEvent>());
    }
    stop("salvo", |listener, stopped| {
        serve(async {
            let server = Server::new(TcpAcceptor::try_from(listener.tokio()).unwrap());
            let handle = server.handle();
            let stopped = stopped.map(|_| handle.stop_graceful(None));
            let served = server.serve(Router::new().get(events));
            serving(join(served, stopped)).await;
        });
    })
    .waits_for_the_client();
}

/// actix-web has no event type, so the body of the response is a plain stream.
#[test]
fn actix_web_breaks_the_stream_after_30_seconds() {
    use actix_web::{App, HttpResponse, HttpServer, rt, web};

    async fn events() -> HttpResponse {
        HttpResponse::Ok().streaming(silence::<web::Bytes>())
    }
    let took = stop("actix-web", |listener, stopped| {
        rt::System::new().block_on(async {
            let server = HttpServer::new(|| App::new().route("/", web::get().to(events)));
            let server = server.workers(1).disable_signals();
            let server = server.listen(listener.std()).unwrap().run();
            let handle = server.handle();
            let stopped = stopped.then(|_| handle.stop(true));
            serving(join(server, stopped)).await.0.unwrap();
        });
    })
    .breaks_off(Duration::from_secs(30));
    assert!(took.elapsed() < Duration::from_secs(31), "{took:?}");
}

#[test]
fn rocket_breaks_the_stream_after_its_grace_and_mercy() {
    use rocket::{
        config::Shutdown,
        get,
        response::stream::{Event, EventStream},
        routes,
    };

    #[get("/")]
    fn events() -> EventStream<impl Stream<Item = Event>> {
        EventStream::from(stream::pending())
    }
    let took = stop("rocket", |listener, stopped| {
        serve(async {
            let config = rocket_config(Shutdown::default());
            let rocket = rocket::custom(config).attach(listener.rocket());
            let rocket = rocket.mount("/", routes![events]);
            let rocket = serving(rocket.ignite()).await.unwrap();
            let shutdown = rocket.shutdown();
            // In the same task. A notification from another task sometimes arrives between two
            // checks of rocket, which then fails at once.
            let stopped = stopped.map(|_| shutdown.notify());
            let (served, ()) = serving(join(rocket.launch(), stopped)).await;
            // An error of rocket panics on drop unless it was displayed.
            println!("rocket: {}", served.unwrap_err());
        });
    })
    .breaks_off(Duration::from_secs(2 + 3));
    // One second longer if rocket has to check twice.
    assert!(took.elapsed() < Duration::from_secs(8), "{took:?}");
}
