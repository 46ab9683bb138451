//! A server of each framework, with the same handler, under the cases of `contract`.
//!
//! `cargo test -p http-sse-frameworks -- --nocapture servers::` prints how soon each server notices
//! that a client left.

use std::time::Duration;

use futures_util::{FutureExt as _, future::join};
use http_sse::{AdmitError, LastEventId, Sse, SseBody};
use tokio::sync::oneshot;

use crate::{
    contract::{Answers, Framework, Source},
    serving::{Listener, rocket_config, serve, serve_each, serving},
};

/// Defines a test for each framework.
macro_rules! frameworks {
    ($($name:ident: $framework:expr,)*) => {$(
        #[test]
        fn $name() {
            static FRAMEWORK: Framework = $framework;
            crate::contract::run(&FRAMEWORK);
        }
    )*};
}

frameworks! {
    hyper: Framework { serve: serve_hyper, ..Framework::named("hyper") },
    axum: Framework { serve: serve_axum, ..Framework::named("axum") },
    actix_web: Framework {
        serve: serve_actix_web,
        notices_silence_on_http2: false,
        stops_within: Duration::from_secs(2), // it checks once a second if it can stop
        chunks_on_http_1_0: true,
        ..Framework::named("actix-web")
    },
    poem: Framework { serve: serve_poem, notices_silence: false, ..Framework::named("poem") },
    rocket: Framework {
        serve: serve_rocket,
        adds: &["server", "permissions-policy", "x-content-type-options", "x-frame-options"],
        takes_listener: false,
        stops_within: Duration::from_secs(2), // it waits for idle connections
        notices_silence_on_http2: false,
        breaks_off: false,
        raw_headers: false,
        notices_silence: false,
        ..Framework::named("rocket")
    },
    salvo: Framework { serve: serve_salvo, ..Framework::named("salvo") },
    warp: Framework { serve: serve_warp, ..Framework::named("warp") },
}

/// The return type of every handler. An `AdmitError` is a response too.
type Answer = Result<Sse<Source>, AdmitError>;

/// The body of every handler. Only the types of the state and of the path differ between
/// frameworks. The adapters are interchangeable if the same source compiles in each.
macro_rules! answer {
    ($answers:ident, $key:ident, $last:ident) => {{
        let last: LastEventId = $last;
        let answered: Answer = $answers.answer(&$key, last);
        answered
    }};
}

fn serve_hyper(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use std::convert::Infallible;

    use hyper::{Request, Response, body::Incoming, service::service_fn};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::{conn::auto, graceful::GracefulShutdown},
    };

    async fn answer(answers: Answers, key: String, last: LastEventId) -> Answer {
        answer!(answers, key, last)
    }

    async fn respond(
        answers: Answers,
        request: Request<Incoming>,
    ) -> Result<Response<SseBody<Source>>, Infallible> {
        let last = LastEventId::from_request(&request);
        let key = request
            .uri()
            .path()
            .trim_start_matches("/answers/")
            .to_owned();
        let sse = answer(answers, key, last).await.unwrap_or_else(Sse::from);
        Ok(sse.for_method(request.method()).into_response())
    }

    serve(async {
        let graceful = GracefulShutdown::new();
        let connections = serve_each(listener.tokio(), stopped, |stream| {
            let answers = answers.clone();
            let service = service_fn(move |request| respond(answers.clone(), request));
            let http = auto::Builder::new(TokioExecutor::new());
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection.into_owned());
            serving(connection).map(drop) // a client may break it
        })
        .await;
        serving(graceful.shutdown()).await;
        serving(connections.join_all()).await;
    });
}

fn serve_axum(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use axum::{
        Router,
        extract::{Path, State},
        routing::get,
    };

    async fn answer(
        State(answers): State<Answers>,
        Path(key): Path<String>,
        last: LastEventId,
    ) -> Answer {
        answer!(answers, key, last)
    }

    serve(async {
        let app = Router::new()
            .route("/answers/{key}", get(answer))
            .with_state(answers);
        let stopped = stopped.map(drop);
        let served = axum::serve(listener.tokio(), app).with_graceful_shutdown(stopped);
        serving(served).await.unwrap();
    });
}

