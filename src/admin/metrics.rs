//! `/metrics`: what is counted, in Prometheus' text format (version 0.0.4) or OpenMetrics (version 1.0.0).
//! Labels are names from the configuration, methods of a fixed set and statuses, so no client can make
//! new series without end.

mod members;
mod sessions;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use http::HeaderMap;
use http::header::ACCEPT;

use super::stats::count_unresolved;
use crate::balance::Member;
use crate::cache::purge::PurgeSource;
use crate::cache::route::{CacheResult, RouteCache};
use crate::cache::tier::TierResult;
use crate::cache::webhook::EventResult;
use crate::clock;
use crate::endpoint::breaker::{Breaker, BreakerState};
use crate::endpoint::standing;
use crate::exchange::outcome::{CUTS, OUTCOMES};
use crate::files::served;
use crate::net::{held, room};
use crate::policy::METRICS;
use crate::policy::limit::Limit;
use crate::server::status::Status;
use crate::snapshot::{Listener, Route, Snapshot};
use crate::telemetry::history::{BUCKETS, Durations, History};
use crate::telemetry::ledger::NO_ROUTE;
use crate::telemetry::process::{Process, unix_seconds};
use crate::upstream::Upstream;
use crate::upstream::retry::REASONS;

/// The whole page.
#[must_use]
pub fn metrics_page(status: &Status, snapshot: &Snapshot, history: &History, open: bool) -> String {
    let mut text = MetricsText { open, ..MetricsText::default() };
    write_requests(&mut text, snapshot, history);
    write_exchanges(&mut text, snapshot, history);
    write_process(&mut text, status);
    write_program(&mut text, status, snapshot);
    write_losses(&mut text, status, snapshot, history);
    write_connections(&mut text, snapshot);
    let listeners = || snapshot.listeners.iter().map(|listener| (&*listener.name, &**listener));
    write_each(&mut text, LISTENER, "listen", listeners);
    write_certificates(&mut text, snapshot);
    let upstreams = || snapshot.upstreams.iter().map(|upstream| (&*upstream.name, &**upstream));
    write_each(&mut text, UPSTREAM, "upstream", upstreams);
    members::write_members(&mut text, snapshot, &status.registry);
    sessions::write(&mut text, snapshot);
    for family in SERVER {
        text.write_family(family.name, family.kind, family.help);
        write_servers(&mut text, snapshot, family);
    }
    write_attempts(&mut text, snapshot, history);
    write_retries(&mut text, snapshot);
    write_each(&mut text, LIMIT, "limit", || snapshot.limits().map(|limit| (&*limit.name, limit)));
    let policies = METRICS.iter().flat_map(|of| of.iter());
    let policies: Vec<_> = policies
        .map(|of| MetricFamily { name: of.name, kind: of.kind, help: of.help, read: of.read })
        .collect();
    write_each(&mut text, &policies, "endpoint", || {
        snapshot.routes.iter().filter_map(|r| Some((&*r.name, &**r.policies.as_ref()?)))
    });
    write_each(&mut text, ROUTE, "endpoint", || snapshot.routes.iter().map(|r| (&*r.name, &**r)));
    cache_requests(&mut text, snapshot);
    cache_tiers(&mut text, snapshot);
    cache_purges(&mut text, snapshot);
    write_each(&mut text, CACHE, "cache", || snapshot.caches().map(|c| (&*c.store.name, c)));
    if let Some(redis) = &snapshot.redis {
        text.write_family("tidegate_redis_up", "gauge", "0 while the last call failed.");
        let up = u8::from(!redis.is_down());
        text.write_sample("tidegate_redis_up", &[], f64::from(up));
        text.write_family("tidegate_redis_errors_total", "counter", "Calls that failed.");
        text.write_sample("tidegate_redis_errors_total", &[], redis.errors.load(Relaxed) as f64);
    }
    if open {
        text.out.push_str("# EOF\n");
    }
    text.out
}

