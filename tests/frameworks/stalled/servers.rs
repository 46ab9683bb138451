//! A server for each recipe.

use std::future::pending;

use http::Request;
use http_sse::{Sse, SseBody};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_io_timeout::TimeoutStream;

use super::{
    WRITE_TIMEOUT,
    streams::{Source, Streams},
};
use crate::serving::{Listener, rocket_config, serve, serve_each, serving};

async fn respond(
    streams: Streams,
    request: Request<hyper::body::Incoming>,
) -> Result<http::Response<SseBody<Source>>, std::convert::Infallible> {
    let key = request.uri().path().trim_start_matches("/streams/");
    Ok(streams.answer(key).into_response())
}

pub(super) fn serve_hyper(listener: Listener, streams: Streams) {
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;

    serve(async {
        serve_each(listener.tokio(), pending::<()>(), |tcp| {
            let streams = streams.clone();
            async move {
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http2()
                    .timer(TokioTimer::new())
                    .keep_alive_interval(WRITE_TIMEOUT / 2)
                    .keep_alive_timeout(WRITE_TIMEOUT / 2);
                let service = service_fn(|request| respond(streams.clone(), request));
                _ = serving(http.serve_connection(TokioIo::new(tcp), service)).await;
            }
        })
        .await;
    });
}

pub(super) fn serve_hyper_with_a_timeout_stream(listener: Listener, streams: Streams) {
    use hyper::service::service_fn;
    use hyper_util::server::conn::auto;

    serve(async {
        serve_each(listener.tokio(), pending::<()>(), |tcp| {
            let streams = streams.clone();
            async move {
                let mut tcp = TimeoutStream::new(tcp);
                tcp.set_write_timeout(Some(WRITE_TIMEOUT));
                let http = auto::Builder::new(TokioExecutor::new());
                let service = service_fn(|request| respond(streams.clone(), request));
                let io = TokioIo::new(Box::pin(tcp));
                _ = serving(http.serve_connection(io, service)).await;
            }
        })
        .await;
    });
}

pub(super) fn serve_axum(listener: Listener, streams: Streams) {
    use axum::{
        Router,
        extract::{Path, State},
        routing::get,
    };

    async fn answer(State(streams): State<Streams>, Path(key): Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    serve(async {
        let app = Router::new().route("/streams/{key}", get(answer));
        let served = axum::serve(listener.tokio(), app.with_state(streams));
        serving(served).await.unwrap();
    });
}

pub(super) fn serve_actix_web(listener: Listener, streams: Streams) {
    use actix_web::{
        App, HttpServer, rt,
        web::{Data, Path, get},
    };

    async fn answer(streams: Data<Streams>, key: Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    rt::System::new().block_on(async {
        let app = move || {
            App::new()
                .app_data(Data::new(streams.clone()))
                .route("/streams/{key}", get().to(answer))
        };
        let server = HttpServer::new(app).workers(2).disable_signals();
        let served = server.listen(listener.std()).unwrap().run();
        serving(served).await.unwrap();
    });
}

pub(super) fn serve_poem(listener: Listener, streams: Streams) {
    use poem::{
        EndpointExt as _, Route, Server, get, handler as poem_handler,
        listener::TcpAcceptor,
        web::{Data, Path},
    };

    #[poem_handler]
    async fn answer(Data(streams): Data<&Streams>, Path(key): Path<String>) -> Sse<Source> {
        streams.answer(&key)
    }

    serve(async {
        let app = Route::new().at("/streams/:key", get(answer)).data(streams);
        let acceptor = TcpAcceptor::from_tokio(listener.tokio()).unwrap();
        let served = Server::new_with_acceptor(acceptor).run(app);
        serving(served).await.unwrap();
    });
}

pub(super) fn serve_rocket(listener: Listener, streams: Streams) {
    use rocket::{State, config::Shutdown, get, routes};

    #[get("/<key>")]
    async fn answer(streams: &State<Streams>, key: &str) -> Sse<Source> {
        streams.answer(key)
    }

    serve(async {
        let config = rocket_config(Shutdown::default());
        let rocket = rocket::custom(config).attach(listener.rocket());
        let rocket = rocket.manage(streams).mount("/streams", routes![answer]);
        serving(rocket.launch()).await.unwrap();
    });
}

/// Serves with salvo, after `set` has configured the server.
fn serve_salvo_as(
    listener: Listener,
    streams: Streams,
    set: impl FnOnce(
        salvo::Server<salvo::conn::tcp::TcpAcceptor>,
    ) -> salvo::Server<salvo::conn::tcp::TcpAcceptor>,
) {
    use salvo::{
        Depot, Router, Server, Writer as _, affix_state, conn::tcp::TcpAcceptor,
        extract::PathParam, handler as salvo_handler,
    };

    #[salvo_handler]
    async fn answer(depot: &mut Depot, key: PathParam<String>) -> Sse<Source> {
        let streams = depot.get_typed::<Streams>().unwrap();
        streams.answer(&key.into_inner())
    }

    serve(async {
        let router = Router::with_path("streams/{key}")
            .hoop(affix_state::inject(streams))
            .get(answer);
        let server = Server::new(TcpAcceptor::try_from(listener.tokio()).unwrap());
        serving(set(server).serve(router)).await;
    });
}

pub(super) fn serve_salvo(listener: Listener, streams: Streams) {
    serve_salvo_as(listener, streams, |server| server);
}

pub(super) fn serve_salvo_with_its_write_stall_timeout(listener: Listener, streams: Streams) {
    let config = salvo::fuse::FuseConfig::default().with_write_stall_timeout(WRITE_TIMEOUT);
    serve_salvo_as(listener, streams, |server| server.fuse_config(config));
}

pub(super) fn serve_warp(listener: Listener, streams: Streams) {
    use warp::Filter as _;

    serve(async {
        let app = warp::path("streams")
            .and(warp::path::param::<String>())
            .map(move |key: String| streams.answer(&key));
        let served = warp::serve(app).incoming(listener.tokio()).run();
        serving(served).await;
    });
}
