//! Redis and Valkey servers as child processes.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Value, from_redis_value};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::{sleep, timeout},
};

use crate::{
    deadline::{Background, PATIENCE, exited, until, within},
    port::reserved_port,
    process::Process,
    skip::{skipped, skipped_always},
};

/// An implementation of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Redis,
    Valkey,
}

impl Engine {
    pub(crate) const ALL: [Self; 2] = [Self::Redis, Self::Valkey];

    /// Returns the path of the server. If it is missing, reports that the test is skipped.
    ///
    /// Valkey is never required, because Debian 12 has no package of it.
    pub(crate) fn program(self) -> Option<PathBuf> {
        let program = match self {
            Self::Redis => find("redis-server"),
            Self::Valkey => env::var_os("HTTP_SSE_VALKEY")
                .map(PathBuf::from)
                .or_else(|| find("valkey-server")),
        };
        if program.is_none() {
            match self {
                Self::Redis => skipped("redis-server"),
                Self::Valkey => skipped_always("valkey-server"),
            }
        }
        program
    }
}

/// A server on a port of its own, with a temporary folder. Dropping it kills the server, also a
/// frozen one, and removes the folder.
pub(crate) struct RedisServer {
    program: PathBuf,
    /// `None` after [`kill`](Self::kill).
    process: Option<Process>,
    port: u16,
    options: Vec<String>,
    /// The port of the master, for a server that starts as a replica.
    replica_of: Option<u16>,
    tls: bool,
    folder: Folder,
}

impl RedisServer {
    /// Starts a server and waits until it answers. Returns `None` if it is not installed.
    ///
    /// The options are those of the command line. Unless they say otherwise, the server stores
    /// nothing. With `["--appendonly", "yes", "--appendfsync", "everysec"]` it logs each write.
    pub(crate) async fn start(engine: Engine, options: &[&str]) -> Option<Self> {
        let program = engine.program()?;
        Some(Self::start_in(Folder::new(), program, false, options).await)
    }

    /// Like [`start`](Self::start), but the port only accepts TLS. The server's certificate is for
    /// `127.0.0.1` and `localhost`. Returns `None` if `openssl` is missing too.
    ///
    /// The server must be built with TLS, as Debian's is. Valkey's default build is not.
    pub(crate) async fn start_tls(engine: Engine, options: &[&str]) -> Option<Self> {
        let program = engine.program()?;
        let Some(openssl) = find("openssl") else {
            skipped("openssl");
            return None;
        };
        let folder = Folder::new();
        certify(&openssl, &folder.0);
        Some(Self::start_in(folder, program, true, options).await)
    }

    async fn start_in(folder: Folder, program: PathBuf, tls: bool, options: &[&str]) -> Self {
        let mut server = Self {
            program,
            process: None,
            port: reserved_port(),
            options: options.iter().map(ToString::to_string).collect(),
            replica_of: None,
            tls,
            folder,
        };
        server.restart().await;
        server
    }

    /// Kills the server with SIGKILL. It may be frozen.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Removes the data of a killed server.
    pub(crate) fn forget(&self) {
        assert!(self.process.is_none(), "the server is killed");
        _ = fs::remove_dir_all(self.folder.0.join("appendonlydir"));
        _ = fs::remove_file(self.folder.0.join("dump.rdb"));
    }

