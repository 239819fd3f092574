//! The counters in OTLP's protobuf form, version 1.

use std::time::SystemTime;

use prost::Message;

use crate::clock;
use crate::endpoint::Endpoint;
use crate::snapshot::Snapshot;
use crate::telemetry::history::{BUCKETS, History, MethodReport};
use crate::telemetry::otlp::{
    ExportMetrics, Gauge, Histogram, HistogramPoint, KeyValue, Measured, Metric, NumberPoint,
    ResourceMetrics, ScopeMetrics, Sum, Temporality,
};
use crate::telemetry::process::unix_seconds;
use crate::telemetry::trace::encode::{process_resource, program_scope, text_attribute};

/// A request for `/v1/metrics`: requests and their duration by route, attempts and what is under
/// way by server. `started` is when counting began.
pub(super) fn encode_metrics(
    instance: &str,
    snapshot: &Snapshot,
    history: &History,
    started: SystemTime,
) -> Vec<u8> {
    let times = Times { start: unix_nanos(started), now: unix_nanos(clock::wall()) };
    let mut durations = Vec::new();
    for route in &snapshot.routes {
        for (method, report) in history.methods(route.counts.id) {
            durations.push(times.duration_point(&route.name, method, &report));
        }
    }
    let all: Vec<_> = snapshot.upstreams.iter().map(|upstream| upstream.members()).collect();
    let members = || all.iter().flat_map(|members| members.members());
    let attempts = members().map(|member| {
        let requests = member.endpoint.requests.load(std::sync::atomic::Ordering::Relaxed);
        times.number_point(server_attributes(&member.endpoint), requests)
    });
    let in_flight = members().map(|member| {
        times.number_point(
            server_attributes(&member.endpoint),
            u64::from(member.endpoint.in_flight()),
        )
    });
    let cumulative = Temporality::Cumulative.into();
    let metrics = vec![
        Metric {
            name: "http.server.request.duration".to_owned(),
            description: "From a request's head to the end of its response.".to_owned(),
            unit: "s".to_owned(),
            data: Some(Measured::Histogram(Histogram {
                data_points: durations,
                aggregation_temporality: cumulative,
            })),
        },
        Metric {
            name: "tidegate.server.requests".to_owned(),
            description: "Attempts sent to a server.".to_owned(),
            unit: "{request}".to_owned(),
            data: Some(Measured::Sum(Sum {
                data_points: attempts.collect(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            })),
        },
        Metric {
            name: "tidegate.server.in_flight".to_owned(),
            description: "Requests under way at a server.".to_owned(),
            unit: "{request}".to_owned(),
            data: Some(Measured::Gauge(Gauge { data_points: in_flight.collect() })),
        },
    ];
    let scope_metrics = vec![ScopeMetrics { scope: program_scope(), metrics }];
    let resource_metrics = ResourceMetrics { resource: process_resource(instance), scope_metrics };
    ExportMetrics { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

fn server_attributes(endpoint: &Endpoint) -> Vec<KeyValue> {
    vec![
        text_attribute("tidegate.upstream", &endpoint.upstream),
        text_attribute("server.address", &endpoint.name),
    ]
}

/// The beginning of counting, and now, in nanoseconds since 1970.
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn number_point(&self, attributes: Vec<KeyValue>, value: u64) -> NumberPoint {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        NumberPoint {
            attributes,
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            as_int: Some(value),
        }
    }

    fn duration_point(&self, route: &str, method: &str, report: &MethodReport) -> HistogramPoint {
        // Ours are cumulative, OTLP's are not, and the last one has no upper end.
        let upto = report.buckets.iter().copied().chain([report.count]);
        let before = std::iter::once(0).chain(report.buckets.iter().copied());
        HistogramPoint {
            attributes: vec![
                text_attribute("http.request.method", method),
                text_attribute("tidegate.route", route),
            ],
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            count: report.count,
            sum: Some(report.micros as f64 / 1e6),
            bucket_counts: upto.zip(before).map(|(upto, before)| upto - before).collect(),
            explicit_bounds: BUCKETS.iter().map(|micros| *micros as f64 / 1e6).collect(),
        }
    }
}

fn unix_nanos(at: SystemTime) -> u64 {
    // Exact enough: microseconds of today fit.
    (unix_seconds(at) * 1e6) as u64 * 1000
}
