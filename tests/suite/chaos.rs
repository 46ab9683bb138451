//! Connections over real sockets that end in every way at random moments, and the shutdown of a
//! server with a thousand clients.

use std::{
    env,
    net::SocketAddr,
    panic,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use allocation_counter::measure;
use axum::{
    Router,
    extract::{Path, State},
    routing::get,
};
use futures_util::{Stream, StreamExt as _, future, stream};
use http_sse::{CloseReason, Connections, Event, Sse};
use proptest::{
    prelude::{Rng as _, RngExt as _},
    test_runner::{RngAlgorithm, TestRng},
};
use tokio::{
    net::TcpSocket,
    runtime::Builder,
    task::{JoinHandle, JoinSet, yield_now},
    time::sleep,
};

use crate::{
    deadline::{PATIENCE, within},
    raw_client::RawClient,
};

type Source = Pin<Box<dyn Stream<Item = Result<Event, std::io::Error>> + Send>>;

/// The way in which a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Fin,
    Rst,
    BeforeFirstPoll,
    Panic,
    Error,
    Source,
    MaxAge,
    CloseWhere,
    Shutdown,
}

const ENDS: [End; 9] = [
    End::Fin,
    End::Rst,
    End::BeforeFirstPoll,
    End::Panic,
    End::Error,
    End::Source,
    End::MaxAge,
    End::CloseWhere,
    End::Shutdown,
];

/// The number of connections at a time. Both ends are in this process, so that they use fewer than
/// 1,024 descriptors.
const WAVE: usize = 400;
const WAVES: usize = 25;

/// The message of an intended panic, which is not printed.
const OWN_PANIC: &str = "an intended panic of a source";

#[derive(Clone)]
struct Server {
    connections: Connections,
    /// The number of calls of `on_close`, for each stream.
    closed: Arc<[AtomicU32]>,
}

async fn answer(
    State(server): State<Server>,
    Path((end, number)): Path<(usize, usize)>,
) -> Sse<Source> {
    let end = ENDS[end];
    let permit = server.connections.admit(format!("{end:?}")).unwrap();
    let closed = server.closed.clone();
    let some = stream::iter([Ok(Event::data("a")), Ok(Event::data("b"))]);
    let source: Source = match end {
        End::Panic => some
            .chain(stream::once(future::lazy(|_| panic!("{OWN_PANIC}"))))
            .boxed(),
        End::Error => {
            let error = std::io::Error::other("gone");
            some.chain(stream::iter([Err(error)])).boxed()
        }
        End::Source => some.boxed(),
        _ => some.chain(stream::pending()).boxed(),
    };
    let mut sse = Sse::new(source)
        .permit(permit)
        .on_close(move |_| _ = closed[number].fetch_add(1, SeqCst));
    match end {
        End::BeforeFirstPoll => return Sse::stop(), // drops `sse`
        End::MaxAge => sse = sse.max_age(Duration::from_millis(250)),
        _ => {}
    }
    sse
}

/// Serves until the task is aborted.
///
/// All clients connect at once, which needs a long backlog. A listener of std has one of 128. A
/// connection beyond it is reset, or retried after a second.
fn serve(server: Server) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1_024).unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/{end}/{number}", get(answer));
    let app = app.with_state(server);
    (
        address,
        tokio::spawn(axum::serve(listener, app).into_future()),
    )
}

/// Aborts a server, and waits until its task is dropped.
async fn stop_serving(served: JoinHandle<std::io::Result<()>>) {
    served.abort();
    let ended = within("the server to stop", served).await;
    assert!(ended.unwrap_err().is_cancelled(), "the server panicked");
}

async fn client(address: SocketAddr, end: usize, number: usize, pauses: u32) {
    let mut client = RawClient::get(address, &format!("/{end}/{number}"), "").await;
    let pause = async || {
        for _ in 0..pauses {
            yield_now().await;
        }
    };
    match ENDS[end] {
        // Waits for the head, because an earlier reset would discard the request.
        End::Fin => {
            client.head().await;
            pause().await;
            client.close();
        }
        End::Rst => {
            client.head().await;
            pause().await;
            client.reset();
        }
        End::BeforeFirstPoll => assert_eq!(client.head().await.0, 204),
        End::Panic => {
            client.until_close().await;
        }
        End::Error => {
            client.head().await;
            client.rest().await.unwrap_err();
        }
        End::Source | End::MaxAge | End::CloseWhere | End::Shutdown => {
            client.head().await;
            assert_eq!(client.rest().await.unwrap(), ":\ndata: a\n\ndata: b\n\n");
        }
    }
}

