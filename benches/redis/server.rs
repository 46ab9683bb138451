//! A Redis server that the benchmark starts.

use std::{
    env, fs, io,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use redis::{Client, aio::MultiplexedConnection};

/// A server that stores nothing on disk. It is killed on drop.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    pub(crate) url: String,
}

impl Server {
    /// Starts a server on core 0. Returns `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let version = Command::new("redis-server").arg("--version").output();
        if version.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let address = free.unwrap();
        let folder = env::temp_dir().join(format!("http-sse-benches-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let child = Command::new("taskset")
            .args(["-c", "0", "redis-server", "--bind", "127.0.0.1", "--port"])
            .arg(address.port().to_string())
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .expect("`taskset` of util-linux must be installed");
        let server = Self {
            child,
            folder,
            url: format!("redis://{address}/"),
        };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "no redis-server");
            sleep(Duration::from_millis(10));
        }
        Some(server)
    }

    pub(crate) async fn connect(&self) -> MultiplexedConnection {
        let client = Client::open(&*self.url).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Drops everything that is stored.
    pub(crate) async fn clear(&self) {
        let mut connection = self.connect().await;
        let clear = redis::cmd("FLUSHALL");
        clear.exec_async(&mut connection).await.unwrap();
    }

    /// Returns the CPU time of the server so far, in microseconds.
    pub(crate) async fn cpu(&self) -> f64 {
        let mut connection = self.connect().await;
        let info = redis::cmd("INFO").arg("cpu").to_owned();
        let info: String = info.query_async(&mut connection).await.unwrap();
        let seconds = info.lines().filter_map(|line| {
            let (name, seconds) = line.split_once(':')?;
            let is_wanted = ["used_cpu_sys", "used_cpu_user"].contains(&name);
            is_wanted.then(|| seconds.parse::<f64>().unwrap())
        });
        seconds.sum::<f64>() * 1e6
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        _ = fs::remove_dir_all(&self.folder);
    }
}
