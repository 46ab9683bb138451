//! The error of a log in Redis.

use std::{error::Error, fmt};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::hub::log::AppendError;

/// The error of a [`RedisLog`](super::RedisLog), which
/// [`EventLogError`](crate::hub::EventLogError) boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisLogError {
    /// The address, the credentials or a certificate in the configuration are malformed. Holds the
    /// reason.
    InvalidConfiguration(String),
    /// The server did not answer in time, closed the connection, is loading its data, or is not the
    /// master. It may answer later. Holds the reason.
    Unavailable(String),
    /// The server does not accept the credentials. Holds its answer.
    AuthenticationFailed(String),
    /// The user of the connection may not run a command that the log needs. Holds the server's answer,
    /// which names the command.
    NoPermission(String),
    /// The server is older than Redis 6.2. Holds its version.
    TooOld(String),
    /// A key of the log holds something else than the log. Holds the key.
    WrongType(String),
    /// The server has reached its `maxmemory` and stores no more entries.
    OutOfMemory,
    /// The server failed for another reason. Holds its answer.
    Failed(String),
}

/// The error of a command.
#[derive(Clone, Debug)]
pub(super) enum CommandError {
    /// The command was not sent, because there is no connection.
    NotSent(RedisLogError),
    /// The server may have run the command.
    Unknown(RedisLogError),
    /// The server answered with an error.
    Refused(RedisLogError),
}

impl CommandError {
    /// Returns the error of a command that was sent. `key` is the key that it reads.
    pub(super) fn of_sent(error: &RedisError, key: &str) -> Self {
        let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        let described = RedisLogError::new(error, key);
        match is_answer {
            true => Self::Refused(described),
            false => Self::Unknown(described),
        }
    }

    /// Returns whether another connection may have more luck.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Unknown(_) => true,
            Self::Refused(error) => matches!(
                error,
                RedisLogError::Unavailable(_) | RedisLogError::AuthenticationFailed(_)
            ),
        }
    }

    pub(super) fn into_append_error(self) -> AppendError {
        match self {
            Self::NotSent(error) => AppendError::NotWritten(error.into()),
            Self::Unknown(error) => AppendError::Unknown(error.into()),
            Self::Refused(error) => match error {
                RedisLogError::NoPermission(_)
                | RedisLogError::WrongType(_)
                | RedisLogError::OutOfMemory => AppendError::Rejected(error.into()),
                _ => AppendError::NotWritten(error.into()),
            },
        }
    }
}

impl From<CommandError> for RedisLogError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::NotSent(error)
            | CommandError::Unknown(error)
            | CommandError::Refused(error) => error,
        }
    }
}

impl RedisLogError {
    /// Describes an error of the client library. `key` is the key that the command reads.
    pub(super) fn new(error: &RedisError, key: &str) -> Self {
        let text = error
            .detail()
            .map_or_else(|| error.to_string(), str::to_owned);
        match error.kind() {
            ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => {
                Self::InvalidConfiguration(error.to_string())
            }
            ErrorKind::AuthenticationFailed => Self::AuthenticationFailed(text),
            ErrorKind::Io | ErrorKind::MasterNameNotFoundBySentinel => {
                Self::Unavailable(error.to_string())
            }
            ErrorKind::Server(kind) => Self::of_server(kind, error, text, key),
            ErrorKind::Extension => Self::of_code(error.code().unwrap_or_default(), text, key),
            _ => Self::Failed(error.to_string()),
        }
    }

    fn of_server(kind: ServerErrorKind, error: &RedisError, text: String, key: &str) -> Self {
        match kind {
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly => Self::Unavailable(error.to_string()),
            ServerErrorKind::NoPerm => Self::NoPermission(text),
            // A script reports the errors of its commands in their text.
            _ => Self::of_code("", text, key),
        }
    }

    /// Returns the error for an answer whose code, or first word, names its kind.
    fn of_code(code: &str, text: String, key: &str) -> Self {
        let starts = |name: &str| code == name || text.starts_with(name);
        if starts("OOM") {
            Self::OutOfMemory
        } else if starts("WRONGTYPE") {
            Self::WrongType(key.to_owned())
        } else if starts("WRONGPASS") || starts("NOAUTH") {
            Self::AuthenticationFailed(text)
        } else if starts("NOPERM")
            || text.contains("no permissions to run")
            || text.contains("can't run this command")
        {
            Self::NoPermission(text)
        } else if starts("READONLY") || starts("BUSY") || starts("MISCONF") || starts("NOREPLICAS")
        {
            Self::Unavailable(text)
        } else if code.is_empty() {
            Self::Failed(text)
        } else {
            Self::Failed(format!("{code} {text}"))
        }
    }
}

impl fmt::Display for RedisLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfiguration(why) => {
                write!(f, "the server's configuration of Redis is invalid: {why}")
            }
            Self::Unavailable(why) => write!(f, "Redis is unavailable: {why}"),
            Self::AuthenticationFailed(why) => {
                write!(f, "Redis does not accept the server's credentials: {why}")
            }
            Self::NoPermission(why) => {
                write!(
                    f,
                    "Redis does not permit a command that the server needs: {why}"
                )
            }
            Self::TooOld(version) => {
                write!(f, "Redis {version} is too old, 6.2 or later is needed")
            }
            Self::WrongType(key) => {
                write!(f, "the key {key} in Redis holds something else than a log")
            }
            Self::OutOfMemory => f.write_str("Redis has reached its maxmemory"),
            Self::Failed(why) => write!(f, "Redis failed: {why}"),
        }
    }
}

impl Error for RedisLogError {}