/// Which program and configuration run, how reloads ended, and how many requests were read.
fn write_program(text: &mut MetricsText, status: &Status, snapshot: &Snapshot) {
    text.write_family("tidegate_build_info", "gauge", "The version that runs.");
    text.write_sample("tidegate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    text.write_family("tidegate_config_generation", "gauge", "Accepted configurations so far.");
    text.write_sample("tidegate_config_generation", &[], snapshot.generation as f64);
    text.write_family("tidegate_reloads_total", "counter", "Reloads by how they ended.");
    let reloads = [("accepted", &status.reloads.accepted), ("refused", &status.reloads.refused)];
    for (result, count) in reloads {
        text.write_sample(
            "tidegate_reloads_total",
            &[("result", result)],
            count.load(Relaxed) as f64,
        );
    }
    text.write_family("tidegate_requests_total", "counter", "Requests read.");
    text.write_sample("tidegate_requests_total", &[], status.requests.load(Relaxed) as f64);
}

/// What did not get where it should: lines, spans, requests without room or lost to a defect.
fn write_losses(text: &mut MetricsText, status: &Status, snapshot: &Snapshot, history: &History) {
    let lost = snapshot.access.as_ref().map_or(0, |access| access.sink.lost());
    text.write_family(
        "tidegate_access_log_lost_total",
        "counter",
        "Lines that were not written, by why.",
    );
    for (reason, count) in [("slow", history.dropped_lines), ("error", lost)] {
        text.write_sample("tidegate_access_log_lost_total", &[("reason", reason)], count as f64);
    }
    if let Some(tracing) = &snapshot.trace {
        let name = "tidegate_trace_spans_total";
        text.write_family(name, "counter", "Spans by whether the receiver took them.");
        let exporter = &tracing.exporter;
        for (result, count) in [("sent", exporter.sent()), ("dropped", exporter.dropped())] {
            text.write_sample(name, &[("result", result)], count as f64);
        }
    }
    text.write_family(
        "tidegate_panics_total",
        "counter",
        "Requests lost to a defect of the proxy.",
    );
    text.write_sample("tidegate_panics_total", &[], status.panics.load(Relaxed) as f64);
    let help = "What requests under way hold together.";
    text.write_family("tidegate_request_memory_bytes", "gauge", help);
    text.write_sample("tidegate_request_memory_bytes", &[], held::bytes_taken() as f64);
    let help = "How often there was no room for a request, or for its body to be remembered.";
    text.write_family("tidegate_request_memory_refused_total", "counter", help);
    text.write_sample("tidegate_request_memory_refused_total", &[], held::times_refused() as f64);
}

/// Places that are taken, and those who found none.
fn write_connections(text: &mut MetricsText, snapshot: &Snapshot) {
    text.write_family("tidegate_connections", "gauge", "Open client connections.");
    for listener in &snapshot.listeners {
        let open = f64::from(listener.counts.room.open_count());
        text.write_sample("tidegate_connections", &[("listen", &listener.name)], open);
    }
    let help = "Client connections that all listeners may have open together.";
    text.write_family("tidegate_connections_limit", "gauge", help);
    text.write_sample("tidegate_connections_limit", &[], f64::from(room::open_and_allowed().1));
    let help = "Files of routes with `files` that are open for clients.";
    text.write_family("tidegate_files_open", "gauge", help);
    text.write_sample("tidegate_files_open", &[], served::open_files() as f64);
    let name = "tidegate_connections_refused_total";
    let help = "Connections for which there was no place or descriptor, or whose certificate a revocation list lets not pass.";
    text.write_family(name, "counter", help);
    for listener in &snapshot.listeners {
        let counts = &listener.counts;
        for (reason, count) in [
            ("connections", &counts.refused),
            ("connections_per_client", &counts.refused_per_client),
            ("descriptors", &counts.starved),
            ("revoked", &counts.revoked),
            ("revocation_unknown", &counts.revocation_unknown),
        ] {
            let labels = [("listener", &*listener.name), ("reason", reason)];
            text.write_sample(name, &labels, count.load(Relaxed) as f64);
        }
    }
}

/// Metrics that each of `all` has, under its name.
fn write_each<'a, T: 'a, I: Iterator<Item = (&'a str, &'a T)>>(
    text: &mut MetricsText,
    families: &[MetricFamily<T>],
    label: &'static str,
    all: impl Fn() -> I,
) {
    for family in families {
        let mut values = all().filter_map(|(name, of)| Some((name, (family.read)(of)?))).peekable();
        if values.peek().is_none() {
            continue;
        }
        text.write_family(family.name, family.kind, family.help);
        values.for_each(|(name, value)| text.write_sample(family.name, &[(label, name)], value));
    }
}

/// Returns whether the client prefers OpenMetrics, as Prometheus itself does.
#[must_use]
pub fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    types.any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim() == "application/openmetrics-text")
    })
}