    /// Starts the server again, with the same port, folder and options. Kills it first if it runs.
    /// Waits until it has loaded its data.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let (port, folder) = (self.port.to_string(), &self.folder.0);
        let mut command = Command::new(&self.program);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"])
            // Without it, a new replica waits for five seconds.
            .args(["--repl-diskless-sync-delay", "0"])
            .args(["--logfile", "log", "--unixsocket", "socket", "--dir"])
            .arg(folder);
        if self.tls {
            command
                .args(["--port", "0", "--tls-port", &port])
                .args(["--tls-cert-file", "server.pem", "--tls-key-file"])
                .args(["server.key", "--tls-ca-cert-file", "ca.pem"])
                .args(["--tls-auth-clients", "no"]);
        } else {
            command.args(["--port", &port]);
        }
        if let Some(master) = self.replica_of {
            command.args(["--replicaof", "127.0.0.1", &master.to_string()]);
        }
        command.args(&self.options).current_dir(folder);
        self.process = Some(Process::start(&mut command));
        within("a Redis server to answer PING", self.answered()).await;
    }

    async fn answered(&mut self) {
        // Until the server has loaded its data, it answers with an error.
        while self.try_command(PATIENCE, &["PING"]).await.is_err() {
            if self.process.as_mut().unwrap().has_ended() {
                let log = fs::read_to_string(self.folder.0.join("log"));
                panic!("{:?} has ended: {}", self.program, log.unwrap_or_default());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Restarts the server as a replica, and waits until it has the master's data.
    pub(crate) async fn restart_as_replica_of(&mut self, master: &Self) {
        self.replica_of = Some(master.port);
        self.restart().await;
        within("a replica to have the master's data", async {
            while self.info("master_link_status").await.as_deref() != Some("up") {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Makes the next [`restart`](Self::restart) one as a master.
    pub(crate) fn promoted(&mut self) {
        self.replica_of = None;
    }

    /// Stops the server with SIGSTOP. The kernel still accepts connections for it.
    pub(crate) fn freeze(&self) {
        self.running().freeze();
    }

    /// Continues a frozen server. Has no effect on a running one.
    pub(crate) fn thaw(&self) {
        self.running().thaw();
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the server is not killed")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// Returns the path of the certificate authority of a server with TLS.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.folder.0.join("ca.pem")
    }

    /// Returns the certificate authority of a server with TLS.
    pub(crate) fn ca_pem(&self) -> String {
        fs::read_to_string(self.ca_path()).unwrap()
    }

    /// Sends a command as the user `default` and returns the answer. Panics if it is an error.
    pub(crate) async fn command(&self, command: &[&str]) -> Value {
        let what = format!("the answer to {command:?}");
        let answer = within(&what, self.try_command(PATIENCE, command)).await;
        answer.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// Sends a command. Fails if the server does not answer within `time`.
    ///
    /// Each command has a connection of its own, to a Unix socket. So it works with TLS too, and is
    /// not mixed up with clients under test.
    pub(crate) async fn try_command(&self, time: Duration, command: &[&str]) -> RedisResult<Value> {
        let socket = self.folder.0.join("socket");
        ask(&format!("redis+unix://{}", socket.display()), time, command).await
    }

    /// Returns a field of `INFO`, such as `role`, or `None` if it has no such field.
    pub(crate) async fn info(&self, field: &str) -> Option<String> {
        let info = self.command(&["INFO", "everything"]).await;
        let info: String = from_redis_value(info).unwrap();
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find_map(|(name, value)| (name == field).then(|| value.to_owned()))
    }

    /// Records the commands of all clients from now on. The server must not be frozen.
    pub(crate) async fn monitor(&self) -> Monitor {
        let socket = self.folder.0.join("socket");
        within("MONITOR to start", Monitor::start(socket)).await
    }
}

/// A connection that records the commands of a server's clients.
pub(crate) struct Monitor {
    socket: PathBuf,
    lines: Arc<Mutex<Vec<String>>>,
    /// Ends when the server closes the connection.
    reading: Background,
}

impl Monitor {
    async fn start(socket: PathBuf) -> Self {
        let stream = within("a Unix socket", UnixStream::connect(&socket)).await;
        let mut stream = BufReader::new(stream.unwrap());
        let sent = within("MONITOR to be sent", stream.write_all(b"MONITOR\r\n")).await;
        sent.unwrap();
        let mut ok = String::new();
        let read = within("the answer to MONITOR", stream.read_line(&mut ok)).await;
        assert_eq!((read.unwrap(), &*ok), (5, "+OK\r\n"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        let reading = Background::spawn(async move {
            let mut reported = stream.lines();
            // waits for good: in a task that is aborted
            while let Ok(Some(line)) = reported.next_line().await {
                read.lock().unwrap().push(line);
            }
        });
        Self {
            socket,
            lines,
            reading,
        }
    }

    /// Returns the lines of all commands that were executed before this call, except for those of
    /// [`RedisServer::command`]: `+1700000000.123456 [0 127.0.0.1:51234] "get" "key"`.
    ///
    /// Commands of administration, such as CONFIG, have no lines. Those of scripts have the address
    /// `lua`.
    pub(crate) async fn lines(&self) -> Vec<String> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let last = format!("monitored-{}", CALLS.fetch_add(1, Relaxed));
        let url = format!("redis+unix://{}", self.socket.display());
        // Fails if the server was killed. Then the connection ends.
        _ = ask(&url, PATIENCE, &["ECHO", &last]).await;
        until("the last line of MONITOR", || {
            let lines = self.lines.lock().unwrap();
            self.reading.is_finished() || lines.iter().any(|line| line.contains(&last))
        })
        .await;
        let lines = self.lines.lock().unwrap();
        let others = lines.iter().filter(|line| !line.contains(" unix:"));
        others.cloned().collect()
    }

    /// Returns the [`lines`](Self::lines) of the client with this address, which is its own end of
    /// the connection.
    pub(crate) async fn lines_of(&self, client: &str) -> Vec<String> {
        let mut lines = self.lines().await;
        lines.retain(|line| line.contains(&format!(" {client}] ")));
        lines
    }
}

/// Sends a command on a new connection. Fails if there is no answer within `time`.
pub(crate) async fn ask(url: &str, time: Duration, command: &[&str]) -> RedisResult<Value> {
    let answer = async {
        // Without it, the client waits for half a second only.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let client = Client::open(url)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        // has a deadline: the timeout below
        let mut connection = connection.await?;
        let (name, arguments) = command.split_first().expect("a command has a name");
        let command = redis::cmd(name).arg(arguments).to_owned();
        // has a deadline: the timeout below
        command.query_async(&mut connection).await
    };
    // has a deadline: `time`
    let answer = timeout(time, answer).await;
    answer.unwrap_or_else(|_| Err(RedisError::from(io::Error::from(io::ErrorKind::TimedOut))))
}

/// A new temporary folder. Its path is short enough for a Unix socket in it. Dropping it removes the
/// folder.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Relaxed);
        let folder = env::temp_dir().join(format!("http-sse-redis-{}-{count}", process::id()));
        _ = fs::remove_dir_all(&folder); // exists only if a test was killed
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Finds a program in `PATH`, as a shell does.
fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Makes a certificate authority (`ca.pem`) and a certificate that it signed (`server.pem` and
/// `server.key`). Clients with rustls reject a server's certificate that is its own authority.
fn certify(openssl: &Path, folder: &Path) {
    const CONFIG: &str = "
        [req]
        distinguished_name = name
        [name]
        [ca]
        basicConstraints = critical, CA:TRUE
        keyUsage = critical, keyCertSign
        subjectKeyIdentifier = hash
        [server]
        basicConstraints = critical, CA:FALSE
        extendedKeyUsage = serverAuth
        subjectAltName = IP:127.0.0.1, DNS:localhost
        authorityKeyIdentifier = keyid
    ";
    fs::write(folder.join("openssl.cnf"), CONFIG).unwrap();
    let certificate = |name: &str, signed: &[&str]| {
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        let mut command = Command::new(openssl);
        command
            .args(["req", "-x509", "-config", "openssl.cnf", "-extensions"])
            .args([name, "-subj", &format!("/CN=http-sse {name}")])
            .args(["-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt"])
            .args(["ec_paramgen_curve:prime256v1", "-out", &pem])
            .args(["-keyout", &key])
            .args(signed)
            .current_dir(folder)
            .stderr(Stdio::null());
        let status = exited("openssl to end", &mut command.spawn().unwrap());
        assert!(status.success(), "{command:?}: {status}");
    };
    certificate("ca", &[]);
    certificate("server", &["-CA", "ca.pem", "-CAkey", "ca.key"]);
}
