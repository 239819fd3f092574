//! Who answers: `[upstream.NAME]`.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;

use schemars::{Schema, SchemaGenerator};
use serde::Serialize;

use super::balance::{BalanceConfig, BalanceWord};
use super::defaults;
pub use super::discovery::Servers;
use super::forms::Switch;
use super::health::{BreakerConfig, Eject, Health};
use super::units::{Bytes, OrOff, Percent, Period, Timeout};
use super::words::{RetryOn, ServerAddress};
use crate::read::{Reader, Shape, TableReader, any_of, settings, table, words};
use crate::source::{Place, Spanned};
use crate::tree::{TreeNode, Value};

table! {
    /// A group of servers that answer the same requests.
    pub struct UpstreamConfig {
        [#[serde(skip)] place: Place]
        /// Its servers: an array of addresses or tables, or a table that says where to find them.
        servers: Servers,
        /// What is spoken to them.
        protocol: Protocol = Protocol::Http1,
        /// Each connection begins with a PROXY header that tells whose it is, and serves that
        /// client alone.
        proxy_protocol: Option<ProxyVersion> = None,
        /// TLS to the servers; `true` for TLS with defaults.
        tls: Switch<UpstreamTls> = Switch::Off,
        /// How a server is chosen.
        balance: BalanceConfig = BalanceConfig::Weighted(BalanceWord::LeastRequest),
        /// How long a joining or recovered server gets a growing share.
        slow_start: Period = defaults::SLOW_START,
        /// Active checks: a path, or a table.
        health: Option<Health> = None,
        /// Takes a failing server out of rotation; `false` turns it off.
        eject: Switch<Eject> = Switch::On(Eject::default()),
        /// Stops asking an upstream or server that keeps failing.
        breaker: Option<BreakerConfig> = None,
        /// Upper bounds; unset is no cap.
        limits: UpstreamLimits = UpstreamLimits::default(),
        /// How long is waited for a server.
        timeout: UpstreamTimeout = UpstreamTimeout::default(),
        /// When a request is tried again.
        retry: RetryConfig = RetryConfig::default(),
        /// The upstream to use when this one has no usable server, or its retries are used up.
        fallback: Option<Spanned<String>> = None,
        /// With nothing healthy: true tries all of them, false answers 503 at once.
        fail_open: bool = true,
    }
}

/// One server. The short form is its address alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ServerConfig(ServerTable);

impl std::ops::Deref for ServerConfig {
    type Target = ServerTable;

    fn deref(&self) -> &ServerTable {
        &self.0
    }
}

table! {
    /// One server in its long form.
    pub struct ServerTable {
        [#[serde(skip)] place: Place]
        /// Where it answers: `HOST:PORT`, `IP:PORT`, `[IPV6]:PORT` or `unix:/PATH`.
        address: Spanned<ServerAddress>,
        /// Its share of requests relative to the other servers, 1 to 65535.
        weight: NonZeroU16 = defaults::WEIGHT,
        /// Words for `subset` of a route.
        labels: BTreeMap<Spanned<String>, String> = BTreeMap::new(),
        /// The zone it is in.
        zone: Option<String> = None,
        /// Servers of the lowest number are used while there are enough of them.
        priority: u16 = 0,
        /// A name for ranges, the admin API and metrics. Default: the address.
        name: Option<Spanned<String>> = None,
    }
}

impl ServerConfig {
    /// Gives it another weight.
    pub fn weigh(&mut self, weight: NonZeroU16) {
        self.0.weight = weight;
    }

    /// What the server is called: its name, or its address.
    #[must_use]
    pub fn id(&self) -> String {
        self.name.as_ref().map_or_else(|| self.address.to_string(), |name| name.value.clone())
    }
}

impl Shape for ServerConfig {
    fn read_node(node: &TreeNode, reader: &mut Reader) -> Option<Self> {
        if let Value::String(_) = node.value {
            let address = <Spanned<ServerAddress>>::read_node(node, reader)?;
            return Some(Self(ServerTable {
                place: node.place,
                address,
                weight: defaults::WEIGHT,
                labels: BTreeMap::new(),
                zone: None,
                priority: 0,
                name: None,
            }));
        }
        if let Value::Integer(port) = node.value {
            let help = format!("write \"127.0.0.1:{port}\"");
            return reader.bad(node, "a server is an address, not a number".into(), Some(help));
        }
        let table = TableReader::of(node, reader)?;
        ServerTable::read_table(&table, reader).map(Self)
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        any_of([
            <ServerAddress as Shape>::json_schema(generator),
            ServerTable::json_schema(generator),
        ])
    }
}

words! {
    /// The form of a PROXY header.
    pub enum ProxyVersion ("a version of the PROXY protocol") {
        /// A line of text.
        V1 = "v1",
        /// Binary, with the extensions that came with the client's.
        V2 = "v2",
    }
}

words! {
    /// What is spoken to servers.
    pub enum Protocol ("a protocol") {
        /// HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2 without TLS, by prior knowledge.
        H2c = "h2c",
        /// What ALPN agrees on; needs `tls`.
        Auto = "auto",
    }
}

settings! {
    /// TLS to servers.
    pub struct UpstreamTls {
        /// Verifies certificates. Turning it off makes TLS worthless against an active attacker.
        verify: bool = true,
        /// PEM file with authorities. Default: those of the system.
        ca: Option<PathBuf> = None,
        /// The name to ask for and to verify. Default: the host of the address.
        server_name: Option<Spanned<String>> = None,
        /// PEM file with a client certificate.
        cert: Option<PathBuf> = None,
        /// PEM file with its private key.
        key: Option<PathBuf> = None,
    }
}

settings! {
    /// Upper bounds of an upstream. All count per server except `pending`. Unset is no cap.
    pub struct UpstreamLimits {
        /// Open connections. With HTTP/2 each worker needs one of its own, for up to 100 requests
        /// at a time.
        connections: Option<NonZeroU32> = None,
        /// Requests that wait for a connection or a slot; one queue for the upstream.
        pending: Option<u32> = None,
        /// How long a request waits in the queue.
        pending_timeout: Timeout = defaults::PENDING_TIMEOUT,
        /// Requests at a time.
        requests: Option<NonZeroU32> = None,
        /// Requests after which a connection is closed.
        requests_per_connection: Option<NonZeroU32> = None,
        /// Idle connections that are kept.
        idle: u32 = defaults::IDLE_CONNECTIONS,
        /// The head of a response, status line included, from "1KiB" to "16MiB".
        response_header_bytes: Spanned<Bytes> = defaults::RESPONSE_HEADER_BYTES.into(),
        /// Fields in the head of a response, at most 1000.
        response_headers: Spanned<NonZeroU16> = defaults::RESPONSE_HEADERS.into(),
    }
}

settings! {
    /// How long is waited for a server.
    pub struct UpstreamTimeout {
        /// For a connection.
        connect: Timeout = defaults::CONNECT,
        /// Between two signs that the server takes the request: a successful write, or bytes of
        /// earlier ones that its system has acknowledged.
        send: Timeout = defaults::SEND,
        /// From the end of the request to the head of the response; from anew as long as the
        /// server's system goes on acknowledging a body that was written, 64 times at most.
        first_byte: Timeout = defaults::FIRST_BYTE,
        /// Between two pieces of a response body; "off" where a stream may be silent for ever.
        gap: OrOff<Timeout> = OrOff::At(defaults::GAP),
        /// For the whole exchange, retries included.
        total: OrOff<Timeout> = OrOff::Off,
        /// For anything to come through a tunnel, such as a WebSocket, from either side.
        tunnel: OrOff<Timeout> = OrOff::At(defaults::TUNNEL),
        /// How long a connection without requests is kept; less if its server says so.
        kept: Timeout = defaults::KEPT,
    }
}

settings! {
    /// Overrides of an upstream's timeouts for one route.
    pub struct RouteTimeout {
        /// For a connection.
        connect: Option<Timeout> = None,
        /// Between two signs that the server takes the request: a successful write, or bytes of
        /// earlier ones that its system has acknowledged.
        send: Option<Timeout> = None,
        /// From the end of the request to the head of the response; from anew as long as the
        /// server's system goes on acknowledging a body that was written, 64 times at most.
        first_byte: Option<Timeout> = None,
        /// Between two pieces of a response body; "off" where a stream may be silent for ever.
        gap: Option<OrOff<Timeout>> = None,
        /// For the whole exchange, retries included.
        total: Option<OrOff<Timeout>> = None,
        /// For anything to come through a tunnel, such as a WebSocket, from either side.
        tunnel: Option<OrOff<Timeout>> = None,
    }
}

settings! {
    /// When a request is tried again.
    pub struct RetryConfig {
        /// Tries after the first one.
        attempts: u32 = defaults::RETRY_ATTEMPTS,
        /// What is worth another try, within what the method allows.
        on: Vec<RetryOn> = defaults::RETRY_ON.to_vec(),
        /// The share of requests that may be retries.
        budget: Percent = defaults::RETRY_BUDGET,
        /// How long one try may take. Default: the other timeouts alone.
        per_try: Option<Timeout> = None,
        /// Bytes of a request body that are kept for another try.
        body_buffer: Bytes = defaults::RETRY_BODY,
        /// The pause before the first retry; it doubles with each one.
        backoff: Period = defaults::RETRY_BACKOFF,
    }
}

settings! {
    /// Overrides of an upstream's retries for one route.
    pub struct RouteRetry {
        /// Tries after the first one.
        attempts: Option<u32> = None,
        /// What is worth another try, within what the method allows.
        on: Option<Vec<RetryOn>> = None,
        /// The share of requests that may be retries.
        budget: Option<Percent> = None,
        /// How long one try may take.
        per_try: Option<Timeout> = None,
        /// Bytes of a request body that are kept for another try.
        body_buffer: Option<Bytes> = None,
        /// The pause before the first retry; it doubles with each one.
        backoff: Option<Period> = None,
    }
}

impl UpstreamTimeout {
    /// These timeouts with what a route says otherwise.
    #[must_use]
    pub fn overridden(&self, route: Option<&RouteTimeout>) -> Self {
        let Some(route) = route else { return self.clone() };
        Self {
            connect: route.connect.unwrap_or(self.connect),
            send: route.send.unwrap_or(self.send),
            first_byte: route.first_byte.unwrap_or(self.first_byte),
            gap: route.gap.unwrap_or(self.gap),
            total: route.total.unwrap_or(self.total),
            tunnel: route.tunnel.unwrap_or(self.tunnel),
            kept: self.kept,
        }
    }
}

impl RetryConfig {
    /// These retries with what a route says otherwise.
    #[must_use]
    pub fn overridden(&self, route: Option<&RouteRetry>) -> Self {
        let Some(route) = route else { return self.clone() };
        Self {
            attempts: route.attempts.unwrap_or(self.attempts),
            on: route.on.clone().unwrap_or_else(|| self.on.clone()),
            budget: route.budget.unwrap_or(self.budget),
            per_try: route.per_try.or(self.per_try),
            body_buffer: route.body_buffer.unwrap_or(self.body_buffer),
            backoff: route.backoff.unwrap_or(self.backoff),
        }
    }
}
