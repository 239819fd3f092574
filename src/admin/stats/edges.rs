//! Listeners, routes and limits, as `/stats` shows them.

use std::sync::atomic::Ordering::Relaxed;

use schemars::JsonSchema;
use serde::Serialize;

use super::OutcomeStats;
use crate::policy::limit::Limit;
use crate::policy::{Policies, PolicyStats};
use crate::snapshot::{Listener, Route};
use crate::telemetry::history::{History, HistorySummary, Windows};
use crate::tls::TlsIdentity;
use crate::tls::identity::CertificateNames;

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LimitStats {
    name: String,
    /// Requests refused.
    refused: u64,
    /// Requests that had to wait.
    delayed: u64,
    /// Requests of clients that are not counted (`except`).
    exempt: u64,
    /// Clients, or whatever is counted by, that have not been idle for long.
    keys: usize,
    /// The most there can be; more push out others.
    key_limit: usize,
    /// The number that were pushed out although they were not idle.
    evicted: u64,
}

/// The traffic that passed through a place.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct TrafficStats {
    responses: ResponseStats,
    outcomes: OutcomeStats,
    /// Bytes of request bodies.
    received_bytes: u64,
    /// Bytes of response bodies.
    sent_bytes: u64,
    /// Rates and latency of the last 1, 10 and 60 seconds, and latency since the start.
    windows: Windows,
}

/// All client connections, which share the descriptors.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ConnectionStats {
    pub(super) open: u32,
    /// Derived from the limit on descriptors.
    pub(super) limit: u32,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ListenerStats {
    name: String,
    connections: u32,
    accepted: u64,
    /// Connections that were told that too many are open, and that none of them is idle.
    refused: u64,
    /// Idle connections that were closed because somebody else needed their place.
    reclaimed: u64,
    /// The number of times that none could be accepted for want of descriptors.
    starved: u64,
    connection_limit: u32,
    /// Connections closed because of their PROXY header, or for want of one.
    proxy_headers_refused: u64,
    /// HTTP/2 connections ended because of a flood of frames that ask for nothing, or of cancelled
    /// requests.
    http2_floods: u64,
    /// Null without `tls`.
    tls: Option<TlsStats>,
    #[serde(flatten)]
    traffic: TrafficStats,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TlsStats {
    handshakes: u64,
    failed: u64,
    /// Not begun, because too many were under way.
    refused: u64,
    certificates: Vec<CertificateStats>,
}

/// A certificate, by the file that it came from.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CertificateStats {
    file: String,
    names: Vec<String>,
    /// The end, in seconds since 1970.
    not_after: i64,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RouteStats {
    name: String,
    requests: u64,
    in_flight: u64,
    #[serde(flatten)]
    policies: PolicyStats,
    /// The ends of copies of requests; null without `mirror`.
    mirror: Option<MirrorStats>,
    /// Latency is from the request's head to the end of the response.
    #[serde(flatten)]
    traffic: TrafficStats,
}

#[derive(Debug, Serialize, JsonSchema)]
struct MirrorStats {
    answered: u64,
    failed: u64,
    /// Requests not copied: too many copies under way, or a body too long or incomplete.
    dropped: u64,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ResponseStats {
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

pub(super) fn limit_stats(limit: &Limit) -> LimitStats {
    let (state, table) = (&limit.state, limit.state.table());
    LimitStats {
        name: limit.name.to_string(),
        refused: state.refused.load(Relaxed),
        delayed: state.delayed.load(Relaxed),
        exempt: state.exempt.load(Relaxed),
        keys: table.len(),
        key_limit: table.capacity(),
        evicted: table.evicted.load(Relaxed),
    }
}

pub(super) fn listener_stats(listener: &Listener, history: &History) -> ListenerStats {
    let counts = &listener.counts;
    ListenerStats {
        name: listener.name.to_string(),
        connections: counts.room.open_count(),
        accepted: counts.accepted.load(Relaxed),
        refused: counts.refused.load(Relaxed),
        reclaimed: counts.room.reclaimed.load(Relaxed),
        starved: counts.starved.load(Relaxed),
        connection_limit: listener.connections,
        proxy_headers_refused: counts.proxy_headers_refused.load(Relaxed),
        http2_floods: counts.http2_floods.load(Relaxed),
        tls: listener.tls.as_ref().map(|server| TlsStats {
            handshakes: counts.handshakes.load(Relaxed),
            failed: counts.handshakes_failed.load(Relaxed),
            refused: counts.handshakes_refused.load(Relaxed),
            certificates: server.identities().map(CertificateStats::of).collect(),
        }),
        traffic: traffic_stats(history.listener_summary(u32::from(listener.id))),
    }
}

impl CertificateStats {
    /// Describes one.
    pub(in crate::admin) fn of(identity: &TlsIdentity) -> Self {
        let CertificateNames { dns, ip } = &identity.names;
        let names = dns.iter().map(|name| name.to_string());
        Self {
            file: identity.file.display().to_string(),
            names: names.chain(ip.iter().map(ToString::to_string)).collect(),
            not_after: identity.not_after,
        }
    }
}

pub(super) fn traffic_stats(summary: HistorySummary) -> TrafficStats {
    let HistorySummary { classes, outcomes, cuts: _, received, sent, windows } = summary;
    let [whole, client_gone, server_cut, timeout, refused, proxy_cut] = outcomes;
    let [informational, success, redirect, client_error, server_error] = classes;
    TrafficStats {
        responses: ResponseStats { informational, success, redirect, client_error, server_error },
        outcomes: OutcomeStats { whole, client_gone, server_cut, timeout, refused, proxy_cut },
        received_bytes: received,
        sent_bytes: sent,
        windows,
    }
}

pub(super) fn route_stats(route: &Route, history: &History) -> RouteStats {
    RouteStats {
        name: route.name.to_string(),
        requests: route.counts.requests.load(Relaxed),
        in_flight: route.counts.in_flight.load(Relaxed),
        policies: Policies::read_stats(route.policies.as_deref()),
        mirror: route.mirror.as_ref().map(|mirror| MirrorStats {
            answered: mirror.counts.answered.load(Relaxed),
            failed: mirror.counts.failed.load(Relaxed),
            dropped: mirror.counts.dropped.load(Relaxed),
        }),
        traffic: traffic_stats(history.route_summary(route.counts.id)),
    }
}
