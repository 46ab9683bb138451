//! A client that stops reading is reported and disconnected, and other clients are not affected.
//!
//! `cargo test -p http-sse-frameworks -- --nocapture stalled::` prints the times that
//! `src/guide/frameworks.md` states.
#![cfg(target_os = "linux")] // reads the kernel's socket table, and most recipes are for Linux

mod clients;
mod http2;
mod others;
mod servers;
mod streams;

use std::time::{Duration, Instant};

use http_sse::CloseReason;
use socket2::Socket;
use tokio::{net::TcpSocket, time::sleep};

use self::{
    clients::{comes, has_socket, request, stall, stalls, start, stream_from, stream_to},
    servers::{
        serve_actix_web, serve_axum, serve_hyper, serve_hyper_with_a_timeout_stream, serve_poem,
        serve_rocket, serve_salvo, serve_salvo_with_its_write_stall_timeout, serve_warp,
    },
    streams::{PAUSING, Streams},
};
use crate::{
    deadline::{Background, finished},
    raw_client::RawClient,
    serving::{Listener, runtime},
    undisturbed::Undisturbed,
};

/// The longest time that a client may read nothing while bytes wait for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

/// The tolerance for the time at which the socket is closed.
const SLACK: Duration = Duration::from_secs(1);

/// The time without a poll after which a stream counts as stalled rather than busy.
const STALL: Duration = Duration::from_millis(200);

/// A way to disconnect stalled clients.
struct Recipe {
    name: &'static str,
    /// Serves the listener for ever.
    serve: fn(Listener, Streams),
    /// Sets options of the listening socket. Accepted sockets inherit them.
    set: fn(&Socket),
    /// True if the stream is closed. If false, the test asserts that it stays open, so it fails as
    /// soon as the framework improves.
    closes: bool,
    /// True if the kernel has freed the socket and its unsent bytes by then.
    frees_socket: bool,
}

impl Recipe {
    /// Returns a recipe without restrictions.
    const fn named(name: &'static str) -> Self {
        Self {
            name,
            serve: |_, _| {},
            set: user_timeout,
            closes: true,
            frees_socket: true,
        }
    }
}

fn user_timeout(socket: &Socket) {
    socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT)).unwrap();
}

/// Sets a small send buffer, so that slow clients do not time out.
///
/// A socket becomes writable when a third of the buffer is free. Linux lets the buffer grow to
/// 4 MB. A slow client might not read a third of that in time.
fn small_buffer(socket: &Socket) {
    socket.set_send_buffer_size(64 * 1024).unwrap();
}

/// Defines a test for each recipe.
macro_rules! recipes {
    ($($name:ident: $recipe:expr,)*) => {$(
        #[test]
        fn $name() {
            runtime(1).block_on(only_a_client_that_stops_reading_is_closed($recipe));
        }
    )*};
}

recipes! {
    hyper: Recipe { serve: serve_hyper, ..Recipe::named("hyper, TCP_USER_TIMEOUT") },
    hyper_with_a_timeout_stream: Recipe {
        serve: serve_hyper_with_a_timeout_stream,
        set: small_buffer,
        frees_socket: false,
        ..Recipe::named("hyper, TimeoutStream")
    },
    hyper_with_both: Recipe {
        serve: serve_hyper_with_a_timeout_stream,
        set: |socket| {
            small_buffer(socket);
            user_timeout(socket);
        },
        ..Recipe::named("hyper, TimeoutStream and TCP_USER_TIMEOUT")
    },
    axum: Recipe { serve: serve_axum, ..Recipe::named("axum, TCP_USER_TIMEOUT") },
    actix_web: Recipe { serve: serve_actix_web, ..Recipe::named("actix-web, TCP_USER_TIMEOUT") },
    poem: Recipe { serve: serve_poem, ..Recipe::named("poem, TCP_USER_TIMEOUT") },
    rocket: Recipe {
        serve: serve_rocket,
        closes: false, // it binds its own socket, and has no such setting
        ..Recipe::named("rocket")
    },
    salvo: Recipe { serve: serve_salvo, ..Recipe::named("salvo, TCP_USER_TIMEOUT") },
    salvo_with_its_write_stall_timeout: Recipe {
        serve: serve_salvo_with_its_write_stall_timeout,
        set: small_buffer,
        frees_socket: false,
        ..Recipe::named("salvo, write_stall_timeout")
    },
    warp: Recipe { serve: serve_warp, ..Recipe::named("warp, TCP_USER_TIMEOUT") },
}

