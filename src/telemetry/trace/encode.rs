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
pub(crate) fn text_attribute(key: &str, value: &str) -> KeyValue {
    new_attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn new_attribute(key: &str, value: any_value::Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Describes this process as OTLP names who reports.
pub(crate) fn process_resource(instance: &str) -> Option<Resource> {
    let attributes = vec![
        text_attribute("service.name", "tidegate"),
        text_attribute("service.version", env!("CARGO_PKG_VERSION")),
        text_attribute("service.instance.id", instance),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

/// The program as OTLP names what reports.
pub(crate) fn program_scope() -> Option<InstrumentationScope> {
    let (name, version) = ("tidegate".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Some(InstrumentationScope { name, version, ..InstrumentationScope::default() })
}

/// A request for `/v1/traces`.
#[must_use]
pub fn encode_spans(instance: &str, spans: Vec<Span>) -> Vec<u8> {
    let spans = spans.into_iter().map(encode_span).collect();
    let scope_spans = vec![ScopeSpans { scope: program_scope(), spans, ..ScopeSpans::default() }];
    let resource_spans = ResourceSpans {
        resource: process_resource(instance),
        scope_spans,
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn encode_span(span: Span) -> Proto {
    let kind = match span.kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Client => span::SpanKind::Client,
    };
    let attributes = span.attributes.into_iter().map(|(key, value)| match value {
        AttributeValue::Text(value) => new_attribute(key, any_value::Value::StringValue(value)),
        AttributeValue::Number(value) => {
            new_attribute(key, any_value::Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
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
