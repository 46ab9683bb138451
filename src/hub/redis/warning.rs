//! A setting of the server that endangers the log.

use std::fmt;

/// A setting of the server that endangers the log, returned by
/// [`RedisLog::warnings`](super::RedisLog::warnings).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisWarning {
    /// The server drops keys when it has reached its `maxmemory`, and may drop the log. Holds the value
    /// of `maxmemory-policy`, which should be `noeviction`.
    Evicts(String),
    /// The user of the connection may not run `INFO`, so that the server's version and settings are
    /// unknown.
    NotChecked,
}

impl fmt::Display for RedisWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Evicts(policy) => write!(
                f,
                "Redis may drop the log, because its maxmemory-policy is {policy}"
            ),
            Self::NotChecked => f.write_str("Redis does not permit INFO, its settings are unknown"),
        }
    }
}