async fn only_a_client_that_stops_reading_is_closed(recipe: Recipe) {
    let (_server, address, streams) = start(recipe.serve, recipe.set);
    let connections = &streams.connections;

    let get = async |key| {
        let stream = stream_from(TcpSocket::new_v4().unwrap(), address).await;
        RawClient::over(stream, request(key)).await
    };
    // Three clients that must stay connected: a silent stream, a client that pauses, and a client
    // that always reads less than is available.
    let silent = get("silent").await;
    let mut pausing = get("pausing").await;
    let pausing = tokio::spawn(async move {
        sleep(WRITE_TIMEOUT / 4).await;
        pausing.head().await;
        pausing.take(PAUSING).await;
        pausing
    });
    let mut slow = get("slow").await;
    let slow = Background::spawn(async move {
        slow.head().await;
        loop {
            slow.take(400_000).await;
            sleep(Duration::from_millis(200)).await;
        }
    });

    let (start, clock) = (Instant::now(), Undisturbed::now());
    let stream = stream_to(address).await;
    let client = stream.local_addr().unwrap();
    let stalled = RawClient::over(stream, request("stalled")).await;
    // Read while the stream is open, because a closed stream reports no stall.
    let full = stalls(connections, "stalled").await - start;
    println!("{}: reported after {:?}", recipe.name, start.elapsed());

    if !recipe.closes {
        // A body that is not polled cannot end until its client reads or leaves.
        assert_eq!(connections.close_where(|it| &*it.key == "stalled"), 1);
        sleep(WRITE_TIMEOUT + SLACK).await;
        let open = stall(connections, "stalled");
        assert!(open > Some(WRITE_TIMEOUT), "{open:?}");
        return;
    }
    comes("the stream to be closed", || {
        connections.totals().closed(CloseReason::ClientGone) > 0
    })
    .await;
    let (closed, undisturbed) = (start.elapsed() - full, clock.elapsed());
    println!("{}: closed after {closed:?}", recipe.name);
    // A server takes a few more frames after the socket is full.
    assert!(closed + STALL > WRITE_TIMEOUT, "closed after {closed:?}");
    assert!(
        undisturbed < full + WRITE_TIMEOUT + SLACK,
        "closed after {closed:?}, {undisturbed:?} undisturbed since the request"
    );

    if recipe.frees_socket {
        comes("the socket to be freed", || !has_socket(address, client)).await;
        let (freed, undisturbed) = (start.elapsed() - full, clock.elapsed());
        println!("{}: freed after {freed:?}", recipe.name);
        assert!(
            undisturbed < full + WRITE_TIMEOUT + SLACK,
            "freed after {freed:?}, {undisturbed:?} undisturbed since the request"
        );
    }

    // The other clients stay connected for twice the timeout.
    sleep(WRITE_TIMEOUT).await;
    if !recipe.frees_socket {
        assert!(has_socket(address, client), "the socket is freed");
        println!("{}: not freed in {:?}", recipe.name, start.elapsed() - full);
    }
    let pausing = finished("the client that pauses", pausing).await;
    let open = connections.snapshot();
    let mut open: Vec<_> = open.iter().map(|stream| &*stream.key).collect();
    open.sort_unstable();
    assert_eq!(open, ["pausing", "silent", "slow"]);
    assert!(!slow.is_finished());
    drop((silent, pausing, stalled));
}