/// The two families under the names that dashboards know.
fn write_requests(text: &mut MetricsText, snapshot: &Snapshot, history: &History) {
    let routes = snapshot.routes.iter().map(|route| (&*route.name, route.counts.id));
    let routes: Vec<_> = routes.chain([("-", NO_ROUTE)]).collect();
    let name = "http_requests_total";
    text.write_family(
        name,
        "counter",
        "Requests by route, method and status; endpoint is the route.",
    );
    for (endpoint, id) in &routes {
        for (method, report) in history.methods(*id) {
            for (status, count) in report.statuses {
                let status = status.to_string();
                let labels =
                    [("endpoint", *endpoint), ("method", method), ("status_code", &*status)];
                text.write_sample(name, &labels, count as f64);
            }
        }
    }
    let name = "http_request_duration_seconds";
    text.write_family(name, "histogram", "From a request's head to the end of its response.");
    for (endpoint, id) in &routes {
        for (method, report) in history.methods(*id) {
            let [endpoint, method] = [("endpoint", *endpoint), ("method", method)];
            let all = (report.count, report.micros);
            text.write_histogram(name, &[endpoint, method], &report.buckets, all);
        }
    }
}

/// Writes the ends of exchanges, by route; and what was refused, by code. Routes that are gone take their series with them.
fn write_exchanges(text: &mut MetricsText, snapshot: &Snapshot, history: &History) {
    let routes = snapshot.routes.iter().map(|route| (&*route.name, route.counts.id));
    let routes: Vec<_> = routes.chain([("-", NO_ROUTE)]).collect();
    let name = "tidegate_exchanges_total";
    text.write_family(name, "counter", "Exchanges by how they ended.");
    let summaries: Vec<_> =
        routes.iter().map(|(name, id)| (*name, history.route_summary(*id))).collect();
    for (route, summary) in &summaries {
        for (outcome, count) in OUTCOMES.iter().zip(summary.outcomes) {
            text.write_sample(name, &[("route", route), ("outcome", outcome)], count as f64);
        }
    }
    let name = "tidegate_route_bytes_total";
    text.write_family(name, "counter", "Bytes of bodies: in, of requests; out, of responses.");
    for (route, summary) in &summaries {
        for (direction, bytes) in [("in", summary.received), ("out", summary.sent)] {
            text.write_sample(name, &[("route", route), ("direction", direction)], bytes as f64);
        }
    }
    let names: HashMap<u32, &str> = routes.iter().map(|(name, id)| (*id, *name)).collect();
    let name = "tidegate_refusals_total";
    let mut refusals = history.refusals().peekable();
    if refusals.peek().is_some() {
        text.write_family(name, "counter", "Requests that the proxy answered itself, by the code.");
    }
    for (route, code, count) in refusals {
        if let Some(route) = names.get(&route) {
            text.write_sample(name, &[("route", route), ("code", code)], count as f64);
        }
    }
    let name = "tidegate_auth_refusals_total";
    let mut denied = history.denied().peekable();
    if denied.peek().is_some() {
        text.write_family(name, "counter", "Clients that were not let in, by the reason.");
    }
    for (auth, reason, count) in denied {
        text.write_sample(name, &[("auth", auth), ("reason", reason)], count as f64);
    }
}

