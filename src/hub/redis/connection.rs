//! A connection that is shared, and replaced when it fails.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, ErrorKind, Pipeline, ServerErrorKind, Value, aio::MultiplexedConnection};
use tokio::sync::OnceCell;

use super::{
    error::{CommandError, RedisLogError},
    script::Script,
    server::Server,
};

/// A connection for any number of concurrent commands. It is opened when it is needed.
pub(super) struct SharedConnection {
    server: Server,
    /// The connection, or the attempt to open one, which all callers of its time share.
    current: Mutex<Arc<Attempt>>,
}

type Attempt = OnceCell<Result<MultiplexedConnection, RedisLogError>>;

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
        result.map_err(|error| self.failed(&attempt, CommandError::of_sent(&error, keys[0])))
    }

    /// Sends commands together and returns their replies. `key` is the key that errors name.
    pub(super) async fn query<const N: usize>(
        &self,
        commands: [Cmd; N],
        key: &str,
    ) -> Result<[Value; N], CommandError> {
        let (attempt, mut connection) = self.connection().await?;
        let replies = query(&mut connection, commands, key).await;
        replies.map_err(|error| self.failed(&attempt, error))
    }

    /// Returns the present connection, or opens one.
    async fn connection(&self) -> Result<(Arc<Attempt>, MultiplexedConnection), CommandError> {
        let attempt = {
            let mut current = self.current();
            if let Some(Err(_)) = current.get() {
                *current = Arc::default();
            }
            current.clone()
        };
        let connect = || self.server.connect(Duration::ZERO);
        match attempt.get_or_init(connect).await {
            Ok(connection) => Ok((attempt.clone(), connection.clone())),
            Err(error) => Err(CommandError::NotSent(error.clone())),
        }
    }

    /// Drops a connection that has failed.
    fn failed(&self, attempt: &Arc<Attempt>, error: CommandError) -> CommandError {
        let mut current = self.current();
        if error.is_of_connection() && Arc::ptr_eq(&current, attempt) {
            *current = Arc::default();
        }
        error
    }

    fn current(&self) -> MutexGuard<'_, Arc<Attempt>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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
        .map_err(|error| CommandError::of_sent(&error, key))?;
    replies
        .try_into()
        .map_err(|_| CommandError::Unknown(unexpected()))
}

/// Returns the error for a reply of an unexpected form.
pub(super) fn unexpected() -> RedisLogError {
    RedisLogError::Failed("a reply has an unexpected form".to_owned())
}
