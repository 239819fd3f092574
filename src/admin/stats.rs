//! `/stats`: what is counted, as JSON.

use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use serde::Serialize;

use crate::balance::Member;
use crate::clock;
use crate::endpoint::breaker::{Breaker, State};
use crate::endpoint::standing::{self, Bits};
use crate::server::status::Status;
use crate::snapshot::Route;
use crate::upstream::Upstream;

/// The whole document.
#[derive(Debug, Serialize)]
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
    reloads: ReloadStats,
    listeners: Vec<ListenerStats>,
    routes: Vec<RouteStats>,
    upstreams: Vec<UpstreamStats>,
}

#[derive(Debug, Serialize)]
struct ReloadStats {
    accepted: u64,
    refused: u64,
    /// Why the last one was refused; null when it was not.
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct ListenerStats {
    name: String,
    connections: u32,
    accepted: u64,
    refused: u64,
    connection_limit: u32,
}

#[derive(Debug, Serialize)]
struct RouteStats {
    name: String,
    requests: u64,
    in_flight: u64,
    responses: Responses,
}

#[derive(Debug, Serialize)]
struct Responses {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirect: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct UpstreamStats {
    name: String,
    /// Requests go to servers that are not healthy, for want of any.
    fail_open: bool,
    retries: u64,
    retries_over_budget: u64,
    fallbacks: u64,
    ejected: u32,
    queue: QueueStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerStats>,
    servers: Vec<ServerStats>,
}

#[derive(Debug, Serialize)]
struct QueueStats {
    depth: u32,
    limit: Option<u32>,
    queued: u64,
    full: u64,
    timeouts: u64,
}

#[derive(Debug, Serialize)]
struct BreakerStats {
    state: &'static str,
    opened: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct ServerStats {
    name: String,
    /// "up", or why it gets no requests.
    state: &'static str,
    /// It is coming back and gets a growing share.
    slow_start: bool,
    weight: u32,
    connections: u32,
    ejections: u64,
    checks_passed: u64,
    checks_failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerStats>,
    requests: u64,
    in_flight: u32,
    failures: u64,
    connects: u64,
}

/// Reads all counters. They are not read at one moment, so sums may be off by what happened meanwhile.
#[must_use]
pub fn collect(status: &Status) -> Stats {
    let snapshot = status.store.load();
    let uptime = SystemTime::now().duration_since(status.started).unwrap_or_default();
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime.as_secs(),
        ready: status.ready.load(Relaxed),
        workers: status.workers,
        generation: snapshot.generation,
        requests: status.requests.load(Relaxed),
        panics: status.panics.load(Relaxed),
        reloads: ReloadStats {
            accepted: status.reloads.accepted.load(Relaxed),
            refused: status.reloads.refused.load(Relaxed),
            last_error: status.reloads.last_error.load().as_deref().cloned(),
        },
        listeners: snapshot
            .listeners
            .iter()
            .map(|settings| ListenerStats {
                name: settings.name.to_string(),
                connections: settings.counts.open.load(Relaxed),
                accepted: settings.counts.accepted.load(Relaxed),
                refused: settings.counts.refused.load(Relaxed),
                connection_limit: settings.connections,
            })
            .collect(),
        routes: snapshot.routes.iter().map(|r| route(r)).collect(),
        upstreams: snapshot.upstreams.iter().map(|u| upstream(u)).collect(),
    }
}

fn route(route: &Route) -> RouteStats {
    let [informational, success, redirect, client_error, server_error] =
        route.counts.classes.each_ref().map(|class| class.load(Relaxed));
    RouteStats {
        name: route.name.to_string(),
        requests: route.counts.requests.load(Relaxed),
        in_flight: route.counts.in_flight.load(Relaxed),
        responses: Responses { informational, success, redirect, client_error, server_error },
    }
}

/// One upstream.
pub(super) fn upstream(upstream: &Upstream) -> UpstreamStats {
    let state = &upstream.state;
    UpstreamStats {
        name: upstream.name.to_string(),
        fail_open: state.failing_open.load(Relaxed),
        retries: state.retries.load(Relaxed),
        retries_over_budget: state.over_budget.load(Relaxed),
        fallbacks: state.fallbacks.load(Relaxed),
        ejected: state.ejections.ejected(),
        queue: QueueStats {
            depth: state.queue.depth(),
            limit: Some(upstream.limits.pending).filter(|limit| *limit != u32::MAX),
            queued: state.queue.queued.load(Relaxed),
            full: state.queue.overflowed.load(Relaxed),
            timeouts: state.queue.timed_out.load(Relaxed),
        },
        breaker: breaks(upstream, false).then(|| breaker(&state.breaker)),
        servers: upstream.pool.members().iter().map(|m| member(upstream, m)).collect(),
    }
}

fn breaker(breaker: &Breaker) -> BreakerStats {
    let state = match breaker.state(clock::now()) {
        State::Closed => "closed",
        State::HalfOpen => "half_open",
        State::Open => "open",
    };
    BreakerStats { state, opened: breaker.opened(), refused: breaker.refused() }
}

/// The weightiest reason why a server gets no requests.
fn standing_word(bits: Bits) -> &'static str {
    let reasons = [
        (standing::DISABLED, "disabled"),
        (standing::DRAINING, "draining"),
        (standing::UNHEALTHY, "unhealthy"),
        (standing::UNCHECKED, "unchecked"),
        (standing::EJECTED, "ejected"),
    ];
    reasons.iter().find(|(reason, _)| bits.any(*reason)).map_or("up", |(_, word)| word)
}

fn breaks(upstream: &Upstream, per_server: bool) -> bool {
    upstream.breaker.is_some_and(|b| b.per_server == per_server)
}

/// One server.
pub(super) fn member(upstream: &Upstream, member: &Member) -> ServerStats {
    let bits = member.endpoint.standing.bits();
    let endpoint = &member.endpoint;
    ServerStats {
        name: endpoint.name.to_string(),
        state: standing_word(bits),
        slow_start: bits.ramping(),
        weight: member.weight,
        connections: endpoint.open.count(),
        ejections: endpoint.record.ejections(),
        checks_passed: endpoint.checks_passed.load(Relaxed),
        checks_failed: endpoint.checks_failed.load(Relaxed),
        breaker: breaks(upstream, true).then(|| breaker(&endpoint.breaker)),
        requests: endpoint.requests.load(Relaxed),
        in_flight: endpoint.in_flight(),
        failures: endpoint.failures.load(Relaxed),
        connects: endpoint.connects.load(Relaxed),
    }
}