/// Writes what servers answered, how long that took, and what they did not finish.
fn write_attempts(text: &mut MetricsText, snapshot: &Snapshot, history: &History) {
    let all: Vec<_> = snapshot.upstreams.iter().map(|u| (&*u.name, u.members())).collect();
    let members =
        || all.iter().flat_map(|(name, all)| all.members().iter().map(move |m| (*name, m)));
    let name = "tidegate_server_request_duration_seconds";
    text.write_family(
        name,
        "histogram",
        "From the beginning of an attempt to the head of its response.",
    );
    for (upstream, member) in members() {
        let Some(durations) = history.durations(member.endpoint.id) else { continue };
        let labels = [("upstream", upstream), ("server", &*member.endpoint.name)];
        let Durations { buckets, count, micros } = durations;
        text.write_histogram(name, &labels, &buckets, (count, micros));
    }
    let summaries = || {
        members().map(|(upstream, member)| {
            let endpoint = &member.endpoint;
            let summary = history.servers_summary(std::iter::once(endpoint.id));
            ([("upstream", upstream), ("server", &*endpoint.name)], summary)
        })
    };
    let name = "tidegate_server_responses_total";
    text.write_family(name, "counter", "Responses of servers by the first digit of their status.");
    for ([upstream, server], summary) in summaries() {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(summary.classes) {
            if count > 0 {
                text.write_sample(name, &[upstream, server, ("class", class)], count as f64);
            }
        }
    }
    let name = "tidegate_server_cuts_total";
    text.write_family(
        name,
        "counter",
        "Responses that servers began and did not end, by the reason.",
    );
    for ([upstream, server], summary) in summaries() {
        for (reason, count) in CUTS.iter().zip(summary.cuts) {
            if count > 0 {
                text.write_sample(name, &[upstream, server, ("reason", reason)], count as f64);
            }
        }
    }
}

/// Requests that were sent once more, by why.
fn write_retries(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_retries_total";
    text.write_family(name, "counter", "Requests that were sent once more, by why.");
    for upstream in &snapshot.upstreams {
        for (reason, count) in REASONS.iter().zip(&upstream.state.retried) {
            let labels = [("upstream", &*upstream.name), ("reason", *reason)];
            text.write_sample(name, &labels, count.load(Relaxed) as f64);
        }
    }
}

/// Requests on cached routes, by what the cache made of them.
fn cache_requests(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_cache_requests_total";
    let mut caches = snapshot.caches().peekable();
    if caches.peek().is_some() {
        text.write_family(name, "counter", "Requests by what their route's cache made of them.");
    }
    for cache in caches {
        for (result, word) in CacheResult::ALL {
            let labels = [("cache", &*cache.store.name), ("result", word)];
            text.write_sample(name, &labels, cache.counts.times_of(result) as f64);
        }
    }
}

/// What became of reading from and writing to the tiers behind memory.
fn cache_tiers(text: &mut MetricsText, snapshot: &Snapshot) {
    let tiered = || snapshot.caches().filter_map(|cache| Some((cache, cache.tier.as_ref()?)));
    if tiered().next().is_none() {
        return;
    }
    let name = "tidegate_cache_tier_calls_total";
    text.write_family(name, "counter", "Reads from and writes to the tier behind memory.");
    for (cache, _) in tiered() {
        for (result, word) in TierResult::ALL {
            let labels = [("cache", &*cache.store.name), ("result", word)];
            text.write_sample(name, &labels, cache.store.counts.tier.times_of(result) as f64);
        }
    }
    let name = "tidegate_cache_tier_linked";
    text.write_family(name, "gauge", "Whether all purges are known, so that the tier is used.");
    for (cache, tier) in tiered() {
        let linked = f64::from(u8::from(tier.tier.is_linked()));
        text.write_sample(name, &[("cache", &*cache.store.name)], linked);
    }
}

/// Who ordered purges, and what became of the events of webhooks.
fn cache_purges(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_cache_purges_total";
    let mut caches = snapshot.caches().peekable();
    if caches.peek().is_some() {
        text.write_family(name, "counter", "Purges by who ordered them.");
    }
    for cache in caches {
        for (source, word) in PurgeSource::ALL {
            let labels = [("cache", &*cache.store.name), ("source", word)];
            text.write_sample(name, &labels, cache.store.counts.purges.get(source) as f64);
        }
    }
    let name = "tidegate_cache_webhook_events_total";
    let mut hooked = snapshot.caches().filter(|cache| cache.webhook.is_some()).peekable();
    if hooked.peek().is_some() {
        text.write_family(name, "counter", "Events of webhooks by what became of them.");
    }
    for cache in hooked {
        for (result, word) in EventResult::ALL {
            let labels = [("cache", &*cache.store.name), ("result", word)];
            text.write_sample(name, &labels, cache.store.events.counts.get(result) as f64);
        }
    }
}