fn serve_actix_web(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use actix_web::{
        App, HttpServer, rt,
        web::{self, Data, Path},
    };

    async fn answer(answers: Data<Answers>, key: Path<String>, last: LastEventId) -> Answer {
        answer!(answers, key, last)
    }

    rt::System::new().block_on(async move {
        let app = move || {
            let answers = Data::new(answers.clone());
            App::new()
                .app_data(answers)
                .route("/answers/{key}", web::to(answer))
        };
        let server = HttpServer::new(app)
            .workers(2)
            .disable_signals()
            .shutdown_timeout(0) // it keeps idle connections open until this timeout
            .h1_allow_half_closed(false) // otherwise it does not notice a closed client
            .listen_auto_h2c(listener.std())
            .unwrap()
            .run();
        let handle = server.handle();
        let stopped = stopped.then(|_| handle.stop(true));
        serving(join(server, stopped)).await.0.unwrap();
    });
}

fn serve_poem(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use poem::{
        EndpointExt as _, Route, Server, get, handler as poem_handler,
        listener::TcpAcceptor,
        web::{Data, Path},
    };

    #[poem_handler]
    async fn answer(
        Data(answers): Data<&Answers>,
        Path(key): Path<String>,
        last: LastEventId,
    ) -> Answer {
        answer!(answers, key, last)
    }

    serve(async {
        let app = Route::new().at("/answers/:key", get(answer)).data(answers);
        let acceptor = TcpAcceptor::from_tokio(listener.tokio()).unwrap();
        let server = Server::new_with_acceptor(acceptor);
        let stopped = stopped.map(drop);
        let served = server.run_with_graceful_shutdown(app, stopped, None);
        serving(served).await.unwrap();
    });
}

fn serve_rocket(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use rocket::{State, config::Shutdown, get, routes};

    #[get("/<key>")]
    async fn answer(answers: &State<Answers>, key: String, last: LastEventId) -> Answer {
        answer!(answers, key, last)
    }

    serve(async {
        let shutdown = Shutdown {
            grace: 1, // it keeps idle connections open for this time
            mercy: 0,
            ..Shutdown::default()
        };
        let rocket = rocket::custom(rocket_config(shutdown))
            .attach(listener.rocket())
            .manage(answers)
            .mount("/answers", routes![answer]);
        let rocket = serving(rocket.ignite()).await.unwrap();
        let shutdown = rocket.shutdown();
        // In the same task. Otherwise rocket may find its socket closed before it is notified,
        // and fail.
        let stopped = stopped.map(|_| shutdown.notify());
        serving(join(rocket.launch(), stopped)).await.0.unwrap();
    });
}

fn serve_salvo(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use salvo::{
        Depot, Router, Server, Writer as _, affix_state, conn::tcp::TcpAcceptor,
        extract::PathParam, handler as salvo_handler,
    };

    #[salvo_handler]
    async fn answer(depot: &mut Depot, key: PathParam<String>, last: LastEventId) -> Answer {
        let (answers, key) = (depot.get_typed::<Answers>().unwrap(), key.into_inner());
        answer!(answers, key, last)
    }

    serve(async {
        let answers = affix_state::inject(answers);
        let router = Router::with_path("answers/{key}")
            .hoop(answers)
            .get(answer)
            .head(answer);
        let server = Server::new(TcpAcceptor::try_from(listener.tokio()).unwrap());
        let handle = server.handle();
        let stopped = stopped.map(|_| handle.stop_graceful(None));
        serving(join(server.serve(router), stopped)).await;
    });
}

fn serve_warp(listener: Listener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use warp::{Filter as _, http::Method};

    async fn answer(answers: Answers, key: String, last: LastEventId) -> Answer {
        answer!(answers, key, last)
    }

    serve(async {
        let app = warp::path("answers")
            .and(warp::any().map(move || answers.clone()))
            .and(warp::path::param::<String>())
            .and(LastEventId::filter())
            .and(warp::method())
            .then(async |answers, key, last, method: Method| {
                let answered = answer(answers, key, last).await;
                answered.map(|sse| sse.for_method(&method))
            });
        let server = warp::serve(app).incoming(listener.tokio());
        serving(server.graceful(stopped.map(drop)).run()).await;
    });
}
