//! An `Sse` response of an AWS Lambda function that uses `lambda_http`.
//!
//! The test serves the runtime API that the function talks to. It runs the function in a separate
//! process, because the function reads the address of the API from its environment.

use std::{env, future::pending, process::Command, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::State,
    routing::{get, post},
};
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use http_sse::{Event, KeepAlive, LastEventId, Sse, SseBody};
use lambda_http::{Error, Request, run_with_streaming_response, service_fn};
use tokio::sync::{
    Semaphore,
    mpsc::{UnboundedSender, unbounded_channel},
};

use crate::{
    contract::Source,
    deadline::{Background, within},
    process::Process,
    serving::{Listener, runtime, serving},
};

/// The remaining requests, one permit each.
type Requests = Arc<Semaphore>;

/// The environment variable with the address of the runtime API.
const ADDRESS: &str = "AWS_LAMBDA_RUNTIME_API";

/// Other environment variables that the runtime requires. Their values do not matter.
const VARIABLES: [&str; 4] = [
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
];

const REQUEST: &str = r#"{
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/",
    "rawQueryString": "",
    "headers": { "last-event-id": "7" },
    "requestContext": {
        "accountId": "1",
        "apiId": "a",
        "http": {
            "method": "GET",
            "path": "/",
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": "a"
        },
        "requestId": "r",
        "stage": "$default",
        "timeEpoch": 1
    },
    "isBase64Encoded": false
}"#;

#[test]
fn lambda_http_streams_events_and_keep_alives() {
    if env::var_os(ADDRESS).is_some() {
        runtime(1)
            .block_on(serving(run_with_streaming_response(service_fn(function))))
            .unwrap();
        return;
    }
    runtime(1).block_on(async {
        let (responses, mut received) = unbounded_channel();
        let (listener, address) = Listener::open(|_| {});
        let _api = Background::spawn(serve(listener, responses));
        let name = "lambda::lambda_http_streams_events_and_keep_alives";
        let mut function = Command::new(env::current_exe().unwrap());
        function
            .args([name, "--exact"])
            .env(ADDRESS, address.get().to_string());
        function.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
        let _function = Process::start(function.envs(VARIABLES.map(|name| (name, "1"))));

        let response = within("the function's response", received.recv()).await;
        let mut body = response.expect("the API serves");
        let mut got = BytesMut::new();
        // The body never ends, so only a streamed response delivers these bytes.
        while !got.ends_with(b"data: after 7\n\n:\n:\n") {
            let frame = within(format!("more than {got:?}"), body.frame()).await;
            got.extend_from_slice(frame.unwrap().unwrap().data_ref().unwrap());
        }
        let end = got.windows(8).position(|bytes| bytes == [0; 8]).unwrap();
        let prelude: serde_json::Value = serde_json::from_slice(&got[..end]).unwrap();
        assert_eq!(prelude["statusCode"], 200);
        assert_eq!(prelude["headers"]["content-type"], "text/event-stream");
        assert_eq!(&got[end + 8..], b":\ndata: after 7\n\n:\n:\n");
    });
}

async fn function(request: Request) -> Result<http::Response<SseBody<Source>>, Error> {
    let last = LastEventId::from_request(&request);
    let last = last.as_str().unwrap_or("nothing").to_owned();
    let event = Ok(Event::data(format!("after {last}")));
    let source: Source = stream::iter([event]).chain(stream::pending()).boxed();
    let keep_alive = KeepAlive::new().interval(Duration::from_millis(20));
    Ok(Sse::new(source).keep_alive(keep_alive).into_response())
}

/// Serves the runtime API: returns one request, and sends the body of its response to the test.
async fn serve(listener: Listener, responses: UnboundedSender<Body>) {
    let next = async |State(requests): State<Requests>| {
        serving(requests.acquire()).await.unwrap().forget();
        let headers = [
            ("lambda-runtime-aws-request-id", "r"),
            ("lambda-runtime-deadline-ms", "99999999999999"),
            (
                "lambda-runtime-invoked-function-arn",
                "arn:aws:lambda:a:1:function:a",
            ),
        ];
        (headers, REQUEST)
    };
    let respond = async move |body: Body| {
        responses.send(body).unwrap();
        serving(pending::<()>()).await;
    };
    let api = Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/r/response", post(respond))
        .with_state(Requests::new(Semaphore::new(1)));
    serving(axum::serve(listener.tokio(), api)).await.unwrap();
}
