//! A setting of Redis that endangers the log.

use std::fmt;

/// A setting of Redis that endangers the log, returned by
/// [`RedisLog::warnings`](super::RedisLog::warnings).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisWarning {
    /// Redis drops keys when it has reached its `maxmemory`: with `allkeys-*` the log, with
    /// `volatile-*` idempotency keys. Holds the value of `maxmemory-policy`, which should be
    /// `noeviction`.
    EvictionPolicy(String),
    /// The user of the connection may not run `INFO`, so that the version and the settings of Redis
    /// are unknown.
    InfoDenied,
}

impl fmt::Display for RedisWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EvictionPolicy(policy) => write!(
                f,
                "Redis may drop the log or its keys, because its maxmemory-policy is {policy}"
            ),
            Self::InfoDenied => f.write_str("Redis does not permit INFO, its settings are unknown"),
        }
    }
}
