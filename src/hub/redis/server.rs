//! The server of a log, and new connections to it.

use std::{future::Future, pin::Pin, time::Duration};

#[cfg(feature = "redis-tls")]
use redis::TlsCertificates;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    ProtocolVersion, RedisResult, TlsMode,
    aio::MultiplexedConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};
use tokio::time::timeout;

use super::error::RedisLogError;

/// The server that holds the log, as configured.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: Address,
    /// The user and the password, if they are not those of the address.
    pub(super) credentials: Option<(String, String)>,
    pub(super) database: Option<i64>,
    #[cfg(feature = "redis-tls")]
    pub(super) certificates: TlsCertificates,
    /// The time that a new connection may take.
    pub(super) connect_timeout: Duration,
    /// The time that a command may take.
    pub(super) command_timeout: Duration,
}

#[derive(Clone)]
pub(super) enum Address {
    /// The URL of the server.
    Server(String),
    /// The name of a master, and the URLs of the Sentinels that know its address.
    Sentinels(String, Vec<String>),
}

impl Server {
    /// Opens a connection, whose commands may block for this time.
    pub(super) async fn connect(
        &self,
        blocking: Duration,
    ) -> Result<MultiplexedConnection, RedisLogError> {
        // Boxed, because the types of the library's futures are deep enough for the compiler to give up.
        let connect: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async {
            let client = match &self.address {
                Address::Server(url) => self.client(url)?,
                // The address is asked for each time, because it changes.
                Address::Sentinels(master, sentinels) => self.master(master, sentinels).await?,
            };
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(None)
                .set_response_timeout(Some(self.command_timeout.saturating_add(blocking)));
            client
                .get_multiplexed_async_connection_with_config(&config)
                .await
        });
        match timeout(self.connect_timeout, connect).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(RedisLogError::new(&error, "")),
            Err(_) => {
                let why = format!("no connection after {:?}", self.connect_timeout);
                Err(RedisLogError::Unavailable(why))
            }
        }
    }

    /// Checks the configuration.
    pub(super) fn check(&self) -> Result<(), RedisLogError> {
        let checked = match &self.address {
            Address::Server(url) => self.client(url).map(drop),
            Address::Sentinels(master, sentinels) => {
                self.sentinels(master, sentinels).and_then(|builder| {
                    builder.build()?;
                    Ok(())
                })
            }
        };
        checked.map_err(|error| RedisLogError::InvalidConfiguration(error.to_string()))
    }

    fn client(&self, url: &str) -> RedisResult<Client> {
        let info = url.into_connection_info()?;
        let mut settings = info.redis_settings().clone();
        // The replies of the newer protocol have other types.
        settings = settings.set_protocol(ProtocolVersion::RESP2);
        if let Some((user, password)) = &self.credentials {
            settings = settings.set_username(user).set_password(password);
        }
        if let Some(database) = self.database {
            settings = settings.set_db(database);
        }
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp());
        #[cfg(feature = "redis-tls")]
        if uses_tls(&info) {
            choose_provider();
            return Client::build_with_tls(info, self.certificates.clone());
        }
        Client::open(info)
    }

    /// Asks the Sentinels for the master.
    async fn master(&self, name: &str, sentinels: &[String]) -> RedisResult<Client> {
        let mut client = self.sentinels(name, sentinels)?.build()?;
        client.async_get_client().await
    }

    fn sentinels(&self, name: &str, sentinels: &[String]) -> RedisResult<SentinelClientBuilder> {
        let sentinels = sentinels
            .iter()
            .map(|url| url.as_str().into_connection_info());
        let sentinels: Vec<ConnectionInfo> = sentinels.collect::<RedisResult<_>>()?;
        let addresses: Vec<ConnectionAddr> =
            sentinels.iter().map(|info| info.addr().clone()).collect();
        let master = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new(addresses, name, master)?
            .set_client_to_redis_protocol(ProtocolVersion::RESP2)
            .set_client_to_redis_tcp_settings(tcp())
            .set_client_to_sentinel_tcp_settings(tcp());
        if let Some((user, password)) = &self.credentials {
            builder = builder
                .set_client_to_redis_username(user)
                .set_client_to_redis_password(password);
        }
        if let Some(database) = self.database {
            builder = builder.set_client_to_redis_db(database);
        }
        if sentinels.iter().any(uses_tls) {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
            #[cfg(feature = "redis-tls")]
            {
                choose_provider();
                builder = builder
                    .set_client_to_redis_certificates(self.certificates.clone())
                    .set_client_to_sentinel_certificates(self.certificates.clone());
            }
        }
        // All Sentinels have the same credentials.
        if let Some(settings) = sentinels.first().map(ConnectionInfo::redis_settings) {
            if let Some(user) = settings.username() {
                builder = builder.set_client_to_sentinel_username(user);
            }
            if let Some(password) = settings.password() {
                builder = builder.set_client_to_sentinel_password(password);
            }
        }
        Ok(builder)
    }
}

fn uses_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Makes ring the process's provider of cryptography, if it has none. The library panics otherwise.
#[cfg(feature = "redis-tls")]
fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread may have been faster.
        _ = rustls::crypto::ring::default_provider().install_default();
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}
