//! The numbers of frames and writes for the events of a connection on hyper.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::response::{IntoResponse as _, sse};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http::Response;
use http_body::Body;
use http_sse::{Event, Sse};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf},
    sync::mpsc::unbounded_channel,
    task::JoinHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::deadline::{finished, within};

pin_project! {
    /// A stream that counts the writes. On a socket, each would be a system call.
    struct Counted {
        #[pin]
        stream: DuplexStream,
        writes: Arc<AtomicU64>,
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.project().stream.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let written = this.stream.poll_write(cx, bytes);
        this.writes.fetch_add(written.is_ready().into(), Relaxed);
        written
    }

    /// Takes all buffers, as does a socket that has room.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = buffers
            .iter()
            .flat_map(|bytes| bytes.iter().copied())
            .collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.project().stream.poll_shutdown(cx)
    }
}

/// Serves one response over HTTP/1.1 to a client, and counts the writes.
fn serve<B>(
    response: Response<B>,
) -> (
    DuplexStream,
    Arc<AtomicU64>,
    JoinHandle<Result<(), hyper::Error>>,
)
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let (mut client, stream) = tokio::io::duplex(64 << 20);
    let writes = Arc::new(AtomicU64::new(0));
    let server = TokioIo::new(Counted {
        stream,
        writes: writes.clone(),
    });
    let response = Mutex::new(Some(response));
    let service = service_fn(move |_| {
        let response = response.lock().unwrap().take().unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let served = tokio::spawn(http1::Builder::new().serve_connection(server, service));
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(request).now_or_never().unwrap().unwrap(); // there is room for it
    (client, writes, served)
}

#[tokio::test]
async fn ready_events_share_frames_and_writes() {
    const EVENTS: usize = 10_000;
    const TOKEN: &str = r#"{"choices":[{"index":0,"delta":{"content":" token"}}]}"#;

    let ours = || Sse::new(stream::repeat_with(|| Event::data(TOKEN)).take(EVENTS));
    let frames = ours().into_body().count().now_or_never().unwrap();
    let bytes = EVENTS * "data: \n\n".len() + EVENTS * TOKEN.len();
    println!(
        "{EVENTS} events of {} bytes: {frames} frames",
        bytes / EVENTS
    );
    assert_eq!(frames, 19);

    let (_client, writes_of_ours, served) = serve(ours().into_response());
    finished("the response to be written", served)
        .await
        .unwrap();
    let writes_of_ours = writes_of_ours.load(Relaxed);
    let source = stream::repeat_with(|| Ok::<_, Infallible>(sse::Event::default().data(TOKEN)));
    let axums = sse::Sse::new(source.take(EVENTS)).into_response();
    let (_client, writes_of_axums, served) = serve(axums);
    finished("the response to be written", served)
        .await
        .unwrap();
    let writes_of_axums = writes_of_axums.load(Relaxed);
    println!("{writes_of_ours} writes; with axum's Sse {writes_of_axums}");
    // hyper decides how many frames it writes at once. It takes as many as its buffer holds.
    assert!(writes_of_ours <= 2, "{writes_of_ours}");
    assert!(100 * writes_of_ours <= writes_of_axums);
}

#[tokio::test]
async fn a_single_event_is_one_write() {
    const EVENTS: u64 = 100;
    let (events, source) = unbounded_channel();
    let source = UnboundedReceiverStream::new(source);
    let (mut client, writes, served) = serve(Sse::new(source).into_response());
    let mut buffer = [0; 1024];
    let opening = within("the opening", client.read(&mut buffer)).await;
    assert_ne!(opening.unwrap(), 0);
    for _ in 0..EVENTS {
        events.send(Event::data("x")).unwrap();
        let event = within("the event", client.read(&mut buffer)).await;
        assert_ne!(event.unwrap(), 0);
    }
    // The first write contains the headers and the opening.
    assert_eq!(writes.load(Relaxed), EVENTS + 1);
    drop(events);
    finished("the response to be written", served)
        .await
        .unwrap();
    assert_eq!(writes.load(Relaxed), EVENTS + 2);
}
