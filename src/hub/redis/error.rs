//! The error of a log in Redis.

use std::{error::Error, fmt};

use redis::{ErrorKind, RedisError};

use crate::hub::log::AppendError;

/// The error of a [`RedisLog`](super::RedisLog), which
/// [`EventLogError`](crate::hub::EventLogError) boxes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisLogError {
    /// The address, the credentials or a certificate in the configuration are malformed. Holds the
    /// reason.
    InvalidConfiguration(String),
    /// Redis did not answer in time, closed the connection, is loading its data, or is not the master. It
    /// may answer later. A certificate that is not accepted counts too. Holds the reason.
    Unavailable(String),
    /// Redis does not accept the credentials. Holds its answer.
    AuthenticationFailed(String),
    /// The user of the connection may not run a command that the log needs. Holds the answer.
    /// That of [`connect`](super::RedisLogBuilder::connect) names the command.
    NoPermission(String),
    /// Redis is older than 6.2. Holds its version.
    TooOld(String),
    /// A key of the log holds something other than the log. Holds the key of the stream.
    WrongType(String),
    /// Redis has reached its `maxmemory` and stores no more entries.
    OutOfMemory,
    /// Redis failed for another reason. Holds its answer.
    Failed(String),
}

/// The error of a command.
#[derive(Debug)]
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
    pub(super) fn of_sent(error: RedisError, key: &str) -> Self {
        let described = RedisLogError::new(&error, key);
        let Some(answers) = error.into_server_errors() else {
            return Self::Unknown(described);
        };
        match answers.iter().any(|(_, answer)| answer.code() == WRITTEN) {
            true => Self::Unknown(described),
            false => Self::Refused(described),
        }
    }

    /// Returns whether a new connection may succeed.
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
        let answers = error.clone().into_server_errors();
        let answers = answers.as_deref().unwrap_or_default();
        // A pipeline may have several, of which a missing permission is the one to report.
        let forbidden = answers.iter().find(|(_, answer)| answer.code() == "NOPERM");
        if let Some((_, answer)) = forbidden.or(answers.first()) {
            return Self::of_answer(answer.code(), answer.details().unwrap_or_default(), key);
        }
        match error.kind() {
            ErrorKind::InvalidClientConfig | ErrorKind::EmptySentinelList => {
                Self::InvalidConfiguration(error.to_string())
            }
            ErrorKind::AuthenticationFailed => Self::AuthenticationFailed(error.to_string()),
            ErrorKind::Io | ErrorKind::MasterNameNotFoundBySentinel => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }

    /// Describes an answer with this code.
    fn of_answer(code: &str, text: &str, key: &str) -> Self {
        let (code, text) = match text.rsplit_once("@user_script: ") {
            // Before version 7, the error of a command in a script is the end of a text.
            Some((_, rest)) if code == "ERR" => match rest.split_once(" -") {
                Some((_, answer)) => answer.split_once(' ').unwrap_or((answer, "")),
                None => (code, text),
            },
            _ if code == WRITTEN => text.split_once(' ').unwrap_or((text, "")),
            _ => (code, text),
        };
        let whole = || format!("{code} {text}");
        match code {
            "OOM" => Self::OutOfMemory,
            "WRONGTYPE" => Self::WrongType(key.to_owned()),
            "WRONGPASS" | "NOAUTH" => Self::AuthenticationFailed(whole()),
            "NOPERM" => Self::NoPermission(whole()),
            "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY"
            | "MISCONF" | "NOREPLICAS" => Self::Unavailable(whole()),
            _ if text.contains("permissions to run") || text.contains("can't run this command") => {
                Self::NoPermission(whole())
            }
            _ => Self::Failed(whole()),
        }
    }
}

/// The code with which the script answers if something failed after the entry was written.
const WRITTEN: &str = "WRITTEN";

impl fmt::Display for RedisLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfiguration(why) => {
                write!(f, "the configuration of the log in Redis is invalid: {why}")
            }
            Self::Unavailable(why) => write!(f, "Redis is unavailable: {why}"),
            Self::AuthenticationFailed(why) => {
                write!(f, "Redis does not accept the credentials: {why}")
            }
            Self::NoPermission(why) => {
                write!(
                    f,
                    "Redis does not permit a command that the log needs: {why}"
                )
            }
            Self::TooOld(version) => {
                write!(f, "Redis {version} is too old, 6.2 or later is needed")
            }
            Self::WrongType(key) => {
                write!(f, "the key {key} in Redis holds something other than a log")
            }
            Self::OutOfMemory => f.write_str("Redis has reached its maxmemory"),
            Self::Failed(why) => write!(f, "Redis failed: {why}"),
        }
    }
}

impl Error for RedisLogError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_a_script_is_that_of_its_command() {
        let old = "Error running script (call to f_1): @user_script: 8: -";
        let answers = [
            ("OOM", "command not allowed", RedisLogError::OutOfMemory),
            (
                "ERR",
                &format!("{old}OOM command not allowed"),
                RedisLogError::OutOfMemory,
            ),
            (
                "ERR",
                &format!("{old}READONLY You can't write"),
                RedisLogError::Unavailable("READONLY You can't write".to_owned()),
            ),
            (
                "WRITTEN",
                "NOPERM no permission",
                RedisLogError::NoPermission("NOPERM no permission".to_owned()),
            ),
            (
                "ERR",
                "unknown command",
                RedisLogError::Failed("ERR unknown command".to_owned()),
            ),
        ];
        for (code, text, expected) in answers {
            assert_eq!(RedisLogError::of_answer(code, text, "key"), expected);
        }
    }
}
