//! Every framework under one contract: the cases are in `support/contract.rs`, and here is how
//! each framework's server is started with the one handler.
//!
//! `cargo test --test contract -- --nocapture` prints how soon each notices a client that left.
#![allow(clippy::unwrap_used)]

#[path = "support/contract.rs"]
mod contract;
#[path = "support/raw_client.rs"]
mod raw_client;

use std::net::TcpListener;

use contract::{Answers, Framework, Source, block_on};
use http_sse::{LastEventId, Sse};
use tokio::sync::oneshot;

/// A test for each framework.
macro_rules! frameworks {
    ($($name:ident: $framework:expr,)*) => {$(
        #[test]
        fn $name() {
            static FRAMEWORK: Framework = $framework;
            contract::run(&FRAMEWORK);
        }
    )*};
}

frameworks! {
    hyper: Framework {
        name: "hyper",
        serve: serve_hyper,
        http2: true,
        notices_silence: true,
        adds: &[],
    },
    axum: Framework {
        name: "axum",
        serve: serve_axum,
        http2: true,
        notices_silence: true,
        adds: &[],
    },
}

fn serve_hyper(listener: TcpListener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use std::convert::Infallible;

    use hyper::{Request, body::Incoming, service::service_fn};
    use hyper_util::{
        rt::{TokioExecutor, TokioIo},
        server::conn::auto,
    };

    block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let serve = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answers = answers.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let key = request.uri().path().rsplit('/').next().unwrap();
                    let sse = answers.answer(key, LastEventId::from_request(&request));
                    let response = sse.for_method(request.method()).into_response();
                    async { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(async {
                    let http = auto::Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        };
        tokio::select! {
            () = serve => {}
            _ = stopped => {}
        }
    });
}

fn serve_axum(listener: TcpListener, answers: Answers, stopped: oneshot::Receiver<()>) {
    use axum::{
        Router,
        extract::{Path, State},
        routing::get,
    };

    async fn answer(
        State(answers): State<Answers>,
        Path(key): Path<String>,
        last: LastEventId,
    ) -> Sse<Source> {
        answers.answer(&key, last)
    }

    block_on(async {
        let app = Router::new()
            .route("/answers/{key}", get(answer))
            .with_state(answers);
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::select! {
            served = axum::serve(listener, app).into_future() => served.unwrap(),
            _ = stopped => {}
        }
    });
}
