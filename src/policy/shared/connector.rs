//! How a Redis is reached: its addresses, what it is told first, and TLS.
//!
//! Sockets and TLS are this proxy's own, so that a Redis is trusted by the same rules as a server
//! is, and every wait has its end; what goes over them is the `redis` crate's.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{AsyncConnectionConfig, ConnectionAddr, Pipeline, RedisConnectionInfo, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::all_values;
use super::bounded::{AnswerGate, BoundedStream};
use super::url_fault::find_url_fault;
use crate::tls::client::{AlpnOffer, OutgoingTls};

/// The time in which a connection must be there: name, TCP, TLS and greeting.
const CONNECT: Duration = Duration::from_secs(1);
/// The time for one Sentinel to say who is the primary.
const SENTINEL: Duration = Duration::from_millis(500);
/// The time after which a call that nobody waits for any more is forgotten.
const FORGET: Duration = Duration::from_secs(2);
/// The longest name of a host that a Redis may tell (RFC 1035 §2.3.4).
const HOST_BYTES: usize = 255;

/// The address of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeAddress {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
    /// Wherever the Sentinels say that the primary is.
    Primary,
}

impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Primary => f.write_str("the primary"),
        }
    }
}

/// A URL of `[redis]`, taken apart.
#[derive(Clone)]
pub(super) struct RedisUrl {
    pub address: NodeAddress,
    pub tls: bool,
    pub login: RedisConnectionInfo,
}

impl RedisUrl {
    /// Reads a URL, or `HOST:PORT` for a server without password and TLS.
    ///
    /// # Errors
    /// It is none; the message does not contain it, and with it a password.
    pub(super) fn parse_url(url: &str) -> Result<Self, String> {
        let secure = ["rediss://", "valkeys://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let plain = match secure {
            Some(rest) => format!("redis://{rest}"),
            None if !url.contains("://") && !url.starts_with("unix:") => format!("redis://{url}"),
            None => url.to_owned(),
        };
        let fault = || find_url_fault(url).to_owned();
        if plain.contains('#') {
            return Err(fault());
        }
        // What the error itself says may repeat the URL.
        let client = redis::Client::open(&*plain).map_err(|_| fault())?;
        let info = client.get_connection_info();
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => NodeAddress::Tcp(host.clone(), *port),
            ConnectionAddr::Unix(path) => NodeAddress::Unix(path.clone()),
            _ => return Err("this kind of address is not known".to_owned()),
        };
        Ok(Self { address, tls: secure.is_some(), login: info.redis_settings().clone() })
    }
}

/// The Sentinels and the name by which they know the primary.
pub(super) struct Sentinels {
    pub master: String,
    pub nodes: Vec<RedisUrl>,
}

/// What all servers of a Redis have in common.
pub(super) struct RedisConnector {
    /// What a server is told first: user, password, database.
    pub login: RedisConnectionInfo,
    /// None where TLS is not spoken.
    pub tls: Option<Arc<OutgoingTls>>,
    pub sentinels: Option<Sentinels>,
}

/// No connection; a certificate is the reason when that has a key of its own.
#[derive(Debug, Clone)]
pub(super) struct ConnectError {
    pub error: String,
    pub key: &'static str,
}

impl From<String> for ConnectError {
    fn from(error: String) -> Self {
        Self { error, key: "redis" }
    }
}

/// A connection to a server, for any number of calls at a time. It ends with the last who holds it:
/// whatever is still sent over it is nobody's any more.
#[derive(Clone)]
pub(super) struct RedisLink {
    pub calls: MultiplexedConnection,
    /// How much may come over it.
    pub gate: Arc<AnswerGate>,
    _driver: Arc<LinkDriver>,
}

/// The task that reads and writes for a connection.
struct LinkDriver(AbortHandle);

