//! A named group of servers: which of them gets a request, and what happens when that fails.

pub mod affinity;
pub mod attempt_summary;
pub mod check;
pub mod choose;
pub mod connection;
pub mod copy;
pub mod detached;
pub mod exchange_io;
pub mod forward;
pub mod membership;
pub mod mirror;
pub mod mirror_buffer;
pub mod outlier;
pub mod pool;
pub mod request;
pub mod request_body;
pub mod requester;
pub mod response;
pub mod retry;
pub mod sticky;
pub mod try_once;
pub mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;

use crate::balance::BalanceRules;
use crate::endpoint::breaker::{self, Breaker};
use crate::endpoint::ejection;
use crate::net::Announce;
use crate::tls::client::AlpnOffer;
use crate::wire::response::HeadLimits;

pub use crate::endpoint::origin::Origin;
pub use crate::exchange::Queue;
pub use check::Check;
pub use membership::{Arrangement, Membership, TargetMembers};
pub use pool::Pool;
pub use retry::Retry;

/// One compiled upstream.
#[derive(Debug)]
pub struct Upstream {
    /// As configured.
    pub name: Arc<str>,
    /// The settings that hold for all servers, whoever they are.
    pub arrangement: Arrangement,
    /// The word for where its servers come from.
    pub source: &'static str,
    /// The servers it has now.
    pub current: membership::CurrentMembers,
    /// The rules that keep a server from being chosen.
    pub rules: BalanceRules,
    /// Bounds beside the one in `rules`.
    pub limits: PoolLimits,
    /// Whether responses are timed, which some strategies need.
    pub timed: bool,
    /// The rules by which failing servers are left out.
    pub eject: Option<ejection::EjectionSettings>,
    /// The rules by which failing servers are left alone.
    pub breaker: Option<Breaking>,
    /// With nothing healthy, all servers are tried.
    pub fail_open: bool,
    /// The share of the traffic that may be retries; shared by the routes that set no budget of
    /// their own.
    pub budget: Arc<retry::Budget>,
    /// The protocols that are offered to its servers.
    pub offer: AlpnOffer,
    /// The form in which its servers are told whose a connection is, if they are.
    pub announce: Option<Announce>,
    /// The state that outlives this configuration.
    pub state: Arc<UpstreamState>,
}

/// A circuit breaker's settings and reach.
#[derive(Debug, Clone, Copy)]
pub struct Breaking {
    /// The rules for opening and closing.
    pub settings: breaker::BreakerSettings,
    /// True if each server has one, instead of one for all.
    pub per_server: bool,
}

/// Bounds of an upstream.
#[derive(Debug, Clone, Copy)]
pub struct PoolLimits {
    /// Idle connections kept per server.
    pub idle: usize,
    /// The time for which a connection without requests is kept.
    pub kept: Duration,
    /// Requests after which a connection is not used again.
    pub requests_per_connection: u32,
    /// Open connections per server.
    pub connections: u32,
    /// The limits of the head of a response.
    pub response_head: HeadLimits,
    /// Requests that may wait for a server.
    pub pending: u32,
    /// The longest time that they may wait.
    pub pending_timeout: Duration,
}

/// The history of an upstream. One per name in the process; it survives reloads.
#[derive(Debug, Default)]
pub struct UpstreamState {
    /// Requests that wait for a server.
    pub queue: Queue,
    /// Servers that are left out.
    pub ejections: ejection::EjectionGroup,
    /// The beginning of the current interval of the ejections, in milliseconds.
    pub interval: AtomicU64,
    /// The breaker of the whole upstream.
    pub breaker: Breaker,
    /// True if the last choice went to a server that is not healthy, for want of any.
    pub failing_open: AtomicBool,
    /// Choices of that kind.
    pub failed_open: AtomicU64,
    /// Attempts beyond the first.
    pub retries: AtomicU64,
    /// Requests that were sent once more, by the reason, in the order of [`retry::REASONS`].
    pub retried: [AtomicU64; retry::REASONS.len()],
    /// Retries that the budget did not allow.
    pub over_budget: AtomicU64,
    /// Requests handed to the fallback.
    pub fallbacks: AtomicU64,
    /// The number of times that the name of a server came to lead elsewhere.
    pub moves: AtomicU64,
    /// Servers that wait because their source has too many at once.
    pub waiting: AtomicUsize,
    /// The source of its servers as it is now; `None` while they are written in the configuration.
    pub supply: ArcSwapOption<Supply>,
}

/// The state of the source that an upstream's servers come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Supply {
    /// The fault of it, or of some of what it says.
    pub fault: Option<Arc<str>>,
    /// The time for which it says that what it told may be believed.
    pub ttl: Option<Duration>,
    /// The moment at which it last named other servers, or said something else of them.
    pub since: Option<SystemTime>,
}

/// An upstream as one route uses it.
#[derive(Debug)]
pub struct UpstreamTarget {
    /// The upstream that answers.
    pub upstream: Arc<Upstream>,
    /// The choice among its servers: 0 for all, or the place of the route's `subset` in the
    /// membership.
    pub view: usize,
    /// The part of a request that it is hashed or looked up by.
    pub key: Option<KeySource>,
    /// The upstream's deadlines with the route's overrides.
    pub timeouts: Timeouts,
    /// The upstream's retries with the route's overrides.
    pub retry: Retry,
    /// The target that answers when this one cannot.
    pub fallback: Option<Box<UpstreamTarget>>,
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Path and query.
    Uri,
    /// The path.
    Path,
    /// The client's address.
    ClientIp,
    /// The first header field of this name.
    Header(Box<[u8]>),
    /// A cookie.
    Cookie(Box<[u8]>),
    /// A query parameter.
    Query(Box<[u8]>),
    /// A captured segment of the path, by its place in the pattern.
    Capture(usize),
}

/// The deadlines towards servers. `None` is "off".
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the connection is open.
    pub connect: Option<Duration>,
    /// Between two movements of the server while a request is written.
    pub send: Option<Duration>,
    /// From the end of the request, as the server's system has acknowledged it, to the end of the
    /// response head.
    pub first_byte: Option<Duration>,
    /// Between two parts of a response body.
    pub gap: Option<Duration>,
    /// The whole exchange.
    pub total: Option<Duration>,
    /// Between two parts of what goes through a tunnel.
    pub tunnel: Option<Duration>,
}
