//! Every default that is a number or a duration, in one place, as the reference documents them.

use std::num::{NonZeroU16, NonZeroU32};

use super::process::AccessLogConfig;
use super::units::{Bytes, Percent, Period, Timeout};
use super::words::RetryOn;

/// `runtime.drain`.
pub const DRAIN: Period = Period::seconds(30);
/// `runtime.shrink_guard`.
pub const SHRINK_GUARD: Percent = Percent::new(50);
/// `upstream.servers.registry.max`.
pub const REGISTRY_MAX: NonZeroU32 = at_least_one(10_000);
/// The shortest time after which a name is looked up again.
pub const MIN_TTL: Timeout = Timeout::seconds(1);
/// The longest one.
pub const MAX_TTL: Timeout = Timeout::seconds(60);
/// `runtime.growth_guard`.
pub const GROWTH_GUARD: NonZeroU32 = at_least_one(10);
/// `runtime.guard_hold`.
pub const GUARD_HOLD: Period = Period::seconds(300);
/// `runtime.drain_delay`.
pub const DRAIN_DELAY: Period = Period::seconds(0);
/// `log.access`.
pub const ACCESS: AccessLogConfig = AccessLogConfig::Off;
/// `log.trace.sample`.
pub const TRACE_SAMPLE: Percent = Percent::new(1);
/// `redis.timeout`.
pub const REDIS_TIMEOUT: Timeout = Timeout::milliseconds(50);

/// `listen.limits.header_bytes`.
pub const HEADER_BYTES: Bytes = Bytes::kib(32);
/// `upstream.limits.response_header_bytes`.
pub const RESPONSE_HEADER_BYTES: Bytes = Bytes::kib(64);
/// `upstream.limits.response_headers`.
pub const RESPONSE_HEADERS: NonZeroU16 = at_least_one_16(256);
/// `auth.NAME.jwt.max_token`.
pub const MAX_TOKEN: Bytes = Bytes::kib(16);
/// `listen.limits.headers`.
pub const HEADERS: NonZeroU16 = at_least_one_16(100);
/// `listen.limits.body`.
pub const BODY: Bytes = Bytes::mib(64);
/// `listen.limits.streams`.
pub const STREAMS: NonZeroU16 = at_least_one_16(100);
/// `listen.timeout.tls`.
pub const TLS_HANDSHAKE: Timeout = Timeout::seconds(10);
/// `listen.timeout.headers`.
pub const CLIENT_HEADERS: Timeout = Timeout::seconds(10);
/// `listen.timeout.idle`.
pub const CLIENT_IDLE: Timeout = Timeout::seconds(75);
/// `listen.timeout.body_gap`.
pub const BODY_GAP: Timeout = Timeout::seconds(30);
/// `listen.timeout.write_gap`.
pub const WRITE_GAP: Timeout = Timeout::seconds(60);

/// `auth.jwt.leeway`.
pub const TOKEN_LEEWAY: Period = Period::seconds(60);

/// `upstream.timeout.connect`.
pub const CONNECT: Timeout = Timeout::seconds(2);
/// `upstream.timeout.send`.
pub const SEND: Timeout = Timeout::seconds(60);
/// `upstream.timeout.first_byte`.
pub const FIRST_BYTE: Timeout = Timeout::seconds(30);
/// `upstream.timeout.gap`.
pub const GAP: Timeout = Timeout::seconds(60);
/// `upstream.limits.idle`: idle connections kept per server.
pub const IDLE_CONNECTIONS: u32 = 256;
/// `upstream.timeout.kept`.
pub const KEPT: Timeout = Timeout::seconds(30);
/// `upstream.timeout.tunnel`.
pub const TUNNEL: Timeout = Timeout::seconds(3600);
/// `upstream.limits.pending_timeout`.
pub const PENDING_TIMEOUT: Timeout = Timeout::seconds(1);
/// `upstream.slow_start`.
pub const SLOW_START: Period = Period::seconds(10);

/// `upstream.retry.attempts`: tries after the first one.
pub const RETRY_ATTEMPTS: u32 = 1;
/// `upstream.retry.budget`: the share of requests that may be retries.
pub const RETRY_BUDGET: Percent = Percent::new(20);
/// Retries per second that are granted on top of the budget. Not a key.
pub const RETRY_FLOOR: u32 = 3;
/// `upstream.retry.body_buffer`.
pub const RETRY_BODY: Bytes = Bytes::kib(64);
/// `upstream.retry.backoff`.
pub const RETRY_BACKOFF: Period = Period::milliseconds(25);
/// `upstream.retry.on`.
pub const RETRY_ON: [RetryOn; 7] = [
    RetryOn::Connect,
    RetryOn::Reset,
    RetryOn::Timeout,
    RetryOn::Invalid,
    RetryOn::Status(502),
    RetryOn::Status(503),
    RetryOn::Status(504),
];

/// `upstream.health.every`.
pub const HEALTH_EVERY: Timeout = Timeout::seconds(5);
/// `upstream.health.timeout`.
pub const HEALTH_TIMEOUT: Timeout = Timeout::seconds(2);
/// `upstream.health.fall`.
pub const FALL: NonZeroU32 = at_least_one(3);
/// `upstream.health.rise`.
pub const RISE: NonZeroU32 = at_least_one(2);
/// `upstream.eject.failures`.
pub const EJECT_FAILURES: NonZeroU32 = at_least_one(5);
/// `upstream.eject.every`.
pub const EJECT_EVERY: Timeout = Timeout::seconds(10);
/// `upstream.eject.for`, times the number of ejections.
pub const EJECT_FOR: Timeout = Timeout::seconds(30);
/// The longest ejection. Not a key.
pub const EJECT_LONGEST: Timeout = Timeout::seconds(300);
/// `upstream.eject.at_most`.
pub const EJECT_AT_MOST: Percent = Percent::new(50);
/// `upstream.breaker.successes`.
pub const BREAKER_SUCCESSES: NonZeroU32 = at_least_one(2);
/// `upstream.breaker.open_for`.
pub const BREAKER_OPEN_FOR: Timeout = Timeout::seconds(30);
/// `upstream.breaker.window`.
pub const BREAKER_WINDOW: Timeout = Timeout::seconds(10);
/// `upstream.breaker.min_requests`.
pub const BREAKER_MIN_REQUESTS: NonZeroU32 = at_least_one(20);
/// `upstream.balance.ttl` of an affinity cookie.
pub const STICKY_TTL: Timeout = Timeout::seconds(3600);

/// `route.maintenance.retry_after`.
pub const MAINTENANCE_RETRY_AFTER: Timeout = Timeout::seconds(300);
/// `auth.realm`.
pub const REALM: &str = "tidegate";
/// `route.redirect.status`.
pub const REDIRECT_STATUS: u16 = 308;
/// `route.respond.status`.
pub const RESPOND_STATUS: u16 = 200;
/// `cache.memory`.
pub const CACHE_MEMORY: Bytes = Bytes::mib(256);
/// `cache.entries`.
pub const CACHE_ENTRIES: u64 = 10_000;
/// `cache.lock_timeout`.
pub const CACHE_LOCK_TIMEOUT: Timeout = Timeout::seconds(5);
/// `auth.forward.timeout`.
pub const FORWARD_AUTH_TIMEOUT: Timeout = Timeout::seconds(1);
/// `servers.weight`.
pub const WEIGHT: NonZeroU16 = NonZeroU16::MIN;

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

const fn at_least_one_16(number: u16) -> NonZeroU16 {
    match NonZeroU16::new(number) {
        Some(number) => number,
        None => NonZeroU16::MIN,
    }
}
