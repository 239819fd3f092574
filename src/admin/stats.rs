//! `/stats`: what is counted, as JSON.

mod edges;
mod upstreams;

use std::sync::atomic::Ordering::Relaxed;

use schemars::JsonSchema;
use serde::Serialize;

pub use self::edges::CertificateStats;
use self::edges::{
    ConnectionStats, LimitStats, ListenerStats, RouteStats, limit_stats, listener_stats,
    route_stats,
};
pub(super) use self::upstreams::{
    ServerStats, UpstreamStats, count_unresolved, held_servers, server_stats, upstream_stats,
};
use crate::admin::caches::{self, CacheStats};
use crate::clock;
use crate::net::{held, room, stalls};
use crate::server::status::{Reload, Status};
use crate::snapshot::Snapshot;
use crate::telemetry::history::History;
use crate::telemetry::process::Process;
use crate::telemetry::timeline::Usage;

/// The whole document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Stats {
    version: &'static str,
    uptime_seconds: u64,
    ready: bool,
    workers: usize,
    generation: u64,
    /// Requests read, those that were refused included.
    requests: u64,
    /// Requests that ended in a defect of the proxy.
    panics: u64,
    /// Client connections of all listeners.
    connections: ConnectionStats,
    request_memory: RequestMemory,
    process: Process,
    access_log: AccessLogStats,
    reloads: ReloadStats,
    /// The use of memory for `/history`.
    history: Usage,
    listeners: Vec<ListenerStats>,
    routes: Vec<RouteStats>,
    upstreams: Vec<UpstreamStats>,
    limits: Vec<LimitStats>,
    caches: Vec<CacheStats>,
    /// Null without `[redis]`.
    redis: Option<RedisStats>,
}

/// The memory that requests under way hold together.
#[derive(Debug, Serialize, JsonSchema)]
struct RequestMemory {
    /// Bytes.
    held: usize,
    limit: usize,
    /// The number of times that there was no room: for a request, or for its body to be remembered.
    refused: u64,
    /// The number of responses that were cut so that others had room, because their clients took
    /// nothing.
    reclaimed: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct RedisStats {
    /// The last call was answered.
    up: bool,
    /// Calls that failed.
    errors: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ReloadStats {
    accepted: u64,
    refused: u64,
    /// The reason why the last one was refused; null when it was not.
    last_error: Option<String>,
    /// The latest twenty, the newest last.
    latest: Vec<Reload>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct AccessLogStats {
    /// Lines that came faster than they could be written.
    dropped: u64,
    /// Lines that could not be written.
    lost: u64,
}

/// Exchanges by how they ended, in the words of the access log.
#[derive(Debug, Serialize, JsonSchema)]
struct OutcomeStats {
    /// The client was sent everything that there was to send.
    whole: u64,
    /// The client left before it had everything.
    client_gone: u64,
    /// The server ended its response in the middle of it.
    server_cut: u64,
    /// A deadline ended a response that had begun.
    timeout: u64,
    /// The proxy answered itself.
    refused: u64,
    /// The proxy ended a response in the middle of it.
    proxy_cut: u64,
}

/// Reads all counters. They are not read at one moment, so sums may be off by what happened
/// meanwhile.
#[must_use]
pub fn collect_stats(status: &Status, snapshot: &Snapshot, history: &History) -> Stats {
    let uptime = clock::wall().duration_since(status.started).unwrap_or_default();
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime.as_secs(),
        ready: status.ready.load(Relaxed),
        workers: status.workers,
        generation: snapshot.generation,
        requests: status.requests.load(Relaxed),
        panics: status.panics.load(Relaxed),
        connections: {
            let (open, limit) = room::open_and_allowed();
            ConnectionStats { open, limit }
        },
        request_memory: RequestMemory {
            held: held::bytes_taken(),
            limit: snapshot.request_memory,
            refused: held::times_refused(),
            reclaimed: stalls::times_cut(),
        },
        process: Process::read_process(),
        access_log: AccessLogStats {
            dropped: history.dropped_lines,
            lost: snapshot.access.as_ref().map_or(0, |access| access.sink.lost()),
        },
        reloads: ReloadStats {
            accepted: status.reloads.accepted.load(Relaxed),
            refused: status.reloads.refused.load(Relaxed),
            last_error: status.reloads.last_error.load().as_deref().cloned(),
            latest: Vec::clone(&status.reloads.latest.load()),
        },
        history: history.timeline.usage(),
        listeners: snapshot.listeners.iter().map(|l| listener_stats(l, history)).collect(),
        routes: snapshot.routes.iter().map(|r| route_stats(r, history)).collect(),
        upstreams: snapshot
            .upstreams
            .iter()
            .map(|u| upstream_stats(u, &status.registry, history))
            .collect(),
        limits: snapshot.limits().map(limit_stats).collect(),
        caches: snapshot.caches().map(caches::cache_stats).collect(),
        redis: snapshot
            .redis
            .as_ref()
            .map(|redis| RedisStats { up: !redis.is_down(), errors: redis.errors.load(Relaxed) }),
    }
}
