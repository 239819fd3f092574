//! `/metrics`: what is counted, in Prometheus' text format (version 0.0.4) or OpenMetrics (version
//! 1.0.0). Labels are names from the configuration, methods of a fixed set and statuses, so no
//! client can make new series without end.

mod caches;
mod exchanges;
mod families;
mod members;
mod sessions;
mod text;

use std::sync::atomic::Ordering::Relaxed;

use self::caches::{cache_purges, cache_requests, cache_tiers};
use self::exchanges::{
    write_attempts, write_exchanges, write_requests, write_retries, write_servers,
};
use self::families::{CACHE, LIMIT, LISTENER, ROUTE, SERVER, UPSTREAM};
pub use self::text::wants_openmetrics;
use self::text::{MetricFamily, MetricsText, write_each};
use crate::files::served;
use crate::net::{held, room, stalls};
use crate::policy::METRICS;
use crate::server::status::Status;
use crate::snapshot::Snapshot;
use crate::telemetry::history::History;
use crate::telemetry::process::{Process, unix_seconds};

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

/// The program and configuration that run, the ends of reloads, and the number of requests read.
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

/// All that did not get where it should: lines, spans, requests without room or lost to a defect.
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
    let help =
        "Responses that were cut so that others had room, because their clients took nothing.";
    text.write_family("tidegate_request_memory_reclaimed_total", "counter", help);
    text.write_sample("tidegate_request_memory_reclaimed_total", &[], stalls::times_cut() as f64);
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
