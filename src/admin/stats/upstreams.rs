//! Upstreams and their servers, as `/stats` shows them.

use std::sync::atomic::Ordering::Relaxed;

use schemars::JsonSchema;
use serde::Serialize;

use super::edges::{TrafficStats, traffic_stats};
use crate::admin::registry::LeaseStats;
use crate::admin::supply::SupplyStats;
use crate::balance::Member;
use crate::clock;
use crate::discovery::registry::{Registry, View};
use crate::endpoint::breaker::{Breaker, BreakerState};
use crate::endpoint::{Endpoint, standing};
use crate::exchange::queue::QueueStats;
use crate::telemetry::history::History;
use crate::upstream::affinity::{Affinity, LearnedAffinity};
use crate::upstream::{Membership, Upstream};

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct UpstreamStats {
    name: String,
    in_flight: u32,
    /// Latency is that of attempts, from connecting to the head of the response.
    #[serde(flatten)]
    traffic: TrafficStats,
    /// Requests go to servers that are not healthy, for want of any.
    fail_open: bool,
    retries: u64,
    retries_over_budget: u64,
    fallbacks: u64,
    ejected: u32,
    /// Servers whose name gave no address when it was last looked up.
    names_unresolved: usize,
    /// The number of times that the name of a server came to lead elsewhere.
    names_moved: u64,
    /// Where its servers come from: "config", "dns", "srv", "file", "kubernetes" or "registry".
    source: &'static str,
    /// The state of that source; absent where servers are written in the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    supply: Option<SupplyStats>,
    /// Servers that are kept though their source has them no longer (`runtime.shrink_guard`).
    servers_held: usize,
    /// Servers that wait because their source has too many at once (`runtime.growth_guard`).
    servers_waiting: usize,
    /// Absent where servers do not register themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    registry: Option<RegistryStats>,
    queue: QueueStats,
    /// Absent where sessions are not learned from answers (`upstream.balance.sticky = "header:…"`).
    #[serde(skip_serializing_if = "Option::is_none")]
    sessions: Option<SessionStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerStats>,
    servers: Vec<ServerStats>,
}

/// The sessions that were learned: known, expired or evicted.
#[derive(Debug, Serialize, JsonSchema)]
struct SessionStats {
    known: usize,
    /// The most that can be known; more push out those that were not used for longest.
    most: usize,
    /// Sessions that an answer named for the first time.
    learned: u64,
    /// Sessions that nobody used for `ttl`.
    expired: u64,
    /// Sessions that were pushed out.
    evicted: u64,
    /// Requests that named a session which is not known, or whose server is gone.
    unknown: u64,
}

