//! Listeners, runtimes and loops that all servers of these tests share.

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

/// How long a server may run: longer than any test.
const LIFE: Duration = Duration::from_secs(10 * 60);

/// A socket for a server.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Where the server listens, once it does.
    address: mpsc::Sender<SocketAddr>,
}

/// Where a server listens that was given the [`Listener`].
pub(crate) struct Address(mpsc::Receiver<SocketAddr>);

impl Listener {
    /// Opens a socket that takes as many connections at once as the kernel allows. Those that it
    /// accepts inherit what is set.
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

    /// For rocket, which takes a port and no listener. It takes one that is free: another socket
    /// may get the port of a listener that was closed for it.
    pub(crate) fn rocket(self) -> rocket::fairing::AdHoc {
        rocket::fairing::AdHoc::on_liftoff("listens", |rocket| {
            let address = ([127, 0, 0, 1], rocket.config().port).into();
            Box::pin(async move { self.address.send(address).unwrap() })
        })
    }
}

/// Returns the configuration of rocket: any free port, no log, and no handler of signals.
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
        received("the address of a server that listens", &self.0)
    }
}

/// Waits for what a server does for as long as its test runs.
pub(crate) async fn serving<F: IntoFuture>(server: F) -> F::Output {
    within_time(LIFE, "a server's work", server).await
}

/// The payload of a panic that a case wants.
pub(crate) const WANTED_PANIC: &str = "as the test wants";

/// Ignores the panic of a task if a case wants it.
fn wanted(error: JoinError) -> Result<(), Box<dyn Any + Send>> {
    let panic = error.into_panic();
    match panic.downcast_ref() {
        Some(&WANTED_PANIC) => Ok(()),
        _ => Err(panic),
    }
}

/// Accepts connections until it is told to stop, and returns those that are still served. Panics
/// if serving one did, unless a case wants it.
pub(crate) async fn serve_each<F: Future<Output = ()> + Send + 'static>(
    listener: tokio::net::TcpListener,
    stopped: impl Future,
    mut serve: impl FnMut(TcpStream) -> F,
) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped);
    loop {
        let next = async {
            // waits for good: the server is told when to stop
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

/// Runs a server on a runtime of its own.
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
