//! A server in a process of its own, with its CPU time and memory.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
};

use rocket::{Build, Config, Rocket, config::LogLevel, fairing::AdHoc};
use tokio::net::TcpListener;

/// Runs a future to its end on a runtime with one thread.
pub fn block_on(future: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future);
}

/// Listens on a free port and prints the address.
pub async fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    listener
}

/// Returns a Rocket server on a free port. It prints its address when it is launched.
#[must_use]
pub fn rocket() -> Rocket<Build> {
    let config = Config {
        port: 0,
        log_level: LogLevel::Off,
        ..Config::default()
    };
    let port = AdHoc::on_liftoff("port", |rocket| {
        println!("127.0.0.1:{}", rocket.config().port);
        Box::pin(std::future::ready(()))
    });
    rocket::custom(config).attach(port)
}

/// Runs the server that the command line names.
///
/// Returns `false` at once if the command line names no server.
///
/// # Panics
///
/// Panics if no server has that name.
pub fn was_server<const N: usize>(servers: [(&str, fn()); N]) -> bool {
    let arguments: Vec<String> = env::args().collect();
    let [_, serve, name] = &arguments[..] else {
        return false;
    };
    assert_eq!(serve, "serve");
    let (_, run) = servers.iter().find(|server| server.0 == name).unwrap();
    run();
    true
}

/// Another process of the running executable, on a core of its own. It is killed on drop.
pub struct Process {
    child: Child,
    /// The standard input of the process.
    pub input: ChildStdin,
    /// The address that the server listens on.
    pub address: SocketAddr,
}

impl Process {
    /// Starts the process with these arguments. The first line that it prints is its address.
    #[must_use]
    pub fn start<const N: usize>(arguments: [&str; N]) -> Self {
        // The server runs on core 0, so that the client can have core 1.
        let mut child = Command::new("taskset")
            .args(["-c", "0"])
            .arg(env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`taskset` of util-linux must be installed");
        let input = child.stdin.take().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self {
            child,
            input,
            address,
        }
    }

    /// Returns the CPU time of the process, in nanoseconds.
    #[must_use]
    pub fn cpu(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanos = threads.map(|thread| {
            let stat = thread.unwrap().path().join("schedstat");
            let stat = fs::read_to_string(stat).unwrap();
            stat.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        nanos.sum()
    }

    /// Returns the resident anonymous memory of the process, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