/// The process, under the names that all exporters use.
fn write_process(text: &mut MetricsText, status: &Status) {
    let Process { cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds } =
        Process::read_process();
    let mut one = |name, kind, help, value| {
        text.write_family(name, kind, help);
        text.write_sample(name, &[], value);
    };
    one("process_cpu_seconds_total", "counter", "User and system time.", cpu_seconds);
    let resident = resident_bytes as f64;
    one("process_resident_memory_bytes", "gauge", "Memory in use.", resident);
    one("process_virtual_memory_bytes", "gauge", "Address space in use.", virtual_bytes as f64);
    one("process_open_fds", "gauge", "Open file descriptors.", open_fds as f64);
    one("process_max_fds", "gauge", "How many there may be.", max_fds as f64);
    let started = unix_seconds(status.started);
    one("process_start_time_seconds", "gauge", "When the process started.", started);
}

fn write_servers(text: &mut MetricsText, snapshot: &Snapshot, family: &MetricFamily<Member>) {
    for upstream in &snapshot.upstreams {
        for member in upstream.members().members() {
            let labels = [("upstream", &*upstream.name), ("server", &*member.endpoint.name)];
            if let Some(value) = (family.read)(member) {
                text.write_sample(family.name, &labels, value);
            }
        }
    }
}

/// A metric that each upstream or server has.
struct MetricFamily<T: 'static> {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// `None` where it makes no sense.
    read: fn(&T) -> Option<f64>,
}

const fn gauge_family<T>(
    name: &'static str,
    help: &'static str,
    read: fn(&T) -> Option<f64>,
) -> MetricFamily<T> {
    MetricFamily { name, kind: "gauge", help, read }
}

const fn counter_family<T>(
    name: &'static str,
    help: &'static str,
    read: fn(&T) -> Option<f64>,
) -> MetricFamily<T> {
    MetricFamily { name, kind: "counter", help, read }
}

/// Writes the end of each certificate.
fn write_certificates(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_tls_certificate_not_after_seconds";
    let servers = || snapshot.listeners.iter().filter_map(|l| Some((l, l.tls.as_ref()?)));
    if servers().next().is_none() {
        return;
    }
    text.write_family(name, "gauge", "When a certificate ends, in seconds since 1970.");
    for (listener, server) in servers() {
        for identity in server.identities() {
            let file = identity.file.display().to_string();
            let labels = [("listen", &*listener.name), ("certificate", &*file)];
            text.write_sample(name, &labels, identity.not_after as f64);
        }
    }
}

const LISTENER: &[MetricFamily<Listener>] = &[
    counter_family(
        "tidegate_connections_reclaimed_total",
        "Idle connections closed because somebody else needed their place.",
        |l| read_count(&l.counts.room.reclaimed),
    ),
    counter_family(
        "tidegate_proxy_headers_refused_total",
        "Connections closed because of their PROXY header, or for want of one.",
        |l| if l.proxy_protocol { read_count(&l.counts.proxy_headers_refused) } else { None },
    ),
    counter_family(
        "tidegate_http2_floods_total",
        "HTTP/2 connections ended because of a flood of frames.",
        |l| read_count(&l.counts.http2_floods),
    ),
    counter_family("tidegate_tls_handshakes_total", "TLS handshakes that ended well.", |l| {
        l.tls.as_ref().and_then(|_| read_count(&l.counts.handshakes))
    }),
    counter_family("tidegate_tls_handshakes_failed_total", "TLS handshakes that did not.", |l| {
        l.tls.as_ref().and_then(|_| read_count(&l.counts.handshakes_failed))
    }),
    counter_family(
        "tidegate_tls_handshakes_refused_total",
        "TLS handshakes that were not begun, because too many were under way.",
        |l| l.tls.as_ref().and_then(|_| read_count(&l.counts.handshakes_refused)),
    ),
];

