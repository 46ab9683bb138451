//! The model of servers on an unreliable log, with a log in Redis or Valkey and in real time.

use std::{
    env,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http_sse::hub::{
    AppendError, Entry, EventLog, LogFuture, Page, Position, Record, RedisLog, Tail,
};
use redis::{Value, from_redis_value};

use crate::{
    deadline::{PATIENCE, within},
    log_model::{Lossy, Plan, clients_get_each_event_once_or_an_explained_reset},
    redis_server::{Engine, RedisServer, ask},
};

const KEYS: [&str; 3] = ["{http-sse}:log", "{http-sse}:newest", "{http-sse}:start"];

/// A log, and the server that has it.
struct OnServer {
    log: RedisLog,
    url: String,
    /// Never locked. Only a server in a mutex can be shared with other threads.
    _server: Mutex<RedisServer>,
}

impl OnServer {
    async fn command(&self, command: &[&str]) -> Value {
        ask(&self.url, PATIENCE, command).await.unwrap()
    }
}

impl EventLog for OnServer {
    fn append<'a>(
        &'a self,
        topic: &'a str,
        record: Record,
        key: Option<&'a str>,
    ) -> LogFuture<'a, Position, AppendError> {
        self.log.append(topic, record, key)
    }

    fn head(&self) -> LogFuture<'_, Position> {
        self.log.head()
    }

    fn first(&self) -> LogFuture<'_, Option<Entry>> {
        self.log.first()
    }

    fn read(&self, after: Position, max: usize) -> LogFuture<'_, Page> {
        // has a deadline: the model waits for the future
        self.log.read(after, max)
    }

    fn tail(&self, after: Position) -> LogFuture<'_, Box<dyn Tail>> {
        self.log.tail(after)
    }
}

impl Lossy for OnServer {
    fn trim(&self, kept: usize) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let kept = kept.to_string();
            let trim = ["XTRIM", KEYS[0], "MAXLEN", "=", &kept];
            self.command(&trim).await;
        })
    }

    fn lose(&self, entries: usize) -> BoxFuture<'_, Position> {
        Box::pin(async move {
            let (script, entries) = (include_str!("lose.lua"), entries.to_string());
            let [stream, newest, start] = KEYS;
            let lose = ["EVAL", script, "3", stream, newest, start, &entries];
            let lose = [&lose[..], &["{http-sse}:key:*"]].concat();
            let last: String = from_redis_value(self.command(&lose).await).unwrap();
            last.parse().unwrap()
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_each_event_once_or_an_explained_reset_with_redis() {
    run(Engine::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_get_each_event_once_or_an_explained_reset_with_valkey() {
    run(Engine::Valkey).await;
}

async fn run(engine: Engine) {
    if engine.program().is_none() {
        return;
    }
    let required = env::var("HTTP_SSE_REAL").is_ok_and(|value| value == "required");
    let plan = Plan {
        events: if required { 100_000 } else { 20_000 },
        clients: 100,
        pause: Duration::from_millis(50),
        time: Duration::from_secs(if required { 20 } else { 8 }),
    };
    let new_log = async || {
        let server = RedisServer::start(engine, &[]).await.unwrap();
        let url = server.url();
        let log = within("a connection", RedisLog::connect(&url))
            .await
            .unwrap();
        let log: Arc<dyn Lossy> = Arc::new(OnServer {
            log,
            url,
            _server: Mutex::new(server),
        });
        log
    };
    clients_get_each_event_once_or_an_explained_reset(plan, new_log).await;
}
