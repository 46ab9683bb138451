//! Listeners, runtimes and accept loops of the test servers.

use std::{
    any::Any,
    future::{Future, IntoFuture},
    net::{SocketAddr, TcpListener},
    ops::ControlFlow,
    pin::pin,
    sync::mpsc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::{JoinError, JoinSet},
};

use crate::deadline::{received, within_time};

/// The longest time that a server may run. No test takes as long.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// A socket for a server.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Receives the address as soon as the server listens.
    address: mpsc::Sender<SocketAddr>,
}

/// The address of the server that uses a [`Listener`].
pub(crate) struct Address(mpsc::Receiver<SocketAddr>);

impl Listener {
    /// Opens a socket with a backlog of 4,096 connections. Accepted connections inherit the options
    /// that `set` sets.
    pub(crate) fn open(set: impl FnOnce(&Socket)) -> (Self, Address) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        set(&socket);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(4096).unwrap();
        socket.set_nonblocking(true).unwrap();
        let (address, listens) = mpsc::channel();
        let socket = socket.into();
        (Self { socket, address }, Address(listens))
    }

    pub(crate) fn std(self) -> TcpListener {
        let address = self.socket.local_addr().unwrap();
        self.address.send(address).unwrap();
        self.socket
    }

    pub(crate) fn tokio(self) -> tokio::net::TcpListener {
        tokio::net::TcpListener::from_std(self.std()).unwrap()
    }

    /// Returns a fairing that reports the address of rocket, which accepts a port but no listener.
    ///
    /// Rocket chooses a free port. If this listener were closed to free its port, another socket
    /// might take that port first.
    pub(crate) fn rocket(self) -> rocket::fairing::AdHoc {
        rocket::fairing::AdHoc::on_liftoff("listens", |rocket| {
            let address = ([127, 0, 0, 1], rocket.config().port).into();
            Box::pin(async move { self.address.send(address).unwrap() })
        })
    }
}

/// Returns the configuration of rocket: any free port, no log, and no signal handlers.
pub(crate) fn rocket_config(shutdown: rocket::config::Shutdown) -> rocket::Config {
    rocket::Config {
        port: 0,
        log_level: rocket::config::LogLevel::Off,
        shutdown: rocket::config::Shutdown {
            ctrlc: false,
            ..shutdown
        },
        ..rocket::Config::default()
    }
}

impl Address {
    pub(crate) fn get(&self) -> SocketAddr {
        received("the address of the server", &self.0)
    }
}

/// Awaits a future of a server, which may last as long as its test.
pub(crate) async fn serving<F: IntoFuture>(server: F) -> F::Output {
    within_time(LIFE, "a server's work", server).await
}

/// The payload of a panic that a case expects.
pub(crate) const WANTED_PANIC: &str = "expected by the test";

/// Ignores the panic of a task if a case expects it.
fn wanted(error: JoinError) -> Result<(), Box<dyn Any + Send>> {
    let panic = error.into_panic();
    match panic.downcast_ref() {
        Some(&WANTED_PANIC) => Ok(()),
        _ => Err(panic),
    }
}

/// Accepts connections until `stopped` resolves, and returns those that are still open.
///
/// Propagates the panic of a connection, unless a case expects it.
pub(crate) async fn serve_each<F: Future<Output = ()> + Send + 'static>(
    listener: tokio::net::TcpListener,
    stopped: impl Future,
    mut serve: impl FnMut(TcpStream) -> F,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped);
    loop {
        let next = async {
            // waits for good: `stopped` ends it
            tokio::select! {
                accepted = listener.accept() => ControlFlow::Continue(Some(accepted)),
                Some(ended) = connections.join_next() => {
                    ended.or_else(wanted).unwrap();
                    ControlFlow::Continue(None)
                }
                _ = &mut stopped => ControlFlow::Break(()),
            }
        };
        match serving(next).await {
            ControlFlow::Continue(None) => {}
            ControlFlow::Continue(Some(accepted)) => {
                _ = connections.spawn(serve(accepted.unwrap().0))
            }
            ControlFlow::Break(()) => return connections,
        }
    }
}

/// Runs a server on its own runtime.
pub(crate) fn serve(server: impl Future<Output = ()>) {
    runtime(2).block_on(server);
}

pub(crate) fn runtime(workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}