const UPSTREAM: &[MetricFamily<Upstream>] = &[
    gauge_family(
        "tidegate_upstream_fail_open",
        "1 while requests go to servers that are not healthy, for want of any.",
        |u| Some(f64::from(u8::from(u.state.failing_open.load(Relaxed)))),
    ),
    counter_family("tidegate_upstream_fail_open_total", "Requests sent that way.", |u| {
        read_count(&u.state.failed_open)
    }),
    gauge_family("tidegate_upstream_pending", "Requests that wait for a server.", |u| {
        Some(f64::from(u.state.queue.depth()))
    }),
    counter_family("tidegate_upstream_queued_total", "Requests that had to wait.", |u| {
        read_count(&u.state.queue.queued)
    }),
    counter_family(
        "tidegate_upstream_queue_full_total",
        "Requests that found the queue full.",
        |u| read_count(&u.state.queue.overflowed),
    ),
    counter_family(
        "tidegate_upstream_queue_timeouts_total",
        "Requests that waited too long.",
        |u| read_count(&u.state.queue.timed_out),
    ),
    counter_family("tidegate_upstream_retries_total", "Attempts beyond a request's first.", |u| {
        read_count(&u.state.retries)
    }),
    counter_family(
        "tidegate_upstream_retries_over_budget_total",
        "Retries that the budget did not allow.",
        |u| read_count(&u.state.over_budget),
    ),
    counter_family("tidegate_upstream_fallbacks_total", "Requests handed to the fallback.", |u| {
        read_count(&u.state.fallbacks)
    }),
    gauge_family("tidegate_upstream_ejected", "Servers that are ejected.", |u| {
        Some(f64::from(u.state.ejections.ejected_count()))
    }),
    gauge_family(
        "tidegate_upstream_names_unresolved",
        "Servers whose name gave no address when it was last looked up.",
        |u| Some(count_unresolved(u) as f64),
    ),
    counter_family(
        "tidegate_upstream_names_moved_total",
        "How often the name of a server came to lead elsewhere.",
        |u| read_count(&u.state.moves),
    ),
    gauge_family(
        "tidegate_upstream_breaker_state",
        "The circuit breaker: 0 closed, 1 half-open, 2 open.",
        |u| u.breaker.filter(|b| !b.per_server).map(|_| breaker_state(&u.state.breaker)),
    ),
    counter_family("tidegate_upstream_breaker_opened_total", "How often it opened.", |u| {
        u.breaker.filter(|b| !b.per_server).map(|_| u.state.breaker.times_opened() as f64)
    }),
    counter_family("tidegate_upstream_breaker_refused_total", "Requests it refused.", |u| {
        u.breaker.filter(|b| !b.per_server).map(|_| u.state.breaker.requests_refused() as f64)
    }),
];

const LIMIT: &[MetricFamily<Limit>] = &[
    counter_family("tidegate_limit_refused_total", "Requests that a rate limit refused.", |l| {
        read_count(&l.state.refused)
    }),
    counter_family("tidegate_limit_delayed_total", "Requests that had to wait.", |l| {
        read_count(&l.state.delayed)
    }),
    counter_family(
        "tidegate_limit_exempt_total",
        "Requests of clients that are not counted.",
        |l| read_count(&l.state.exempt),
    ),
    gauge_family("tidegate_limit_keys", "Keys that have not been idle for long.", |l| {
        Some(l.state.table().len() as f64)
    }),
    counter_family(
        "tidegate_limit_evicted_total",
        "Keys pushed out by others although they were not idle.",
        |l| read_count(&l.state.table().evicted),
    ),
];

const CACHE: &[MetricFamily<RouteCache>] = &[
    gauge_family("tidegate_cache_bytes", "Memory that stored responses take.", |c| {
        Some(c.store.used() as f64)
    }),
    gauge_family("tidegate_cache_memory_limit_bytes", "How much they may take.", |c| {
        Some(c.store.memory() as f64)
    }),
    gauge_family("tidegate_cache_entries", "Stored responses.", |c| Some(c.store.entries() as f64)),
    counter_family("tidegate_cache_evicted_total", "Responses removed to make room.", |c| {
        read_count(&c.store.counts.evicted)
    }),
    counter_family("tidegate_cache_purged_total", "Responses removed by purges.", |c| {
        read_count(&c.store.counts.purged)
    }),
    counter_family("tidegate_cache_no_room_total", "Responses not stored for want of room.", |c| {
        read_count(&c.store.counts.no_room)
    }),
];

const ROUTE: &[MetricFamily<Route>] = &[
    counter_family(
        "tidegate_route_mirrored_total",
        "Copies of requests that were answered.",
        |r| r.mirror.as_ref().and_then(|mirror| read_count(&mirror.counts.answered)),
    ),
    counter_family("tidegate_route_mirror_failed_total", "Copies that were not.", |r| {
        r.mirror.as_ref().and_then(|mirror| read_count(&mirror.counts.failed))
    }),
    counter_family(
        "tidegate_route_mirror_dropped_total",
        "Requests not copied: too many copies under way, or a body too long or incomplete.",
        |r| r.mirror.as_ref().and_then(|mirror| read_count(&mirror.counts.dropped)),
    ),
];

