//! `/stats`: what is counted, as JSON.

use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use serde::Serialize;

use crate::balance::Member;
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
    listeners: Vec<ListenerStats>,
    routes: Vec<RouteStats>,
    upstreams: Vec<UpstreamStats>,
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
struct UpstreamStats {
    name: String,
    servers: Vec<ServerStats>,
}

#[derive(Debug, Serialize)]
struct ServerStats {
    name: String,
    weight: u32,
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
    let listeners = snapshot.listeners.iter().zip(&status.listeners);
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: uptime.as_secs(),
        ready: status.ready.load(Relaxed),
        workers: status.workers,
        generation: snapshot.generation,
        requests: status.requests.load(Relaxed),
        panics: status.panics.load(Relaxed),
        listeners: listeners
            .map(|(settings, counts)| ListenerStats {
                name: settings.name.to_string(),
                connections: counts.open.load(Relaxed),
                accepted: counts.accepted.load(Relaxed),
                refused: counts.refused.load(Relaxed),
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

fn upstream(upstream: &Upstream) -> UpstreamStats {
    UpstreamStats {
        name: upstream.name.to_string(),
        servers: upstream.pool.members().iter().map(server).collect(),
    }
}

fn server(member: &Member) -> ServerStats {
    let endpoint = &member.endpoint;
    ServerStats {
        name: endpoint.name.to_string(),
        weight: member.weight,
        requests: endpoint.requests.load(Relaxed),
        in_flight: endpoint.in_flight(),
        failures: endpoint.failures.load(Relaxed),
        connects: endpoint.connects.load(Relaxed),
    }
}
