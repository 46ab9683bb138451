//! Measures ten thousand connections that are idle except for keep-alives.
//!
//! The results are the memory of the server's process per connection, and its CPU time per
//! keep-alive.
//!
//! `cargo bench -p http-sse-peers --bench idle` starts each server as a process of its own, one
//! after another. The server runs on a core of its own. It takes about three minutes.

use std::{
    convert::Infallible,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use futures_util::stream::{self, Pending};
use http_sse::{Event, KeepAlive, Sse};
use http_sse_peers::{Process, block_on, listen, was_server};

const CONNECTIONS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(2);
/// The number of keep-alives per connection during the measurement.
const KEEP_ALIVES: u32 = 5;

/// A server: its name, and the function that runs it.
type Server = (&'static str, fn());

const SERVERS: [Server; 8] = [
    ("http-sse on hyper", serve_hyper),
    ("http-sse on axum::serve", || {
        serve_axum(axum::routing::get(async || ours()));
    }),
    ("axum", || {
        use axum::response::sse;
        serve_axum(axum::routing::get(async || {
            let events = stream::pending::<Result<sse::Event, Infallible>>();
            sse::Sse::new(events).keep_alive(sse::KeepAlive::new().interval(INTERVAL))
        }));
    }),
    ("actix-web with actix-web-lab", serve_actix_web),
    ("warp", || {
        use warp::{Filter as _, sse};
        block_on(async {
            let app = warp::any().map(|| {
                let events = stream::pending::<Result<sse::Event, Infallible>>();
                sse::reply(sse::keep_alive().interval(INTERVAL).stream(events))
            });
            warp::serve(app).incoming(listen().await).run().await;
        });
    }),
    ("poem", serve_poem),
    ("salvo", serve_salvo),
    ("rocket", serve_rocket),
];

fn ours() -> Sse<Pending<Event>> {
    Sse::new(stream::pending()).keep_alive(KeepAlive::new().interval(INTERVAL))
}

fn serve_hyper() {
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    block_on(async {
        let listener = listen().await;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(async |_| Ok::<_, Infallible>(ours().into_response()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}

fn serve_axum(events: axum::routing::MethodRouter) {
    block_on(async {
        let app = axum::Router::new().route("/", events);
        axum::serve(listen().await, app).await.unwrap();
    });
}

fn serve_actix_web() {
    use actix_web::{App, HttpServer, rt, web};
    use actix_web_lab::sse;
    rt::System::new().block_on(async {
        let app = || {
            let events = async || {
                let events = stream::pending::<Result<sse::Event, Infallible>>();
                sse::Sse::from_stream(events).with_keep_alive(INTERVAL)
            };
            App::new().route("/", web::get().to(events))
        };
        let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").unwrap();
        println!("{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

fn serve_poem() {
    use poem::{Route, Server, get, handler, listener::TcpAcceptor, web::sse};

    #[handler]
    fn events() -> sse::SSE {
        sse::SSE::new(stream::pending::<sse::Event>()).keep_alive(INTERVAL)
    }
    block_on(async {
        let app = Route::new().at("/", get(events));
        let acceptor = TcpAcceptor::from_tokio(listen().await).unwrap();
        Server::new_with_acceptor(acceptor).run(app).await.unwrap();
    });
}

fn serve_salvo() {
    use salvo::{Response, Router, Server, conn::tcp::TcpAcceptor, handler, sse};

    #[handler]
    async fn events(response: &mut Response) {
        let idle = stream::pending::<Result<sse::SseEvent, Infallible>>();
        let idle = sse::SseKeepAlive::new(idle).max_interval(INTERVAL);
        idle.stream(response);
    }
    block_on(async {
        let acceptor = TcpAcceptor::try_from(listen().await).unwrap();
        Server::new(acceptor).serve(Router::new().get(events)).await;
    });
}

fn serve_rocket() {
    use rocket::{
        get,
        response::stream::{Event, EventStream},
        routes,
    };

    #[get("/")]
    fn events() -> EventStream<stream::Pending<Event>> {
        EventStream::from(stream::pending()).heartbeat(INTERVAL)
    }
    block_on(async {
        let rocket = http_sse_peers::rocket().mount("/", routes![events]);
        _ = rocket.launch().await;
    });
}

/// Opens a connection and reads the head of its response.
fn connect(server: &Process) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    stream.set_read_timeout(Some(2 * INTERVAL)).unwrap();
    let mut head = [0; 1024];
    let read = stream.read(&mut head).unwrap();
    assert!(head[..read].starts_with(b"HTTP/1.1 200"));
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Reads everything that has arrived, and returns the number of bytes.
fn read(mut stream: &TcpStream) -> usize {
    let (mut buffer, mut bytes) = ([0; 1024], 0);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("the response has ended"),
            Ok(read) => bytes += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return bytes,
            Err(error) => panic!("{error}"),
        }
    }
}

fn main() {
    if was_server(SERVERS) {
        return;
    }
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    println!("| | bytes of memory per connection | ns of server CPU per keep-alive |");
    println!("|---|---:|---:|");
    for (name, _) in SERVERS {
        let server = Process::start(["serve", name]);
        // The first connections pay for allocations that are made once per process.
        let first: Vec<_> = (0..100).map(|_| connect(&server)).collect();
        let before = server.memory();
        let streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(&server)).collect();
        let memory = server.memory() - before;
        thread::sleep(INTERVAL);
        let cpu = server.cpu();
        streams.iter().for_each(|stream| _ = read(stream));
        thread::sleep(INTERVAL * KEEP_ALIVES);
        let cpu = server.cpu() - cpu;
        for stream in streams.iter().chain(&first) {
            assert!(read(stream) > 0, "no keep-alive arrived");
        }
        let keep_alives = (CONNECTIONS + first.len()) as u64 * u64::from(KEEP_ALIVES);
        println!(
            "| {name} | {} | {} |",
            memory / CONNECTIONS as u64,
            cpu / keep_alives
        );
    }
}
