//! Spans in OTLP's protobuf form, version 1.

use prost::Message;

use super::{AttributeValue, Span, SpanKind};
use crate::telemetry::otlp::{
    self, AnyValue, ExportTraces, KeyValue, Resource, ResourceSpans, ScalarValue, Scope,
    ScopeSpans, SpanStatus, StatusCode,
};

/// An attribute that is text.
pub(crate) fn text_attribute(key: &str, value: &str) -> KeyValue {
    new_attribute(key, ScalarValue::Text(value.to_owned()))
}

fn new_attribute(key: &str, value: ScalarValue) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value }
}

/// Describes this process as OTLP names who reports.
pub(crate) fn process_resource(instance: &str) -> Option<Resource> {
    let attributes = vec![
        text_attribute("service.name", "tidegate"),
        text_attribute("service.version", env!("CARGO_PKG_VERSION")),
        text_attribute("service.instance.id", instance),
    ];
    Some(Resource { attributes })
}

/// The program as OTLP names what reports.
pub(crate) fn program_scope() -> Option<Scope> {
    let (name, version) = ("tidegate".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    Some(Scope { name, version })
}

/// A request for `/v1/traces`.
#[must_use]
pub fn encode_spans(instance: &str, spans: Vec<Span>) -> Vec<u8> {
    let spans = spans.into_iter().map(encode_span).collect();
    let scope_spans = vec![ScopeSpans { scope: program_scope(), spans }];
    let resource_spans = ResourceSpans { resource: process_resource(instance), scope_spans };
    ExportTraces { resource_spans: vec![resource_spans] }.encode_to_vec()
}

fn encode_span(span: Span) -> otlp::SpanMessage {
    let kind = match span.kind {
        SpanKind::Server => otlp::SpanSide::Server,
        SpanKind::Client => otlp::SpanSide::Client,
    };
    let attributes = span.attributes.into_iter().map(|(key, value)| match value {
        AttributeValue::Text(value) => new_attribute(key, ScalarValue::Text(value)),
        AttributeValue::Number(value) => {
            new_attribute(key, ScalarValue::Whole(i64::try_from(value).unwrap_or(i64::MAX)))
        }
    });
    otlp::SpanMessage {
        trace_id: span.trace.to_vec(),
        span_id: span.id.to_vec(),
        parent_span_id: span.parent.map(Vec::from).unwrap_or_default(),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes.collect(),
        status: span.failed.then(|| SpanStatus { code: StatusCode::Error.into() }),
    }
}
