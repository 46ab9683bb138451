//! A connection that is shared, and replaced when it fails.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, ErrorKind, Pipeline, ServerErrorKind, Value, aio::MultiplexedConnection};
use tokio::{sync::OnceCell, time::Instant};

use super::{
    error::{CommandError, RedisLogError},
    script::Script,
    server::Server,
};
use crate::hub::{
    backing::CALL,
    sync::{Mutex, lock},
};

/// A connection for any number of concurrent commands. It is opened when it is needed.
pub(super) struct SharedConnection {
    server: Server,
    /// The connection, or the attempt to open one, shared by all callers until it completes.
    current: Mutex<Arc<Attempt>>,
}

#[derive(Default)]
struct Attempt {
    connection: OnceCell<Result<MultiplexedConnection, RedisLogError>>,
    /// The time of the first command since the last answer. Callers that give up on a connection that
    /// no longer answers do not see it fail.
    silent_since: Mutex<Option<Instant>>,
}

impl SharedConnection {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            current: Mutex::default(),
        }
    }

    /// Runs a script. `keys[0]` is the key that errors name.
    pub(super) async fn script(
        &self,
        script: &Script,
        keys: &[&str],
        args: &[&[u8]],
    ) -> Result<String, CommandError> {
        let (attempt, mut connection) = self.connection().await?;
        let by_hash = script.by_hash(keys, args);
        let mut result = by_hash.query_async(&mut connection).await;
        if let Err(error) = &result
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        {
            let by_code = script.by_code(keys, args);
            result = by_code.query_async(&mut connection).await;
        }
        let result = result.map_err(|error| CommandError::of_sent(error, keys[0]));
        self.ended(&attempt, result)
    }

    /// Sends commands together and returns their replies. `key` is the key that errors name.
    pub(super) async fn query<const N: usize>(
        &self,
        commands: [Cmd; N],
        key: &str,
    ) -> Result<[Value; N], CommandError> {
        let (attempt, mut connection) = self.connection().await?;
        let replies = query(&mut connection, commands, key).await;
        self.ended(&attempt, replies)
    }

    /// Returns the present connection, or opens one.
    async fn connection(&self) -> Result<(Arc<Attempt>, MultiplexedConnection), CommandError> {
        let attempt = {
            let mut current = lock(&self.current);
            let is_silent = lock(&current.silent_since)
                .is_some_and(|since| since.elapsed() >= self.server.command_timeout.min(CALL));
            if is_silent || matches!(current.connection.get(), Some(Err(_))) {
                *current = Arc::default();
            }
            current.clone()
        };
        let connect = || self.server.connect(Duration::ZERO);
        match attempt.connection.get_or_init(connect).await {
            Ok(connection) => {
                lock(&attempt.silent_since).get_or_insert_with(Instant::now);
                Ok((attempt.clone(), connection.clone()))
            }
            Err(error) => Err(CommandError::NotSent(error.clone())),
        }
    }

    /// Notes the result of a command. Drops the connection if that has failed.
    fn ended<T>(
        &self,
        attempt: &Arc<Attempt>,
        result: Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        match &result {
            Err(error) if error.is_of_connection() => {
                let mut current = lock(&self.current);
                if Arc::ptr_eq(&current, attempt) {
                    *current = Arc::default();
                }
            }
            _ => *lock(&attempt.silent_since) = None,
        }
        result
    }
}

/// Sends commands together and returns their replies. `key` is the key that errors name.
pub(super) async fn query<const N: usize>(
    connection: &mut MultiplexedConnection,
    commands: [Cmd; N],
    key: &str,
) -> Result<[Value; N], CommandError> {
    let mut pipeline = Pipeline::with_capacity(N);
    for command in commands {
        pipeline.add_command(command);
    }
    let replies: Vec<Value> = pipeline
        .query_async(connection)
        .await
        .map_err(|error| CommandError::of_sent(error, key))?;
    replies
        .try_into()
        .map_err(|_| CommandError::Unknown(unexpected()))
}

/// Returns the error for a reply of an unexpected form.
pub(super) fn unexpected() -> RedisLogError {
    RedisLogError::Failed("a reply has an unexpected form".to_owned())
}
