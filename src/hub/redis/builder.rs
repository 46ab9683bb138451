//! The configuration of a log in Redis.

use std::{fmt, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    check::{check_permissions, check_server},
    error::RedisLogError,
    keys::Keys,
    log::RedisLog,
    server::{Address, Server},
    store::{LogLimits, Store},
};
use crate::hub::replay::BACK_OFF;

/// The configuration of a [`RedisLog`], returned by [`RedisLog::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect` is called"]
pub struct RedisLogBuilder {
    server: Server,
    prefix: String,
    limits: LogLimits,
    patience: Duration,
}

impl RedisLog {
    /// Returns the configuration of a log on the server at a URL.
    ///
    /// The URL has the form `redis://user:password@host:port/database`, of which only the scheme and
    /// the host are required. The scheme is `rediss` for TLS, which needs the feature `redis-tls`.
    /// With TLS, ring becomes the process's default provider of rustls if there is none. `valkey` and
    /// `valkeys` mean the same. A Unix socket has the URL `unix:///path?db=1`.
    ///
    /// By default the log keeps 100,000 entries of any age, a connection may take 2 s, and a command
    /// 3 s.
    pub fn builder(url: &str) -> RedisLogBuilder {
        RedisLogBuilder::new(Address::Server(url.to_owned()))
    }

    /// Returns the configuration of a log on a master that Redis Sentinels choose.
    ///
    /// `sentinels` are the URLs of at least one of them. Their user and password are those of the
    /// Sentinels, which must all have the same. Set those of the master with
    /// [`credentials`](RedisLogBuilder::credentials). With the scheme `rediss`, the connections to the
    /// Sentinels and to the master use TLS.
    ///
    /// Each new connection asks the Sentinels for the present master.
    pub fn sentinel_builder<T: AsRef<str>>(
        master: &str,
        sentinels: impl IntoIterator<Item = T>,
    ) -> RedisLogBuilder {
        let sentinels = sentinels.into_iter().map(|url| url.as_ref().to_owned());
        let sentinels = sentinels.collect();
        RedisLogBuilder::new(Address::Sentinels(master.to_owned(), sentinels))
    }
}

impl RedisLogBuilder {
    fn new(address: Address) -> Self {
        Self {
            server: Server {
                address,
                credentials: None,
                database: None,
                #[cfg(feature = "redis-tls")]
                certificates: redis::TlsCertificates {
                    client_tls: None,
                    root_cert: None,
                },
                connect_timeout: Duration::from_secs(2),
                command_timeout: Duration::from_secs(3),
            },
            prefix: "http-sse".to_owned(),
            limits: LogLimits {
                entries: 100_000,
                age: None,
                idempotency: Duration::from_secs(10 * 60),
            },
            patience: Duration::ZERO,
        }
    }

    /// Sets the prefix of the log's keys, which names the log. By default it is `http-sse`.
    ///
    /// The log has the keys `{prefix}:log`, `{prefix}:newest` and `{prefix}:start`, and for each
    /// idempotency key one that begins with `{prefix}:key:`. The braces are part of the keys, so that a
    /// cluster keeps them on one node. An empty prefix, or one that begins with `}`, is an error of
    /// [`connect`](Self::connect).
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Sets the number of entries that the log keeps, of all topics together. By default it is
    /// 100,000. The newest one is kept even if this is 0.
    ///
    /// Redis drops the oldest entries in blocks, so that it keeps up to 100 more
    /// (`stream-node-max-entries`). An entry takes the bytes of its topic and its event, and about 75
    /// bytes more.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.limits.entries = entries;
        self
    }

    /// Sets the age after which the log drops an entry. By default there is none.
    ///
    /// There is no timer: an append drops old entries, in blocks of 100 and at most about 10,000.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.limits.age = Some(age);
        self
    }

    /// Sets the time for which the log remembers an
    /// [idempotency key](crate::hub::PublishOptions::idempotency_key). By default it is 10 minutes.
    ///
    /// Each key takes about 150 bytes in Redis for that time, besides its own length and
    /// that of its topic.
    pub fn idempotency_window(mut self, time: Duration) -> Self {
        self.limits.idempotency = time;
        self
    }

    /// Sets the time that a new connection may take, with the question to the Sentinels. By default it
    /// is 2 s.
    pub fn connect_timeout(mut self, time: Duration) -> Self {
        self.server.connect_timeout = time;
        self
    }

    /// Sets the time that a command may take. By default it is 3 s. A hub cancels each call of its log
    /// after 5 s.
    pub fn command_timeout(mut self, time: Duration) -> Self {
        self.server.command_timeout = time;
        self
    }

    /// Sets the user and the password of the connections, instead of those in the URL. If `user` is
    /// `None`, it is `default`, the only user of a Redis without users of its own.
    pub fn credentials(mut self, user: Option<&str>, password: &str) -> Self {
        let user = user.unwrap_or("default");
        self.server.credentials = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sets the number of the database, instead of the one in the URL.
    pub fn database(mut self, database: u32) -> Self {
        self.server.database = Some(database.into());
        self
    }

    /// Sets the root certificates, in PEM. By default they are those of the operating system.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.server.certificates.root_cert = Some(pem.into());
        self
    }

    /// Sets the certificate with which the connections identify themselves, and its key, both in PEM.
    #[cfg(feature = "redis-tls")]
    pub fn client_certificate(
        mut self,
        certificate: impl Into<Vec<u8>>,
        key: impl Into<Vec<u8>>,
    ) -> Self {
        self.server.certificates.client_tls = Some(redis::ClientTlsConfig {
            client_cert: certificate.into(),
            client_key: key.into(),
        });
        self
    }

    /// Makes [`connect`](Self::connect) try again for this time while Redis is unavailable. By default
    /// it tries once. With [`Duration::MAX`] it tries for ever.
    ///
    /// The last attempt may exceed the time by its own timeouts.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.patience = time;
        self
    }

    /// Connects to Redis, checks it, and begins the log if there is none.
    ///
    /// Later failures of the connection are repaired: the next call opens a new one. Each connection
    /// is served by a task of the crate `redis`, which ends with the log.
    ///
    /// # Errors
    ///
    /// Fails with the [`RedisLogError`] that says why Redis cannot be used. Returns
    /// [`RedisLogError::Unavailable`] when the time of [`retry_for`](Self::retry_for) is over, and any
    /// other error at once.
    ///
    /// # Panics
    ///
    /// Panics if it runs outside a tokio runtime with IO and time enabled.
    pub async fn connect(self) -> Result<RedisLog, RedisLogError> {
        self.server.check()?;
        if self.prefix.is_empty() || self.prefix.starts_with('}') {
            let why = "the prefix is empty or begins with a brace".to_owned();
            return Err(RedisLogError::InvalidConfiguration(why));
        }
        let start = Instant::now();
        let mut back_off = BACK_OFF.0;
        let store = Store::new(self.server, Keys::new(&self.prefix), self.limits);
        loop {
            let begun = async {
                let warnings = check_server(store.reader()).await?;
                check_permissions(store.reader(), &store.keys).await?;
                store.head().await?;
                Ok(warnings)
            };
            match begun.await {
                Ok(warnings) => return Ok(RedisLog::new(store, warnings)),
                Err(RedisLogError::Unavailable(_)) if start.elapsed() < self.patience => {
                    sleep(back_off.min(self.patience.saturating_sub(start.elapsed()))).await;
                    back_off = (2 * back_off).min(BACK_OFF.1);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl fmt::Debug for RedisLogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("RedisLogBuilder")
            .field("prefix", &self.prefix)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
