//! The servers. Each publishes a burst for each line of its standard input.

use std::{
    convert::Infallible,
    io::stdin,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use axum::{Router, extract::State};
use futures_util::{Stream, StreamExt as _, stream};
use http_sse::{Event, Hub, Sse, Subscription};
use http_sse_peers::{block_on, listen};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{broadcast, mpsc},
};

/// A server: its name, whether it supports HTTP/2, and the function that runs it.
pub(crate) type Serve = (&'static str, bool, fn());

pub(crate) const OURS: &str = "http-sse, a `Hub`";
pub(crate) const AXUM: &str = "axum";
pub(crate) const RAW: &str = "raw writes";

/// All but the first and the last use a `broadcast` channel.
pub(crate) const SERVERS: [Serve; 8] = [
    (OURS, true, serve_ours),
    (AXUM, true, serve_axum),
    ("actix-web with actix-web-lab", false, serve_actix_web),
    ("warp", false, serve_warp),
    ("poem", false, serve_poem),
    ("salvo", false, serve_salvo),
    ("rocket", false, serve_rocket),
    (RAW, false, serve_raw),
];

/// A chunk of an LLM's response. It contains `~` once, and clients count these.
const TOKEN: &str = r#"{"id":"c-1","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" ~oken"},"finish_reason":null}]}"#;

/// Returns the numbers from standard input, one per line.
fn orders() -> mpsc::UnboundedReceiver<usize> {
    let (orders, ordered) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in stdin().lines() {
            orders.send(line.unwrap().parse().unwrap()).unwrap();
        }
    });
    ordered
}

/// Publishes without end. Each line of the input is the number of events in a burst.
async fn publish(publish: impl Fn()) {
    let mut orders = orders();
    while let Some(events) = orders.recv().await {
        (0..events).for_each(|_| publish());
    }
}

fn serve_ours() {
    async fn events(State(hub): State<Hub>) -> Sse<Subscription> {
        Sse::new(hub.subscribe(["topic"]))
    }

    let hub = Hub::new();
    let app = Router::new().route("/events", axum::routing::get(events));
    let app = app.with_state(hub.clone());
    block_on(async {
        tokio::spawn(publish(move || {
            hub.publish("topic", Event::data(TOKEN)).unwrap();
        }));
        axum::serve(listen().await, app).await.unwrap();
    });
}

static BROADCAST: LazyLock<broadcast::Sender<Arc<str>>> =
    LazyLock::new(|| broadcast::channel(1024).0);

async fn broadcast() {
    publish(|| _ = BROADCAST.send(TOKEN.into()).unwrap()).await;
}

fn received() -> impl Stream<Item = Arc<str>> + Send {
    stream::unfold(BROADCAST.subscribe(), async |mut receiver| {
        Some((receiver.recv().await.ok()?, receiver))
    })
}

fn serve_axum() {
    use axum::response::sse;

    async fn events() -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
        let events = received().map(|data| Ok(sse::Event::default().data(data)));
        sse::Sse::new(events).keep_alive(sse::KeepAlive::default())
    }

    let app = Router::new().route("/events", axum::routing::get(events));
    block_on(async {
        tokio::spawn(broadcast());
        axum::serve(listen().await, app).await.unwrap();
    });
}

fn serve_actix_web() {
    use actix_web::{App, HttpServer, rt, web};
    use actix_web_lab::sse;
    rt::System::new().block_on(async {
        let app = || {
            let events = async || {
                let events = received().map(|data| {
                    let data = sse::Data::new(&*data);
                    Ok::<_, Infallible>(sse::Event::Data(data))
                });
                sse::Sse::from_stream(events).with_keep_alive(Duration::from_secs(15))
            };
            App::new().route("/events", web::get().to(events))
        };
        rt::spawn(broadcast());
        let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").unwrap();
        println!("{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

fn serve_warp() {
    use warp::{Filter as _, sse};
    block_on(async {
        let app = warp::any().map(|| {
            let events =
                received().map(|data| Ok::<_, Infallible>(sse::Event::default().data(&*data)));
            sse::reply(sse::keep_alive().stream(events))
        });
        tokio::spawn(broadcast());
        warp::serve(app).incoming(listen().await).run().await;
    });
}

fn serve_poem() {
    use poem::{Route, Server, get, handler, listener::TcpAcceptor, web::sse};

    #[handler]
    fn events() -> sse::SSE {
        let sse = sse::SSE::new(received().map(|data| sse::Event::message(&*data)));
        sse.keep_alive(Duration::from_secs(15))
    }
    block_on(async {
        tokio::spawn(broadcast());
        let acceptor = TcpAcceptor::from_tokio(listen().await).unwrap();
        let app = Route::new().at("/events", get(events));
        Server::new_with_acceptor(acceptor).run(app).await.unwrap();
    });
}

fn serve_salvo() {
    use salvo::{Response, Router, Server, conn::tcp::TcpAcceptor, handler, sse};

    #[handler]
    async fn events(response: &mut Response) {
        let tokens =
            received().map(|data| Ok::<_, Infallible>(sse::SseEvent::default().text(&*data)));
        sse::SseKeepAlive::new(tokens).stream(response);
    }
    block_on(async {
        tokio::spawn(broadcast());
        let acceptor = TcpAcceptor::try_from(listen().await).unwrap();
        let router = Router::with_path("events").get(events);
        Server::new(acceptor).serve(router).await;
    });
}

fn serve_rocket() {
    use rocket::{
        get,
        response::stream::{Event, EventStream},
        routes,
    };

    #[get("/events")]
    fn events() -> EventStream<impl Stream<Item = Event>> {
        EventStream::from(received().map(|data| Event::data(data.to_string())))
    }
    block_on(async {
        tokio::spawn(broadcast());
        let rocket = http_sse_peers::rocket().mount("/", routes![events]);
        _ = rocket.launch().await;
    });
}

/// Writes pre-encoded bytes to every socket, one write per burst.
fn serve_raw() {
    block_on(async {
        let listener = listen().await;
        let mut orders = orders();
        let mut clients = Vec::new();
        let event = format!("data: {TOKEN}\n\n");
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (mut client, _) = accepted.unwrap();
                    client.set_nodelay(true).unwrap();
                    assert_ne!(client.read(&mut [0; 1024]).await.unwrap(), 0);
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    clients.push(client);
                }
                Some(events) = orders.recv() => {
                    let wire = event.repeat(events);
                    let wire = format!("{:x}\r\n{wire}\r\n", wire.len());
                    for client in &mut clients {
                        client.write_all(wire.as_bytes()).await.unwrap();
                    }
                }
            }
        }
    });
}
