//! A server on hyper and this crate, with routes that a test sets.

use std::{
    collections::HashMap,
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use http_sse::{Encode, Event, LastEventId, Sse};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    task::JoinSet,
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::deadline::{Background, PATIENCE, within, within_time};

pub(crate) type Body = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;
pub(crate) type Answer = Response<Body>;
pub(crate) type Source = Pin<Box<dyn Stream<Item = Event> + Send>>;
type Respond = Arc<dyn Fn(Ask) -> Answer + Send + Sync>;

/// A request to a route.
pub(crate) struct Ask {
    /// The number of earlier requests to this route.
    pub(crate) nth: usize,
    pub(crate) last: LastEventId,
    pub(crate) body: Bytes,
}

/// A server in the test's own runtime. Dropping it stops the server, and propagates the panic of
/// a connection.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    routes: Routes,
    /// The server's task, and the sender whose drop stops it. `None` while the server is away.
    running: Option<(Background, oneshot::Sender<()>)>,
}

#[derive(Clone, Default)]
struct Routes(Arc<Mutex<HashMap<String, Route>>>);

struct Route {
    respond: Respond,
    /// The last event IDs of the requests so far.
    asked: Vec<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            routes: Routes::default(),
            running: None,
        };
        server.resume();
        server
    }

    /// Starts the server again, at the same address and with the same routes.
    pub(crate) fn resume(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(1024).unwrap();
        self.address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = Background::spawn(serve(listener, self.routes.clone(), stopped));
        self.running = Some((task, stop));
    }

    /// Stops the server at once. Connections break, and new ones are refused.
    pub(crate) async fn crash(&mut self) {
        let (task, stop) = self.running.take().unwrap();
        drop(stop);
        task.finished("the server to stop").await;
    }

    /// Sets the response at `path`. Returns its URL.
    pub(crate) fn route(
        &self,
        path: &str,
        respond: impl Fn(Ask) -> Answer + Send + Sync + 'static,
    ) -> String {
        let route = Route {
            respond: Arc::new(respond),
            asked: Vec::new(),
        };
        self.routes.0.lock().unwrap().insert(path.to_owned(), route);
        format!("http://{}{path}", self.address)
    }

    /// Returns the last event IDs of the requests to `path`.
    pub(crate) fn asked(&self, path: &str) -> Vec<String> {
        self.routes.0.lock().unwrap()[path].asked.clone()
    }
}

impl Routes {
    async fn answer(self, request: Request<Incoming>) -> Result<Answer, Infallible> {
        let last = LastEventId::from_request(&request);
        let path = request.uri().path().to_owned();
        let body = within("the body of a request", request.into_body().collect()).await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let (respond, nth) = {
            let mut routes = self.0.lock().unwrap();
            let Some(route) = routes.get_mut(&path) else {
                return Ok(plain(StatusCode::NOT_FOUND, "text/plain", ""));
            };
            let last = String::from_utf8_lossy(last.as_bytes());
            route.asked.push(last.into_owned());
            (route.respond.clone(), route.asked.len() - 1)
        };
        let mut answer = respond(Ask { nth, last, body });
        // Required by pages from another server.
        answer.headers_mut().insert(
            header::ACCESS_CONTROL_ALLOW_ORIGIN,
            HeaderValue::from_static("*"),
        );
        Ok(answer)
    }
}

async fn serve(listener: TcpListener, routes: Routes, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new(); // aborted when this task ends
    loop {
        // waits for good: dropping the sender of `stopped` ends the loop
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.unwrap().0,
            Some(ended) = connections.join_next() => {
                ended.expect("no connection panics");
                continue;
            }
            _ = &mut stopped => return,
        };
        stream.set_nodelay(true).unwrap();
        let routes = routes.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| routes.clone().answer(request));
            let http = auto::Builder::new(TokioExecutor::new());
            let served = http.serve_connection(TokioIo::new(stream), service);
            // As long as a test may take. It fails if the client leaves, which is not an error.
            _ = within_time(10 * PATIENCE, "a connection to end", served).await;
        });
    }
}

/// Returns a response with an event stream.
pub(crate) fn sse<S>(sse: Sse<S>) -> Answer
where
    S: Stream + Send + 'static,
    S::Item: Encode,
    <S::Item as Encode>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    sse.into_response()
        .map(|body| body.map_err(Into::into).boxed_unsync())
}

/// Returns a response that is not from this crate.
pub(crate) fn plain(status: StatusCode, content_type: &'static str, body: &'static str) -> Answer {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::from(body).map_err(Into::into).boxed_unsync())
        .unwrap()
}

/// Returns a body that never sends a byte.
pub(crate) fn silence() -> Body {
    StreamBody::new(stream::pending()).boxed_unsync()
}

/// Returns a source that yields these events and is then pending.
pub(crate) fn open_ended(events: impl IntoIterator<Item = Event>) -> Source {
    let events = events.into_iter().collect::<Vec<_>>();
    stream::iter(events).chain(stream::pending()).boxed()
}

/// Returns a source and the sender of its events.
pub(crate) fn channel() -> (UnboundedSender<Event>, Source) {
    let (sender, receiver) = unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver).boxed())
}

/// Waits for a value that the server's end of a stream sends to the test.
pub(crate) async fn reported<T>(what: &str, receiver: &mut UnboundedReceiver<T>) -> T {
    within(what, receiver.recv())
        .await
        .expect("a sender exists")
}

/// The time for which a test waits to show that nothing happens.
pub(crate) const A_WHILE: Duration = Duration::from_millis(500);
