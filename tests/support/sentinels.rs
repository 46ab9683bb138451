//! A master and a replica with three Sentinels, which promote the replica if the master dies.

// Not every binary that includes this file uses all of it.
#![allow(dead_code)]

use std::{collections::HashMap, fs, mem, process::Command, time::Duration};

use redis::from_redis_value;
use tokio::time::sleep;

use crate::{
    deadline::{PATIENCE, within},
    port::reserved_port,
    process::Process,
    redis_server::{Engine, Folder, RedisServer, ask},
};

/// The name by which the Sentinels know the two servers.
pub(crate) const SERVICE: &str = "mymaster";

/// Two servers and three Sentinels. A master that is silent for a second is replaced. Dropping this
/// kills all five.
pub(crate) struct Sentinels {
    pub(crate) master: RedisServer,
    pub(crate) replica: RedisServer,
    _processes: Vec<Process>,
    ports: Vec<u16>,
    _folder: Folder,
}

impl Sentinels {
    /// Starts the servers with these options, and the Sentinels. Waits until all know each other.
    /// Returns `None` if the engine is not installed.
    pub(crate) async fn start(engine: Engine, options: &[&str]) -> Option<Self> {
        let program = engine.program()?;
        let master = RedisServer::start(engine, options).await?;
        let mut replica = RedisServer::start(engine, options).await?;
        replica.restart_as_replica_of(&master).await;
        let folder = Folder::new();
        let ports = Vec::from([(); 3].map(|()| reserved_port()));
        let start = |port: &u16| {
            let name = format!("{port}.conf");
            let config = format!(
                "bind 127.0.0.1\nport {port}\nlogfile {port}.log\n\
                sentinel monitor {SERVICE} 127.0.0.1 {} 2\n\
                sentinel down-after-milliseconds {SERVICE} 1000\n\
                sentinel failover-timeout {SERVICE} 5000\n",
                master.port()
            );
            fs::write(folder.0.join(&name), config).unwrap();
            let mut command = Command::new(&program);
            command.args([&name, "--sentinel"]).current_dir(&folder.0);
            Process::start(&mut command)
        };
        let sentinels = Self {
            _processes: ports.iter().map(start).collect(),
            master,
            replica,
            ports,
            _folder: folder,
        };
        let known = [("num-other-sentinels", "2"), ("num-slaves", "1")];
        for url in sentinels.urls() {
            within("a Sentinel to know the others", reports(&url, &known)).await;
        }
        Some(sentinels)
    }

    /// Cuts the replica off: the master still acknowledges writes, and the replica does not get them.
    /// [`fail_over`](Self::fail_over) then loses them.
    pub(crate) async fn cut_off_replica(&self) {
        self.replica.freeze();
        // Otherwise the replica's socket would keep the writes until the replica reads them.
        let kill = ["CLIENT", "KILL", "TYPE", "replica"];
        self.master.command(&kill).await;
    }

    /// Kills the master with SIGKILL, and waits until all Sentinels report the replica as the master.
    /// Swaps [`master`](Self::master) and [`replica`](Self::replica), which is then not running.
    pub(crate) async fn fail_over(&mut self) {
        self.master.kill();
        self.replica.thaw();
        mem::swap(&mut self.master, &mut self.replica);
        self.master.promoted();
        let port = self.master.port().to_string();
        for url in self.urls() {
            within("a failover", reports(&url, &[("port", &port)])).await;
        }
        assert_eq!(self.master.info("role").await.as_deref(), Some("master"));
    }

    /// Makes the Sentinels replace a master that is silent for this time.
    pub(crate) async fn set_patience(&self, time: Duration) {
        let millis = time.as_millis().to_string();
        let setting = ["down-after-milliseconds", &millis];
        let command = [&["SENTINEL", "SET", SERVICE][..], &setting].concat();
        for url in self.urls() {
            let answer = ask(&url, PATIENCE, &command);
            within("a Sentinel's answer", answer).await.unwrap();
        }
    }

    /// Starts the server that [`fail_over`](Self::fail_over) killed, as a replica of the new master.
    pub(crate) async fn restart_replica(&mut self) {
        self.replica.restart_as_replica_of(&self.master).await;
    }

    /// Returns the URLs of the Sentinels.
    pub(crate) fn urls(&self) -> Vec<String> {
        let url = |port| format!("redis://127.0.0.1:{port}/");
        self.ports.iter().map(url).collect()
    }
}

/// Waits until a Sentinel reports these fields of the master.
async fn reports(sentinel: &str, expected: &[(&str, &str)]) {
    loop {
        let answer = ask(sentinel, PATIENCE, &["SENTINEL", "MASTER", SERVICE]).await;
        // Fails while the Sentinel starts.
        if let Ok(answer) = answer {
            let fields: HashMap<String, String> = from_redis_value(answer).unwrap();
            let mut expected = expected.iter();
            if expected.all(|(name, value)| fields.get(*name).is_some_and(|it| it == value)) {
                return;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
