//! Measures the CPU time that a server's process spends per event on one busy connection.
//!
//! One client reads over loopback from a stream that is always ready.
//!
//! `cargo bench -p http-sse-peers --bench connection` starts each server as a process of its own.
//! The server runs on one core, and the client on the other. The servers are measured in turns.
//! The output is the medians of the CPU time that the kernel counts.

use std::{
    convert::Infallible,
    env,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use http_sse::Sse;
use http_sse_peers::{
    ActixWebLab, Axum, FRAME, HttpSse, Payload, Peer as _, Poem, Process, Rocket, Salvo, SseStream,
    Warp, block_on, ceiling_label, floor_label, listen,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ROUNDS: usize = 7;

/// The floors of http-sse on `axum::serve`: times less than axum, and times less than actix-web.
const TICK_FLOORS: (f64, f64) = (30.0, 8.0);
const TOKEN_FLOORS: (f64, f64) = (7.0, 2.0);
/// The ceiling of http-sse on hyper, relative to raw writes.
const RAW_CEILING: f64 = 1.3;

/// A server: its name, the number of events in its response, and the function that runs it.
type Server = (&'static str, u64, fn(Payload));

const ACTIX_WEB: &str = "actix-web with actix-web-lab";
const ON_AXUM: &str = "http-sse on axum::serve";
const ON_HYPER: &str = "http-sse on hyper";
const RAW: &str = "raw writes of a pre-encoded response";
const RAW_FRAME: &str = "raw writes of one repeated frame";

const SERVERS: [Server; 11] = [
    (ON_AXUM, 1_000_000, |payload| {
        serve_axum(axum::routing::get(async move || {
            Sse::new(HttpSse::events(payload))
        }));
    }),
    (ON_HYPER, 1_000_000, serve_hyper),
    (RAW, 1_000_000, |payload| {
        let wire = payload.wire();
        serve_raw(wire.repeat(payload.events as usize).into_bytes(), 1);
    }),
    (RAW_FRAME, 1_000_000, |payload| {
        let wire = payload.wire();
        let events = FRAME / wire.len();
        let frame = wire.repeat(events).into_bytes();
        serve_raw(frame, (payload.events as usize).div_ceil(events));
    }),
    ("axum", 200_000, |payload| {
        use axum::response::sse;
        serve_axum(axum::routing::get(async move || {
            sse::Sse::new(Axum::events(payload)).keep_alive(sse::KeepAlive::default())
        }));
    }),
    ("sse-stream on axum::serve", 200_000, |payload| {
        serve_axum(axum::routing::get(async move || {
            let body = sse_stream::SseBody::new(SseStream::events(payload));
            axum::response::Response::new(axum::body::Body::new(body))
        }));
    }),
    (ACTIX_WEB, 200_000, serve_actix_web),
    ("warp", 200_000, |payload| {
        use warp::{Filter as _, sse};
        block_on(async {
            let app = warp::any()
                .map(move || sse::reply(sse::keep_alive().stream(Warp::events(payload))));
            warp::serve(app).incoming(listen().await).run().await;
        });
    }),
    ("poem", 200_000, serve_poem),
    ("salvo", 100_000, serve_salvo),
    ("rocket", 20_000, serve_rocket),
];

fn serve_axum(events: axum::routing::MethodRouter) {
    block_on(async {
        let app = axum::Router::new().route("/", events);
        axum::serve(listen().await, app).await.unwrap();
    });
}

fn serve_hyper(payload: Payload) {
    use hyper::{server::conn::http1, service::service_fn};
    use hyper_util::rt::TokioIo;
    block_on(async {
        let listener = listen().await;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(async |_| {
                Ok::<_, Infallible>(Sse::new(HttpSse::events(payload)).into_response())
            });
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            connection.await.unwrap();
        }
    });
}

/// Writes the bytes `times` times, a frame at a time.
fn serve_raw(bytes: Vec<u8>, times: usize) {
    block_on(async {
        let listener = listen().await;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            _ = stream.read(&mut [0; 1024]).await.unwrap();
            let head = b"HTTP/1.1 200 OK\r\n\r\n:\n";
            stream.write_all(head).await.unwrap();
            for _ in 0..times {
                for frame in bytes.chunks(FRAME) {
                    stream.write_all(frame).await.unwrap();
                }
            }
        }
    });
}

fn serve_actix_web(payload: Payload) {
    use actix_web::{App, HttpServer, rt, web};
    use actix_web_lab::sse;
    rt::System::new().block_on(async move {
        let app = move || {
            let events = move || async move { sse::Sse::from_stream(ActixWebLab::events(payload)) };
            App::new().route("/", web::get().to(events))
        };
        let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0").unwrap();
        println!("{}", server.addrs()[0]);
        server.run().await.unwrap();
    });
}

fn serve_poem(payload: Payload) {
    use poem::{
        EndpointExt as _, Route, Server, get, handler,
        listener::TcpAcceptor,
        web::{Data, sse},
    };

    #[handler]
    fn events(Data(payload): Data<&Payload>) -> sse::SSE {
        sse::SSE::new(Poem::events(*payload))
    }
    block_on(async {
        let app = Route::new().at("/", get(events)).data(payload);
        let acceptor = TcpAcceptor::from_tokio(listen().await).unwrap();
        Server::new_with_acceptor(acceptor).run(app).await.unwrap();
    });
}

fn serve_salvo(payload: Payload) {
    use salvo::{
        Depot, Response, Router, Server, affix_state, conn::tcp::TcpAcceptor, handler, sse,
    };

    #[handler]
    async fn events(depot: &mut Depot, response: &mut Response) {
        let payload = *depot.get_typed::<Payload>().unwrap();
        sse::SseKeepAlive::new(Salvo::events(payload)).stream(response);
    }
    block_on(async {
        let router = Router::new().hoop(affix_state::inject(payload)).get(events);
        let acceptor = TcpAcceptor::try_from(listen().await).unwrap();
        Server::new(acceptor).serve(router).await;
    });
}

fn serve_rocket(payload: Payload) {
    use rocket::{
        State, get,
        response::stream::{Event, EventStream},
        routes,
    };

    #[get("/")]
    fn events(
        payload: &State<Payload>,
    ) -> EventStream<impl futures_util::Stream<Item = Event> + use<>> {
        EventStream::from(Rocket::events(**payload))
    }
    block_on(async {
        let rocket = http_sse_peers::rocket().manage(payload);
        _ = rocket.mount("/", routes![events]).launch().await;
    });
}

/// Reads one response and returns the server's CPU time per event, in nanoseconds.
fn run(server: &Process, wire: u64, events: u64) -> f64 {
    let before = server.cpu();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let request = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => bytes += read as u64,
        }
    }
    assert!(bytes >= wire * events, "the response is incomplete");
    (server.cpu() - before) as f64 / events as f64
}

