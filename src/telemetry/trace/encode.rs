//! Spans in OTLP's protobuf form, version 1.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Proto, Status, span, status,
};
use prost::Message;

use super::{AttributeValue, Span, SpanKind};

/// An attribute that is text.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Describes this process as OTLP names who reports.
pub(crate) fn resource(instance: &str) -> Option<Resource> {
    let attributes = vec![
        text("service.name", "tidegate"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", instance),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

/// The program as OTLP names what reports.
pub(crate) fn scope() -> Option<InstrumentationScope> {
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
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
    };
    let attributes = span.attributes.into_iter().map(|(key, value)| match value {
        AttributeValue::Text(value) => attribute(key, any_value::Value::StringValue(value)),
        AttributeValue::Number(value) => {
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
