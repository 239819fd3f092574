//! Metrics of what was asked and answered: requests, exchanges, attempts, retries.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use super::text::{MetricFamily, MetricsText};
use crate::balance::Member;
use crate::exchange::outcome::{CUTS, OUTCOMES};
use crate::snapshot::Snapshot;
use crate::telemetry::history::{Durations, History};
use crate::telemetry::ledger::NO_ROUTE;
use crate::upstream::retry::REASONS;

/// The two families under the names that dashboards know.
pub(super) fn write_requests(text: &mut MetricsText, snapshot: &Snapshot, history: &History) {
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

/// Writes the ends of exchanges, by route; and what was refused, by code. Routes that are gone take
/// their series with them.
pub(super) fn write_exchanges(text: &mut MetricsText, snapshot: &Snapshot, history: &History) {
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
pub(super) fn write_attempts(text: &mut MetricsText, snapshot: &Snapshot, history: &History) {
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
    let name = "tidegate_server_bytes_total";
    text.write_family(
        name,
        "counter",
        "Bytes of bodies of exchanges that a server answered: in, of requests; out, of responses.",
    );
    for ([upstream, server], summary) in summaries() {
        for (direction, bytes) in [("in", summary.received), ("out", summary.sent)] {
            if bytes > 0 {
                let labels = [upstream, server, ("direction", direction)];
                text.write_sample(name, &labels, bytes as f64);
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
pub(super) fn write_retries(text: &mut MetricsText, snapshot: &Snapshot) {
    let name = "tidegate_retries_total";
    text.write_family(name, "counter", "Requests that were sent once more, by why.");
    for upstream in &snapshot.upstreams {
        for (reason, count) in REASONS.iter().zip(&upstream.state.retried) {
            let labels = [("upstream", &*upstream.name), ("reason", *reason)];
            text.write_sample(name, &labels, count.load(Relaxed) as f64);
        }
    }
}

pub(super) fn write_servers(
    text: &mut MetricsText,
    snapshot: &Snapshot,
    family: &MetricFamily<Member>,
) {
    for upstream in &snapshot.upstreams {
        for member in upstream.members().members() {
            let labels = [("upstream", &*upstream.name), ("server", &*member.endpoint.name)];
            if let Some(value) = (family.read)(member) {
                text.write_sample(family.name, &labels, value);
            }
        }
    }
}
