//! A TCP proxy that cuts its connections, like a network that fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    runtime::Runtime,
    sync::watch,
};

use crate::deadline::{Background, until_blocking, within};

/// A proxy in front of one server. It passes on bytes as they are until it cuts.
pub(crate) struct CuttingProxy {
    pub(crate) address: SocketAddr,
    network: Arc<Network>,
    _accepting: Background,
    _runtime: Runtime,
}

struct Network {
    /// The number of cuts so far. Each change ends all connections.
    cuts: watch::Sender<usize>,
    /// The number of bytes from the server to pass on before the next cut.
    left: Mutex<Option<usize>>,
    is_down: AtomicBool,
}

impl CuttingProxy {
    pub(crate) fn start(server: SocketAddr) -> Self {
        let runtime = Runtime::new().unwrap();
        let bind = within("a listener", TcpListener::bind("127.0.0.1:0"));
        let listener = runtime.block_on(bind).unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network {
            cuts: watch::Sender::new(0),
            left: Mutex::new(None),
            is_down: AtomicBool::new(false),
        });
        let shared = network.clone();
        let accepting = Background::spawn_on(runtime.handle(), async move {
            loop {
                // waits for good: dropping the proxy aborts this task
                let (client, _) = listener.accept().await.unwrap();
                // Before the check, so that no connection outlives a cut by `down`.
                let cuts = shared.cuts.subscribe();
                if !shared.is_down.load(SeqCst) {
                    tokio::spawn(carry(shared.clone(), cuts, client, server));
                }
            }
        });
        Self {
            address,
            network,
            _accepting: accepting,
            _runtime: runtime,
        }
    }

    /// Cuts all connections after this number of further bytes from the server, which may be in the
    /// middle of an event or of a character. Waits for the cut.
    #[track_caller]
    pub(crate) fn cut_after(&self, bytes: usize) {
        let cuts = self.network.cuts.subscribe();
        *self.network.left.lock().unwrap() = Some(bytes);
        until_blocking("a cut of the network", || cuts.has_changed().unwrap());
    }

    /// Cuts all connections, and all new ones until the network is up again.
    pub(crate) fn down(&self) {
        self.network.is_down.store(true, SeqCst);
        self.network.cut();
    }

    pub(crate) fn up(&self) {
        self.network.is_down.store(false, SeqCst);
    }
}

impl Network {
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Returns how many of these bytes are passed on. The network is cut if they are not all.
    fn pass(&self, bytes: usize) -> usize {
        let mut left = self.left.lock().unwrap();
        let passed = left.map_or(bytes, |left| left.min(bytes));
        *left = left.map(|left| left - passed).filter(|_| passed == bytes);
        passed
    }
}

/// Carries one connection until one of its ends closes it, or the network is cut.
async fn carry(
    network: Arc<Network>,
    mut cuts: watch::Receiver<usize>,
    mut client: TcpStream,
    server: SocketAddr,
) {
    let connected = within("a connection to the server", TcpStream::connect(server)).await;
    let Ok(mut server) = connected else { return };
    _ = client.set_nodelay(true);
    let (mut from_client, to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    // waits for good: dropping the proxy ends its runtime
    let is_cut = tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => false,
        is_cut = pass_on(&network, from_server, to_client) => is_cut,
        _ = cuts.changed() => true,
    };
    if is_cut {
        _ = client.set_zero_linger();
        _ = server.set_zero_linger();
    }
}

/// Passes on bytes from the server. Returns `true` after a cut, and `false` at the end.
async fn pass_on(network: &Network, mut server: ReadHalf<'_>, mut client: WriteHalf<'_>) -> bool {
    let mut buffer = vec![0; 16 << 10];
    loop {
        // waits for good: dropping the proxy ends its runtime
        let Ok(read @ 1..) = server.read(&mut buffer).await else {
            return false;
        };
        let passed = network.pass(read);
        // waits for good: dropping the proxy ends its runtime
        if client.write_all(&buffer[..passed]).await.is_err() {
            return false;
        }
        if passed < read {
            network.cut();
            return true;
        }
    }
}