/// The registrations by what became of them.
#[derive(Debug, Serialize, JsonSchema)]
struct RegistryStats {
    /// Servers that are registered.
    leases: usize,
    /// The most that may be (`upstream.servers.registry.max`).
    most: usize,
    /// Registrations of servers that were not there.
    registered: u64,
    renewed: u64,
    refused: u64,
    /// Leases that ran out.
    expired: u64,
    /// Servers that were removed by a call.
    removed: u64,
    /// Other instances share the registrations through Redis.
    shared: bool,
    /// True while they cannot be heard: no lease runs out meanwhile.
    alone: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct BreakerStats {
    state: &'static str,
    opened: u64,
    refused: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ServerStats {
    name: String,
    /// The addresses of the server; more than one if its name has several, none if it has none.
    addresses: Vec<String>,
    /// The reason why its name gave no address when it was last looked up; its last addresses stay
    /// in use.
    name_fault: Option<String>,
    /// "up", or why it gets no requests.
    state: &'static str,
    /// Since when it is in this state, in seconds since 1970; null if it always was.
    since: Option<u64>,
    /// Where it comes from: "config", "dns", "srv", "file", "kubernetes" or "registry".
    source: &'static str,
    /// Since when it is one of the upstream's, in seconds since 1970.
    joined: u64,
    /// True while it is kept though its source has it no longer.
    held: bool,
    /// The server's lease; absent where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseStats>,
    /// The cause of the state, in a sentence; null when it is up.
    why: Option<String>,
    /// The end of the latest active check; null before the first one.
    last_check: Option<LastCheck>,
    /// True while it is coming back and gets a growing share.
    slow_start: bool,
    weight: u32,
    /// Open connections, idle ones included.
    connections: u32,
    connection_limit: Option<u32>,
    /// Connections that are kept for the next request.
    idle_connections: u32,
    request_limit: Option<u32>,
    ejections: u64,
    checks_passed: u64,
    checks_failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerStats>,
    requests: u64,
    in_flight: u32,
    failures: u64,
    connects: u64,
    #[serde(flatten)]
    traffic: TrafficStats,
}

#[derive(Debug, Serialize, JsonSchema)]
struct LastCheck {
    /// In seconds since 1970.
    at: u64,
    ok: bool,
    /// The fault that was found.
    why: Option<String>,
}

/// One upstream.
pub(crate) fn upstream_stats(
    upstream: &Upstream,
    registry: &Registry,
    history: &History,
) -> UpstreamStats {
    let state = &upstream.state;
    let all = upstream.members();
    let members = all.members();
    let view = registry.view(&upstream.name);
    let view = view.as_deref();
    let ids = members.iter().map(|m| m.endpoint.id);
    UpstreamStats {
        name: upstream.name.to_string(),
        in_flight: members.iter().map(|m| m.endpoint.in_flight()).sum(),
        traffic: traffic_stats(history.servers_summary(ids)),
        fail_open: state.failing_open.load(Relaxed),
        retries: state.retries.load(Relaxed),
        retries_over_budget: state.over_budget.load(Relaxed),
        fallbacks: state.fallbacks.load(Relaxed),
        ejected: state.ejections.ejected_count(),
        names_unresolved: count_unresolved(upstream),
        names_moved: state.moves.load(Relaxed),
        source: upstream.source,
        supply: SupplyStats::from_upstream(upstream),
        servers_held: held_servers(upstream),
        servers_waiting: state.waiting.load(Relaxed),
        registry: view.map(registry_stats),
        queue: state.queue.read_stats(upstream.limits.pending),
        sessions: all.sticky.as_ref().and_then(Affinity::as_learned).map(session_stats),
        breaker: has_breaker(upstream, false).then(|| breaker_stats(&state.breaker)),
        servers: members.iter().map(|m| server_stats(upstream, &all, view, m, history)).collect(),
    }
}

/// Servers that are kept though their source has them no longer.
pub(crate) fn held_servers(upstream: &Upstream) -> usize {
    upstream.members().servers().iter().filter(|server| server.spec.held).count()
}

fn session_stats(learned: &LearnedAffinity) -> SessionStats {
    let (table, counts) = (learned.table(), learned.counts());
    SessionStats {
        known: table.len(),
        most: table.capacity(),
        learned: counts.learned.load(Relaxed),
        expired: counts.expired.load(Relaxed),
        evicted: table.evicted.load(Relaxed),
        unknown: counts.unknown.load(Relaxed),
    }
}

fn registry_stats(view: &View) -> RegistryStats {
    let counts = &view.counts;
    RegistryStats {
        leases: view.leases.len(),
        most: view.settings.most,
        registered: counts.registered.load(Relaxed),
        renewed: counts.renewed.load(Relaxed),
        refused: counts.refused.load(Relaxed),
        expired: counts.expired.load(Relaxed),
        removed: counts.removed.load(Relaxed),
        shared: view.settings.shared,
        alone: counts.alone.load(Relaxed),
    }
}

/// Servers whose name gave no address when it was last looked up.
pub(crate) fn count_unresolved(upstream: &Upstream) -> usize {
    let all = upstream.members();
    all.members().iter().filter(|m| m.endpoint.name_fault.load().is_some()).count()
}

fn breaker_stats(breaker: &Breaker) -> BreakerStats {
    let state = match breaker.state_at(clock::now()) {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half_open",
        BreakerState::Open => "open",
    };
    BreakerStats { state, opened: breaker.times_opened(), refused: breaker.requests_refused() }
}

fn has_breaker(upstream: &Upstream, per_server: bool) -> bool {
    upstream.breaker.is_some_and(|b| b.per_server == per_server)
}

/// One server.
pub(crate) fn server_stats(
    upstream: &Upstream,
    all: &Membership,
    view: Option<&View>,
    member: &Member,
    history: &History,
) -> ServerStats {
    let bits = member.endpoint.standing.reason_bits();
    let endpoint = &member.endpoint;
    let spec = all.server(member).map(|server| &server.spec);
    let lease = spec.and_then(|spec| view?.leases.get(&*spec.written));
    ServerStats {
        name: endpoint.name.to_string(),
        addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
        name_fault: endpoint.name_fault.load().as_deref().cloned(),
        state: standing::standing_word(bits),
        since: endpoint.standing.changed_at(),
        source: upstream.source,
        joined: endpoint.joined,
        held: spec.is_some_and(|spec| spec.held),
        lease: lease.map(|lease| LeaseStats::from_lease(lease)),
        why: name_fault(endpoint),
        last_check: endpoint.checked.load().as_deref().map(|checked| LastCheck {
            at: checked.at,
            ok: checked.fault.is_none(),
            why: checked.fault.clone(),
        }),
        slow_start: bits.is_ramping(),
        weight: member.weight,
        connections: endpoint.open.open_count(),
        connection_limit: finite_limit(upstream.limits.connections),
        idle_connections: endpoint.open.open_count().saturating_sub(endpoint.in_flight()),
        request_limit: finite_limit(upstream.rules.cap),
        ejections: endpoint.record.times_ejected(),
        checks_passed: endpoint.checks_passed.load(Relaxed),
        checks_failed: endpoint.checks_failed.load(Relaxed),
        breaker: has_breaker(upstream, true).then(|| breaker_stats(&endpoint.breaker)),
        requests: endpoint.requests.load(Relaxed),
        in_flight: endpoint.in_flight(),
        failures: endpoint.failures.load(Relaxed),
        connects: endpoint.connects.load(Relaxed),
        traffic: traffic_stats(history.servers_summary(std::iter::once(endpoint.id))),
    }
}

/// Tells what led to a server's state.
fn name_fault(endpoint: &Endpoint) -> Option<String> {
    let said = match standing::standing_word(endpoint.standing.reason_bits()) {
        "up" => return None,
        "disabled" | "draining" => "an operator's order".to_owned(),
        "unresolved" => match endpoint.name_fault.load().as_deref() {
            Some(fault) => format!("its name: {fault}"),
            None => "its name has no address".to_owned(),
        },
        "unhealthy" => {
            let checked = endpoint.checked.load();
            let fault = checked.as_deref().and_then(|checked| checked.fault.as_deref());
            format!("active checks: {}", fault.unwrap_or("not enough of them passed yet"))
        }
        "unchecked" => "its first check has not ended".to_owned(),
        "ejected" => "it failed too many requests (upstream.eject)".to_owned(),
        _ => "it did not take the last connection".to_owned(),
    };
    Some(said)
}

fn finite_limit(limit: u32) -> Option<u32> {
    Some(limit).filter(|limit| *limit != u32::MAX)
}
