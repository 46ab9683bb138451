//! The memory of an idle connection, beyond that of hyper.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use http::Response;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_sse::{Event, Permit, Sse};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Builder,
    time::{Sleep, sleep},
};

use crate::deadline::within;

const CONNECTIONS: usize = 1_000;

/// A body that sends a line and then nothing.
struct Line(Option<Bytes>);

impl Body for Line {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None => Poll::Pending,
        }
    }
}

/// Returns the bytes of heap that each of many idle connections holds on the server's side.
fn heap_per_connection<B>(respond: impl Fn() -> Response<B> + Copy + 'static) -> f64
where
    B: Body<Data = Bytes> + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let tasks = tokio::task::LocalSet::new();
    let mut clients = Vec::with_capacity(CONNECTIONS);
    let mut open = |count: usize| {
        tasks.block_on(&runtime, async {
            for _ in 0..count {
                let (mut client, server) = tokio::io::duplex(1024);
                let service =
                    service_fn(move |_| std::future::ready(Ok::<_, Infallible>(respond())));
                let http = http1::Builder::new();
                tokio::task::spawn_local(http.serve_connection(TokioIo::new(server), service));
                let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
                client.write_all(request).now_or_never().unwrap().unwrap(); // there is room for it
                let mut answer = [0; 1024];
                let answer = within("the answer", client.read(&mut answer)).await;
                assert_ne!(answer.unwrap(), 0);
                clients.push(client);
            }
            // The heap is measured after some keep-alives.
            for _ in 0..5 {
                sleep(Duration::from_secs(16)).await;
                for client in &mut clients[..] {
                    while let Some(read) = client.read(&mut [0; 1024]).now_or_never() {
                        assert_ne!(read.unwrap(), 0);
                    }
                }
            }
        });
    };
    open(1); // includes what all connections share
    let grown = measure(|| open(CONNECTIONS - 1)).bytes_current;
    drop(clients);
    grown as f64 / (CONNECTIONS - 1) as f64
}

/// Returns the bytes that a response holds beyond one with the same headers and a minimal body.
/// hyper keeps the headers. Both bodies are boxed, as by routers.
fn own<B>(what: &str, respond: impl Fn() -> Response<B> + Copy + 'static) -> f64
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let line = || Line(Some(Bytes::from_static(b":\n"))).boxed_unsync();
    let hyper = heap_per_connection(move || respond().map(|_| line()));
    let with = heap_per_connection(move || respond().map(BodyExt::boxed_unsync));
    let own = with - hyper;
    println!("{what}: {own:.0} bytes beyond hyper's {hyper:.0}");
    own
}

#[test]
fn an_idle_connection_holds_little_more_than_hyper() {
    let ours = own("http-sse", || {
        Sse::new(stream::pending::<Event>()).into_response()
    });
    // The span of the feature `tracing`, without which a permit is 24 bytes.
    let span = size_of::<Permit>() as f64 - 24.0;
    println!("{span} bytes of those are the feature `tracing`");
    let timer = size_of::<Sleep>() as f64;
    println!("{timer} bytes of those are tokio's timer");
    assert!(ours - span - timer <= 264.0 - 112.0, "{ours} bytes");
}
