//! A listener's settings as the data path needs them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ipnet::IpNet;

use crate::exchange::identity::ClientField;
use crate::exchange::target::PathMode;
use crate::h1::client::{HeadTimes, Life};
use crate::net::room::Room;
use crate::policy::in_flight::InFlight;
use crate::tls::TlsServer;
use crate::tls::facts::Misdirected;
use crate::wire::request::Limits;

/// The counters of a listener; they survive reloads.
#[derive(Debug, Default)]
pub struct ListenerCounts {
    /// Connections open now, and how many may be.
    pub room: Arc<Room>,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections told that too many are open, and that none of them is idle.
    pub refused: AtomicU64,
    /// Connections told that their client has too many.
    pub refused_per_client: AtomicU64,
    /// The number of times that none could be accepted, because the process or the system had no
    /// descriptors left.
    pub starved: AtomicU64,
    /// Connections closed because of their PROXY header, or for want of one.
    pub proxy_headers_refused: AtomicU64,
    /// HTTP/2 connections ended because of a flood of frames.
    pub http2_floods: AtomicU64,
    /// TLS handshakes that ended well,
    pub handshakes: AtomicU64,
    /// that did not,
    pub handshakes_failed: AtomicU64,
    /// and that were not begun, because too many were under way.
    pub handshakes_refused: AtomicU64,
    /// TLS handshakes refused because a revocation list names the certificate,
    pub revoked: AtomicU64,
    /// and because no list that counts says whether it does.
    pub revocation_unknown: AtomicU64,
}

/// The methods that a listener lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Methods {
    /// `TRACE` is refused, as `CONNECT` always is.
    pub refuse_trace: bool,
    /// Every token is a method; otherwise only what looks like one that somebody has defined.
    pub any: bool,
}

/// The cap on the connections of one client.
#[derive(Debug)]
pub struct PerClient {
    /// So many.
    pub most: u32,
    /// The connections there are; they survive reloads.
    pub state: Arc<InFlight>,
}

/// One `[[listen]]`.
#[derive(Debug)]
pub struct Listener {
    /// Unique among the listeners of the process for as long as its name stays in the
    /// configuration.
    pub id: u16,
    /// The counters of the listener.
    pub counts: Arc<ListenerCounts>,
    /// As configured, or its first address.
    pub name: Arc<str>,
    /// Trusted proxies tell by the PROXY protocol who their clients are.
    pub proxy_protocol: bool,
    /// The proof of who it is; `None` speaks plainly.
    pub tls: Option<Arc<TlsServer>>,
    /// The longest time for a TLS handshake.
    pub handshake: Duration,
    /// Limits on request heads.
    pub head: Limits,
    /// The most bytes of a request body.
    pub body: u64,
    /// Streams of an HTTP/2 connection at a time.
    pub streams: u16,
    /// Deadlines while a head is read.
    pub times: HeadTimes,
    /// Between two parts of a request body.
    pub body_gap: Option<Duration>,
    /// Between two movements of a client that takes a response.
    pub write_gap: Option<Duration>,
    /// The networks whose word about their clients counts.
    pub trusted: Box<[IpNet]>,
    /// By which field they name them.
    pub client_field: ClientField,
    /// The word of those behind its Unix sockets counts too.
    pub trusts_unix: bool,
    /// Everything is redirected to https.
    pub redirect_https: bool,
    /// The rule for methods that are refused.
    pub methods: Methods,
    /// The rule for requests for other hosts than that of their TLS connection.
    pub sni: Misdirected,
    /// The treatment of paths that are not in normal form.
    pub path: PathMode,
    /// Open connections, over all workers.
    pub connections: u32,
    /// The cap on the connections of one client; `None` is no cap.
    pub per_client: Option<PerClient>,
    /// The life of a connection with which nothing is wrong.
    pub life: Life,
}

impl Listener {
    /// Returns whether the other end of a connection may speak for its clients.
    #[must_use]
    pub fn trusts(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|network| network.contains(&ip))
    }
}