/// Runs one wave of connections. Returns the number of closed streams for each reason.
async fn wave(chance: &mut TestRng) -> [u64; 6] {
    let server = Server {
        connections: Connections::new(),
        closed: (0..WAVE).map(|_| AtomicU32::new(0)).collect(),
    };
    let (address, served) = serve(server.clone());
    let mut of_each = [0_u64; ENDS.len()];
    let mut clients = JoinSet::new();
    for number in 0..WAVE {
        let end = chance.random_range(0..ENDS.len());
        of_each[end] += 1;
        clients.spawn(client(address, end, number, chance.random_range(0..2_000)));
    }
    let connections = &server.connections;
    // Streams for `close_where` are closed as they arrive. The shutdown closes the last ones.
    let to_close = of_each[End::CloseWhere as usize];
    let to_shut_down = of_each[End::Shutdown as usize] as usize;
    let start = Instant::now();
    loop {
        while let Some(ended) = clients.try_join_next() {
            ended.expect("no client panics");
        }
        let totals = connections.totals();
        let (opened, open) = (totals.opened, totals.open);
        let closed = totals.closed(CloseReason::ByServer);
        if opened == WAVE as u64 && open == to_shut_down && closed == to_close {
            break;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{opened} of {WAVE} opened; {open} open, expected {to_shut_down}; \
             {closed} closed by the server, expected {to_close}"
        );
        connections.close_where(|it| &*it.key == "CloseWhere" && it.bytes > 0);
        sleep(Duration::from_millis(1)).await;
    }
    connections.shutdown();
    within("the last streams to close", connections.closed()).await;
    while let Some(ended) = within("the last clients to end", clients.join_next()).await {
        ended.expect("no client panics");
    }
    stop_serving(served).await;

    let totals = connections.totals();
    let by_reason = [
        CloseReason::End,
        CloseReason::Error,
        CloseReason::MaxAge,
        CloseReason::Shutdown,
        CloseReason::ByServer,
        CloseReason::ClientGone,
    ]
    .map(|reason| totals.closed(reason));
    assert_eq!((totals.open, totals.opened), (0, WAVE as u64));
    assert_eq!(totals.opened, by_reason.iter().sum::<u64>());
    let of = |end: End| of_each[end as usize];
    let expected = [
        of(End::Source) + of(End::BeforeFirstPoll),
        of(End::Error) + of(End::Panic),
        of(End::MaxAge),
        of(End::Shutdown),
        of(End::CloseWhere),
        of(End::Fin) + of(End::Rst),
    ];
    assert_eq!(by_reason, expected);
    for closed in &server.closed[..] {
        assert_eq!(closed.load(SeqCst), 1, "`on_close` is called once");
    }
    by_reason
}

fn chance() -> TestRng {
    let seed = env::var("HTTP_SSE_SEED").ok();
    let seed: u64 = seed.map_or_else(
        || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0),
        |seed| seed.parse().unwrap(),
    );
    println!("HTTP_SSE_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut chance = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    chance.next_u32();
    chance
}

/// Opens 10,000 connections. They share one thread, so that their allocations can be counted.
#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.to_string().contains(OWN_PANIC) {
            report(info);
        }
    }));
    let mut chance = chance();
    let mut runtime = None;
    let mut run = |waves| {
        let runtime = runtime
            .get_or_insert_with(|| Builder::new_current_thread().enable_all().build().unwrap());
        let mut sums = [0; 6];
        for _ in 0..waves {
            let by_reason = runtime.block_on(wave(&mut chance));
            sums.iter_mut()
                .zip(by_reason)
                .for_each(|(sum, n)| *sum += n);
        }
        println!("end, error, max_age, shutdown, closed, client gone: {sums:?}");
    };
    let before = measure(|| run(2)).bytes_current;
    let more = measure(|| run(WAVES)).bytes_current;
    println!("{before} bytes of heap before, {more:+} after");
    // The runtime's queues grow with the highest number of ready tasks, which depends on the load
    // of the machine. A leak per connection would count 10,000 times.
    assert!(
        more < 10 * (WAVE * WAVES) as i64,
        "{before} bytes before, {more:+} after"
    );
}

/// Shuts down with a window of 10 s, so that each of 1,000 clients receives its own reconnection
/// time. At most 15 % of them may reconnect within the same second.
#[test]
fn a_shutdown_spreads_the_reconnections_of_a_thousand_clients() {
    const CLIENTS: usize = 1_000;
    const WINDOW: Duration = Duration::from_secs(10);
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // Each client has two connections, with both ends here. The soft limit is often 1,024.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    runtime.block_on(async {
        let closed: Arc<[AtomicU32]> = (0..CLIENTS).map(|_| AtomicU32::new(0)).collect();
        let old = Connections::new().reconnect_within(WINDOW);
        let new = Connections::new();
        let at = |connections: &Connections| {
            serve(Server {
                connections: connections.clone(),
                closed: closed.clone(),
            })
        };
        let ((address, served), (next_address, next_served)) = (at(&old), at(&new));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let path = format!("/{}/{number}", End::Shutdown as usize);
            clients.spawn(async move {
                let mut client = RawClient::get(address, &path, "").await;
                client.head().await;
                let all = client.rest().await.unwrap();
                let (events, retry) = all.rsplit_once("retry: ").unwrap();
                assert_eq!(events, ":\ndata: a\n\ndata: b\n\n");
                let retry: u64 = retry.strip_suffix('\n').unwrap().parse().unwrap();
                // An EventSource would wait for this time.
                let mut client = RawClient::get(next_address, &path, "").await;
                client.head().await;
                (retry, client)
            });
        }
        let start = Instant::now();
        loop {
            if let Some(ended) = clients.try_join_next() {
                panic!("a client ended before the shutdown: {:?}", ended.err());
            }
            let sent = old.snapshot().iter().filter(|it| it.bytes > 0).count();
            if sent == CLIENTS {
                break;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{sent} of {CLIENTS} streams have begun"
            );
            sleep(Duration::from_millis(10)).await;
        }
        old.shutdown();
        within("the old server's streams to close", old.closed()).await;
        let mut open = Vec::new();
        let mut seconds = [0; 10];
        while let Some(ended) = within("the clients to reconnect", clients.join_next()).await {
            let (retry, client) = ended.expect("no client panics");
            seconds[retry as usize / 1_000] += 1;
            open.push(client);
        }
        println!("reconnections in each second: {seconds:?}");
        assert!(seconds.iter().all(|n| *n <= CLIENTS * 15 / 100));
        assert_eq!(seconds.iter().sum::<usize>(), CLIENTS);
        assert_eq!(new.totals().open, CLIENTS);
        stop_serving(served).await;
        stop_serving(next_served).await;
    });
}
