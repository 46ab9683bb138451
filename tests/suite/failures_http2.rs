//! Events before an error on HTTP/2, which arrive however long the socket stalls.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use http_sse::{Event, Sse};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex},
    time::sleep,
};

use crate::deadline::{Background, within};

const EVENTS: usize = 20;

/// The client's end of a connection, which reads nothing while its gate is shut.
struct Gated {
    io: DuplexStream,
    gate: Arc<Mutex<Gate>>,
}

#[derive(Default)]
struct Gate {
    is_shut: bool,
    reader: Option<Waker>,
}

fn shut(gate: &Mutex<Gate>) {
    gate.lock().unwrap().is_shut = true;
}

fn open(gate: &Mutex<Gate>) {
    let mut gate = gate.lock().unwrap();
    gate.is_shut = false;
    if let Some(reader) = gate.reader.take() {
        reader.wake();
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gate = self.gate.lock().unwrap();
        if gate.is_shut {
            gate.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(gate);
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Returns the bytes that arrive of a response that fails after [`EVENTS`] events. The flag is
/// true if the response broke off.
///
/// The client sends the request, reads nothing for the time of `stall`, and then reads the rest.
async fn arrives(
    length: usize,
    keep_alive: bool,
    panics: bool,
    stall: Duration,
) -> (Vec<u8>, bool) {
    let gate = Arc::<Mutex<Gate>>::default();
    let (client, server) = duplex(1_000);
    let client = Gated {
        io: client,
        gate: gate.clone(),
    };
    let service = service_fn(move |_| async move {
        let mut sent = 0;
        let source = stream::poll_fn(move |_| {
            sent += 1;
            Poll::Ready(Some(match sent {
                ..=EVENTS => Ok(Event::data("x".repeat(length))),
                _ if panics => std::panic::resume_unwind(Box::new("the source panics")),
                _ => Err(io::Error::other("gone")),
            }))
        });
        let mut sse = Sse::new(source);
        if !keep_alive {
            sse = sse.keep_alive(None);
        }
        Ok::<Response<_>, Infallible>(sse.into_response())
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let served = http.serve_connection(TokioIo::new(server), service);
    let _served = Background::spawn(async move { _ = served.await }); // waits for good: aborted
    let connected =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client));
    let (mut sender, connection) = within("a handshake", connected).await.unwrap();
    let _connection = Background::spawn(async move { _ = connection.await }); // waits for good: aborted
    let request = Request::get("http://x/")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = tokio::spawn(sender.send_request(request));
    tokio::task::yield_now().await; // sends the request
    shut(&gate);
    sleep(stall).await;
    open(&gate);

    let mut all = Vec::new();
    let Ok(response) = within("the response", response).await.unwrap() else {
        return (all, true);
    };
    let mut body = response.into_body();
    loop {
        match within("a frame", body.frame()).await {
            Some(Ok(frame)) => all.extend_from_slice(frame.data_ref().unwrap()),
            end => return (all, end.is_some()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_before_a_failure_arrives_on_http2() {
    for panics in [false, true] {
        for keep_alive in [true, false] {
            for length in [10, 200, 300, 3_000] {
                for stall in [0, 5, 11, 100, 5_000] {
                    let what = format!("{length} bytes, {keep_alive}, {panics}, {stall} ms");
                    let stall = Duration::from_millis(stall);
                    let (all, broke_off) = arrives(length, keep_alive, panics, stall).await;
                    let event = format!("data: {}\n\n", "x".repeat(length));
                    assert!(
                        all == format!(":\n{}", event.repeat(EVENTS)).as_bytes(),
                        "{what}"
                    );
                    assert!(broke_off, "{what}");
                }
            }
        }
    }
}