fn payload(name: &str) -> Payload {
    match name {
        "tick" => Payload::tick(),
        _ => Payload::token(),
    }
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, serve, name, of] = &arguments[..] {
        assert_eq!(serve, "serve");
        let (_, events, run) = SERVERS.iter().find(|server| server.0 == name).unwrap();
        return run(payload(of).with(*events));
    }
    let columns = ["tick", "token"].map(|of| {
        // Some peers omit the space after the colon.
        let wire = payload(of).wire().len() as u64 - 1;
        let processes = SERVERS.map(|(name, ..)| Process::start(["serve", name, of]));
        let mut costs = SERVERS.map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for ((process, (_, events, _)), costs) in processes.iter().zip(SERVERS).zip(&mut costs)
            {
                costs.push(run(process, wire, events));
            }
        }
        costs.map(|mut costs| {
            costs.sort_by(f64::total_cmp);
            costs[ROUNDS / 2]
        })
    });
    println!("| ns of server CPU per event | tick | token |");
    println!("|---|---:|---:|");
    for (row, (name, ..)) in SERVERS.iter().enumerate() {
        let [tick, token] = columns.map(|column| column[row]);
        println!("| {name} | {tick:.1} | {token:.1} |");
    }
    let row = |name| SERVERS.iter().position(|server| server.0 == name).unwrap();
    for (of, column, (than_axum, than_actix)) in [
        ("tick", columns[0], TICK_FLOORS),
        ("token", columns[1], TOKEN_FLOORS),
    ] {
        let nanos = |name| column[row(name)];
        for (peer, floor) in [(Axum::NAME, than_axum), (ACTIX_WEB, than_actix)] {
            let ratio = nanos(peer) / nanos(ON_AXUM);
            let label = floor_label(ratio, floor);
            println!("connection/{of}: {ratio:.1}x less than {peer}{label}");
        }
        for raw in [RAW, RAW_FRAME] {
            let ratio = nanos(ON_HYPER) / nanos(raw);
            let label = ceiling_label(ratio, RAW_CEILING);
            println!("connection/{of}: on hyper {ratio:.2} of {raw}{label}");
        }
    }
}