impl Drop for LinkDriver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Returns whether a host that a server has named can be one, and may stand in a log line.
pub(super) fn is_host(text: &str) -> bool {
    (1..=HOST_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl RedisConnector {
    /// Connects to a server.
    ///
    /// # Errors
    /// What went wrong, in words that contain no password.
    pub(super) async fn connect_to(
        &self,
        address: &NodeAddress,
    ) -> Result<RedisLink, ConnectError> {
        if matches!(address, NodeAddress::Primary) {
            return self.connect_primary().await;
        }
        self.open_connection(address, &self.login).await
    }

    /// Asks the Sentinels one after the other, as their guidelines for clients have it: the first
    /// one that answers and whose primary says that it is one.
    async fn connect_primary(&self) -> Result<RedisLink, ConnectError> {
        let mut last = ConnectError::from("there is no Sentinel".to_owned());
        let Some(Sentinels { master, nodes }) = &self.sentinels else { return Err(last) };
        for sentinel in nodes {
            let asked = timeout(SENTINEL, self.ask_sentinel(sentinel, master)).await;
            let primary = match asked {
                Ok(Ok(primary)) => primary,
                Ok(Err(error)) => {
                    last = error;
                    continue;
                }
                Err(_) => {
                    last = format!("Sentinel {}: no answer within {SENTINEL:?}", sentinel.address)
                        .into();
                    continue;
                }
            };
            match self.open_connection(&primary, &self.login).await {
                Ok(connection) => match is_primary(connection, &primary).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = error.into(),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(
        &self,
        sentinel: &RedisUrl,
        master: &str,
    ) -> Result<NodeAddress, ConnectError> {
        let said =
            |error: String| ConnectError::from(format!("Sentinel {}: {error}", sentinel.address));
        let mut connection = self.open_connection(&sentinel.address, &sentinel.login).await?;
        let mut call = Pipeline::new();
        call.cmd("SENTINEL").arg("get-master-addr-by-name").arg(master);
        let answer = connection.calls.req_packed_commands(&call, 0, 1).await;
        let answer = answer.and_then(all_values).map_err(|error| said(error.to_string()))?;
        let known: (Option<(String, u16)>,) = redis::from_redis_value(Value::Array(answer))
            .map_err(|error| said(error.to_string()))?;
        let (host, port) =
            known.0.ok_or_else(|| said(format!("it knows no master \"{master}\"")))?;
        if !is_host(&host) {
            return Err(said("the primary that it names has no name of a host".to_owned()));
        }
        Ok(NodeAddress::Tcp(host, port))
    }

    async fn open_connection(
        &self,
        address: &NodeAddress,
        login: &RedisConnectionInfo,
    ) -> Result<RedisLink, ConnectError> {
        let opened = timeout(CONNECT, self.open_in_time(address, login)).await;
        opened
            .unwrap_or_else(|_| Err(format!("{address}: no connection within {CONNECT:?}").into()))
    }

    async fn open_in_time(
        &self,
        address: &NodeAddress,
        login: &RedisConnectionInfo,
    ) -> Result<RedisLink, ConnectError> {
        let said = |error: &dyn fmt::Display| ConnectError::from(format!("{address}: {error}"));
        let (host, port) = match address {
            NodeAddress::Tcp(host, port) => (host, *port),
            NodeAddress::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| said(&error))?;
                return log_in(stream, login).await.map_err(|error| said(&error));
            }
            NodeAddress::Primary => return Err(said(&"its address is not known")),
        };
        let stream = TcpStream::connect((&**host, port)).await.map_err(|error| said(&error))?;
        stream.set_nodelay(true).map_err(|error| said(&error))?;
        let Some(tls) = &self.tls else {
            return log_in(stream, login).await.map_err(|error| said(&error));
        };
        let name = match host.parse::<IpAddr>() {
            Ok(ip) => ServerName::IpAddress(ip.into()),
            Err(_) => ServerName::try_from(host.clone()).map_err(|error| said(&error))?,
        };
        let stream =
            tls.secure_connection(stream, name, AlpnOffer::Nothing).await.map_err(|error| {
                let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
                let certificate = matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
                let key = if certificate { "redis.ca" } else { "redis" };
                ConnectError { key, ..said(&error) }
            })?;
        log_in(stream, login).await.map_err(|error| said(&error))
    }
}

/// Logs in on a fresh connection and lets it run.
async fn log_in<S>(stream: S, login: &RedisConnectionInfo) -> redis::RedisResult<RedisLink>
where
    S: Unpin + AsyncRead + AsyncWrite + Send + 'static,
{
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(FORGET));
    let gate = Arc::<AnswerGate>::default();
    let stream = BoundedStream::new(stream, gate.clone());
    let (calls, driver) = MultiplexedConnection::new_with_config(login, stream, config).await?;
    let driver = Arc::new(LinkDriver(tokio::spawn(driver).abort_handle()));
    Ok(RedisLink { calls, gate, _driver: driver })
}

/// Returns the connection if its server says that it is the primary: a Sentinel may not yet know
/// better.
async fn is_primary(mut connection: RedisLink, address: &NodeAddress) -> Result<RedisLink, String> {
    let mut call = Pipeline::new();
    call.cmd("ROLE");
    let asked = timeout(CONNECT, connection.calls.req_packed_commands(&call, 0, 1)).await;
    let answer = asked.map_err(|_| format!("{address}: no answer within {CONNECT:?}"))?;
    let answer = answer.and_then(all_values).map_err(|error| format!("{address}: {error}"))?;
    let role = match answer.first() {
        Some(Value::Array(role)) => role.first(),
        _ => None,
    };
    match role {
        Some(Value::BulkString(role)) if role == b"master" => Ok(connection),
        _ => Err(format!("{address}: it is not the primary, as Sentinel said")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_all_their_forms() {
        for (url, address, tls) in [
            ("redis://127.0.0.1", "127.0.0.1:6379", false),
            ("rediss://:secret@cache.test:6380/2", "cache.test:6380", true),
            ("redis://[::1]:7000", "[::1]:7000", false),
            ("sentinel.test:26379", "sentinel.test:26379", false),
            ("unix:/run/redis.sock", "unix:/run/redis.sock", false),
        ] {
            let target = RedisUrl::parse_url(url).unwrap();
            assert_eq!(
                (target.address.to_string(), target.tls),
                (address.to_owned(), tls),
                "{url}"
            );
        }
        let login = RedisUrl::parse_url("rediss://anna:secret@cache.test/2").unwrap().login;
        assert_eq!(
            (login.username(), login.password(), login.db()),
            (Some("anna"), Some("secret"), 2)
        );
    }

    #[test]
    fn a_wrong_url_is_not_repeated() {
        for url in [
            "http://:secret@x",
            "redis://:secret@x:99999999",
            "rediss://:secret@x:y",
            "rediss://:secret@x/#insecure",
            ":secret@",
        ] {
            let Err(error) = RedisUrl::parse_url(url) else { panic!("{url}") };
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
