//! The faults of a run, one after the other.

use std::{sync::Arc, time::Duration};

use http_sse::hub::Position;
use proptest::{prelude::RngExt as _, test_runner::TestRng};
use redis::{Value, from_redis_value};
use tokio::time::{Instant, sleep};

use super::{
    STREAM, World,
    truth::{Dump, Fault},
};
use crate::{deadline::within, sentinels::Sentinels};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server is killed, and has logged its writes.
    Kill,
    /// The server does not run for 3 s.
    Freeze,
    /// A node lags, and the log is trimmed to fewer entries than it has not read.
    Trim,
    Flush,
    /// The server is killed, and has logged nothing.
    Forget,
    /// The server is killed, and replaced with a replica that was cut off.
    FailOver,
    /// A node does not run for 10 s, in which the log keeps few entries.
    PauseNode,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Kill,
        Self::Freeze,
        Self::Trim,
        Self::Flush,
        Self::Forget,
        Self::FailOver,
        Self::PauseNode,
    ];

    /// Returns whether the log loses entries at its beginning.
    pub(super) fn trims(self) -> bool {
        matches!(self, Self::Trim | Self::PauseNode)
    }
}

/// The time for which a master may be silent, unless it is to be replaced.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// The servers of a run, and the faults that happen to them.
pub(super) struct Faults {
    world: Arc<World>,
    servers: Sentinels,
    chance: TestRng,
}

impl Faults {
    pub(super) fn new(world: Arc<World>, servers: Sentinels, chance: TestRng) -> Self {
        Self {
            world,
            servers,
            chance,
        }
    }

    /// Lets a fault happen, and waits until all nodes have caught up.
    pub(super) async fn happen(&mut self, kind: Kind) {
        let begin = Instant::now();
        match kind {
            Kind::Kill => self.servers.master.restart().await,
            Kind::Freeze => {
                self.servers.master.freeze();
                sleep(Duration::from_secs(3)).await;
                self.servers.master.thaw();
            }
            Kind::Trim => {
                let (number, _) = self.world.hub(&mut self.chance);
                let node = &self.world.nodes[number];
                node.pause();
                sleep(Duration::from_millis(1_000)).await;
                self.trim(50).await;
                node.go_on();
            }
            Kind::Flush => {
                self.servers.master.command(&["FLUSHALL"]).await;
            }
            Kind::Forget => {
                self.servers.master.kill();
                self.servers.master.forget();
                self.servers.master.restart().await;
            }
            Kind::FailOver => self.fail_over().await,
            Kind::PauseNode => {
                let (number, _) = self.world.hub(&mut self.chance);
                let node = &self.world.nodes[number];
                node.pause();
                for _ in 0..50 {
                    sleep(Duration::from_millis(200)).await;
                    self.trim(300).await;
                }
                node.go_on();
            }
        }
        self.world.set_server(self.servers.master.url());
        let world = &self.world;
        world.catches_up().await;
        let known = world.truth.known();
        let dump = self.dump().await;
        let lost = world.truth.compare(&known, &dump);
        let fault = Fault {
            kind,
            begin,
            end: Instant::now(),
            lost,
        };
        println!(
            "{kind:?}: {lost} entries lost, {:?}",
            fault.end - fault.begin
        );
        world.truth.ends_fault(fault);
        let pause = self.chance.random_range(500..1_500);
        sleep(Duration::from_millis(pause)).await;
    }

    async fn fail_over(&mut self) {
        self.replica_is_up().await;
        self.servers.set_patience(Duration::from_secs(1)).await;
        self.servers.cut_off_replica().await;
        sleep(Duration::from_millis(600)).await;
        self.servers.fail_over().await;
        self.servers.set_patience(LONG).await;
        self.servers.restart_replica().await;
    }

    async fn replica_is_up(&self) {
        within("the replica to have the master's data", async {
            let replica = &self.servers.replica;
            while replica.info("master_link_status").await.as_deref() != Some("up") {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Drops the oldest entries of the log.
    async fn trim(&self, kept: usize) {
        let master = &self.servers.master;
        let trim = ["XTRIM", STREAM, "MAXLEN", "=", &kept.to_string()];
        master.command(&trim).await;
        let first = master
            .command(&["XRANGE", STREAM, "-", "+", "COUNT", "1"])
            .await;
        if let Some(first) = entries(first).first_key_value() {
            self.world.truth.trims(*first.0);
        }
    }

    /// Returns the entries of the log.
    async fn dump(&self) -> Dump {
        let dump = ["XRANGE", STREAM, "-", "+"];
        entries(self.servers.master.command(&dump).await)
    }
}

fn entries(reply: Value) -> Dump {
    let entries: Vec<(String, Vec<String>)> = from_redis_value(reply).unwrap();
    let entry = |(at, fields): (String, Vec<String>)| {
        let at: Position = at.parse().unwrap();
        let data = fields.iter().find_map(|field| field.strip_prefix("data: "));
        (at, data.unwrap().trim_end().parse().unwrap())
    };
    entries.into_iter().map(entry).collect()
}
