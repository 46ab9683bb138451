//! A server on hyper that answers with this crate, by routes that a test sets.

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
    /// How many requests there were to this route before.
    pub(crate) nth: usize,
    pub(crate) last: LastEventId,
    pub(crate) body: Bytes,
}

/// A server in the test's own runtime. It ends when it is dropped, and fails the test if one of
/// its connections has panicked.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    routes: Routes,
    /// The task that serves, and what stops it. `None` while the server is away.
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

    /// Starts again, at the same address and with the same routes.
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

    /// Stops at once: connections break, new ones are refused.
    pub(crate) async fn crash(&mut self) {
        let (task, stop) = self.running.take().unwrap();
        drop(stop);
        task.finished("the server to stop").await;
    }

    /// Sets what is answered at `path`, and tells the URL.
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

    /// The last event IDs with which `path` was asked for.
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
        // For pages from another server.
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
        // waits for good: the server is told when to stop
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
            // As long as a test has. It fails when the client leaves, which is as it should be.
            _ = within_time(10 * PATIENCE, "a connection to end", served).await;
        });
    }
}

/// An answer with an event stream.
pub(crate) fn sse<S>(sse: Sse<S>) -> Answer
where
    S: Stream + Send + 'static,
    S::Item: Encode,
    <S::Item as Encode>::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    sse.into_response()
        .map(|body| body.map_err(Into::into).boxed_unsync())
}

/// An answer that is not made by this crate.
pub(crate) fn plain(status: StatusCode, content_type: &'static str, body: &'static str) -> Answer {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::from(body).map_err(Into::into).boxed_unsync())
        .unwrap()
}

/// A body that does not even begin.
pub(crate) fn silence() -> Body {
    StreamBody::new(stream::pending()).boxed_unsync()
}

/// A source of these events, silent behind them.
pub(crate) fn open_ended(events: impl IntoIterator<Item = Event>) -> Source {
    let events = events.into_iter().collect::<Vec<_>>();
    stream::iter(events).chain(stream::pending()).boxed()
}

/// A source that the test feeds.
pub(crate) fn channel() -> (UnboundedSender<Event>, Source) {
    let (sender, receiver) = unbounded_channel();
    (sender, UnboundedReceiverStream::new(receiver).boxed())
}

/// Waits for what the server's end of a stream sends to the test.
pub(crate) async fn reported<T>(what: &str, receiver: &mut UnboundedReceiver<T>) -> T {
    within(what, receiver.recv()).await.expect("it is sent")
}

/// How long nothing must happen to say that it does not.
pub(crate) const A_WHILE: Duration = Duration::from_millis(500);