const SERVER: &[MetricFamily<Member>] = &[
    gauge_family("tidegate_server_up", "1 while the server gets requests.", |m| {
        Some(f64::from(u8::from(!m.endpoint.standing.reason_bits().has_any(u8::MAX))))
    }),
    gauge_family(
        "tidegate_server_healthy",
        "0 while active checks fail, or the name leads nowhere.",
        |m| {
            let out = standing::UNHEALTHY | standing::UNCHECKED | standing::UNRESOLVED;
            Some(f64::from(u8::from(!m.endpoint.standing.reason_bits().has_any(out))))
        },
    ),
    gauge_family("tidegate_server_in_flight", "Requests under way.", |m| {
        Some(f64::from(m.endpoint.in_flight()))
    }),
    gauge_family("tidegate_server_connections", "Open connections.", |m| {
        Some(f64::from(m.endpoint.open.open_count()))
    }),
    counter_family("tidegate_server_requests_total", "Attempts sent to the server.", |m| {
        read_count(&m.endpoint.requests)
    }),
    counter_family("tidegate_server_failures_total", "Attempts that failed.", |m| {
        read_count(&m.endpoint.failures)
    }),
    counter_family("tidegate_server_connects_total", "Connections opened.", |m| {
        read_count(&m.endpoint.connects)
    }),
    counter_family("tidegate_server_ejections_total", "How often it was ejected.", |m| {
        Some(m.endpoint.record.times_ejected() as f64)
    }),
    counter_family("tidegate_server_checks_passed_total", "Active checks it passed.", |m| {
        read_count(&m.endpoint.checks_passed)
    }),
    counter_family("tidegate_server_checks_failed_total", "Active checks it failed.", |m| {
        read_count(&m.endpoint.checks_failed)
    }),
];

#[expect(clippy::unnecessary_wraps, reason = "some families have no value for some upstreams")]
fn read_count(counter: &AtomicU64) -> Option<f64> {
    Some(counter.load(Relaxed) as f64)
}

fn breaker_state(breaker: &Breaker) -> f64 {
    match breaker.state_at(clock::now()) {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    }
}

#[derive(Default)]
struct MetricsText {
    out: String,
    /// OpenMetrics.
    open: bool,
}

impl MetricsText {
    fn write_family(&mut self, name: &str, kind: &str, help: &str) {
        // A counter's samples have the suffix, its family has not (OpenMetrics 1.0, "Counter").
        let bare = name.strip_suffix("_total").filter(|_| self.open && kind == "counter");
        let name = bare.unwrap_or(name);
        // Writing to a string cannot fail.
        let _ok = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn write_histogram(
        &mut self,
        name: &str,
        [a, b]: &[(&str, &str); 2],
        buckets: &[u64],
        (count, micros): (u64, u64),
    ) {
        let (bucket, count) = (format!("{name}_bucket"), count as f64);
        for (upto, count) in BUCKETS.iter().zip(buckets) {
            let le = (*upto as f64 / 1e6).to_string();
            let le = if le.contains('.') { le } else { le + ".0" };
            self.write_sample(&bucket, &[*a, *b, ("le", &le)], *count as f64);
        }
        self.write_sample(&bucket, &[*a, *b, ("le", "+Inf")], count);
        self.write_sample(&format!("{name}_sum"), &[*a, *b], micros as f64 / 1e6);
        self.write_sample(&format!("{name}_count"), &[*a, *b], count);
    }

    fn write_sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ok = write!(self.out, "{label}=\"{text}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ok = writeln!(self.out, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = MetricsText::default();
        text.write_family("a_total", "counter", "Some.");
        text.write_sample("a_total", &[("x", "1\"2\\3\n4"), ("y", "z")], 5.0);
        text.write_sample("b", &[], 0.5);
        let expected = "# HELP a_total Some.\n# TYPE a_total counter\n\
                        a_total{x=\"1\\\"2\\\\3\\n4\",y=\"z\"} 5\nb 0.5\n";
        assert_eq!(text.out, expected);
    }
}
