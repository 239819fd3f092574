//! Spans and counters in OTLP's protobuf form, version 1.

use std::time::SystemTime;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Proto, Status, span, status,
};
use prost::Message;

use super::{Kind, Span, Value};
use crate::snapshot::Snapshot;
use crate::telemetry::history::{BUCKETS, History, MethodReport};
use crate::telemetry::process::unix;

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn resource(instance: &str) -> Option<Resource> {
    let attributes = vec![
        text("service.name", "tidegate"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    let (name, version) = ("tidegate".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Some(InstrumentationScope { name, version, ..InstrumentationScope::default() })
}

/// A request for `/v1/traces`.
#[must_use]
pub fn spans(instance: &str, spans: Vec<Span>) -> Vec<u8> {
    let spans = spans.into_iter().map(one).collect();
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    let resource_spans =
        ResourceSpans { resource: resource(instance), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn one(span: Span) -> Proto {
    let kind = match span.kind {
        Kind::Server => span::SpanKind::Server,
        Kind::Client => span::SpanKind::Client,
    };
    let attributes = span.attributes.into_iter().map(|(key, value)| match value {
        Value::Text(value) => attribute(key, any_value::Value::StringValue(value)),
        Value::Number(value) => {
            attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
        }
    });
    let failed = || Status { code: status::StatusCode::Error.into(), ..Status::default() };
    Proto {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes.collect(),
        status: span.failed.then(failed),
        ..Proto::default()
    }
}

/// A request for `/v1/metrics`: requests and their duration by route, attempts and what is under way by
/// server. `started` is when counting began.
#[must_use]
pub fn metrics(
    instance: &str,
    snapshot: &Snapshot,
    history: &History,
    started: SystemTime,
) -> Vec<u8> {
    let times = Times { start: nanos(started), now: nanos(SystemTime::now()) };
    let mut durations = Vec::new();
    for route in &snapshot.routes {
        for (method, report) in history.methods(route.counts.id) {
            durations.push(times.duration(&route.name, method, &report));
        }
    }
    let members = || snapshot.upstreams.iter().flat_map(|u| u.pool.members());
    let attempts = members().map(|member| {
        let requests = member.endpoint.requests.load(std::sync::atomic::Ordering::Relaxed);
        times.number(server(&member.endpoint), requests)
    });
    let in_flight = members().map(|member| {
        times.number(server(&member.endpoint), u64::from(member.endpoint.in_flight()))
    });
    let cumulative = AggregationTemporality::Cumulative.into();
    let metrics = vec![
        Metric {
            name: "http.server.request.duration".to_owned(),
            description: "From a request's head to the end of its response.".to_owned(),
            unit: "s".to_owned(),
            data: Some(metric::Data::Histogram(Histogram {
                data_points: durations,
                aggregation_temporality: cumulative,
            })),
            ..Metric::default()
        },
        Metric {
            name: "tidegate.server.requests".to_owned(),
            description: "Attempts sent to a server.".to_owned(),
            unit: "{request}".to_owned(),
            data: Some(metric::Data::Sum(Sum {
                data_points: attempts.collect(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            })),
            ..Metric::default()
        },
        Metric {
            name: "tidegate.server.in_flight".to_owned(),
            description: "Requests under way at a server.".to_owned(),
            unit: "{request}".to_owned(),
            data: Some(metric::Data::Gauge(Gauge { data_points: in_flight.collect() })),
            ..Metric::default()
        },
    ];
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = ResourceMetrics {
        resource: resource(instance),
        scope_metrics,
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

fn server(endpoint: &crate::endpoint::Endpoint) -> Vec<KeyValue> {
    vec![text("tidegate.upstream", &endpoint.upstream), text("server.address", &endpoint.name)]
}

/// When counting began, and now, in nanoseconds since 1970.
struct Times {
    start: u64,
    now: u64,
}

impl Times {
    fn number(&self, attributes: Vec<KeyValue>, value: u64) -> NumberDataPoint {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        NumberDataPoint {
            attributes,
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            value: Some(number_data_point::Value::AsInt(value)),
            ..NumberDataPoint::default()
        }
    }

    fn duration(&self, route: &str, method: &str, report: &MethodReport) -> HistogramDataPoint {
        // Ours are cumulative, OTLP's are not, and the last one has no upper end.
        let upto = report.buckets.iter().copied().chain([report.count]);
        let before = std::iter::once(0).chain(report.buckets.iter().copied());
        HistogramDataPoint {
            attributes: vec![text("http.request.method", method), text("tidegate.route", route)],
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            count: report.count,
            sum: Some(report.micros as f64 / 1e6),
            bucket_counts: upto.zip(before).map(|(upto, before)| upto - before).collect(),
            explicit_bounds: BUCKETS.iter().map(|micros| *micros as f64 / 1e6).collect(),
            ..HistogramDataPoint::default()
        }
    }
}

fn nanos(at: SystemTime) -> u64 {
    // Exact enough: microseconds of today fit.
    (unix(at) * 1e6) as u64 * 1000
}
