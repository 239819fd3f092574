use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Told;
use opentelemetry_proto::tonic::metrics::v1::metric::Data as Kind;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

use super::*;

/// What the protocol's own crate reads from a message. A field that it does not know, or knows
/// by another type, would be missing in what it writes again.
fn read_back<Theirs: Message + Default>(ours: &impl Message) -> Theirs {
    let bytes = ours.encode_to_vec();
    let theirs = Theirs::decode(&*bytes).unwrap();
    assert_eq!(theirs.encode_to_vec(), bytes);
    theirs
}

fn attributes() -> Vec<KeyValue> {
    let values =
        [ScalarValue::Text("t".to_owned()), ScalarValue::Whole(-3), ScalarValue::Fraction(0.5)];
    let values = values.map(|value| Some(AnyValue { value: Some(value) }));
    ["text", "whole", "fraction"]
        .into_iter()
        .zip(values)
        .map(|(key, value)| KeyValue { key: key.to_owned(), value })
        .collect()
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: attributes() })
}

fn scope() -> Option<Scope> {
    Some(Scope { name: "n".to_owned(), version: "v".to_owned() })
}

#[test]
fn traces_are_read_as_they_were_meant() {
    let span = SpanMessage {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        name: "name".to_owned(),
        kind: SpanSide::Client.into(),
        start_time_unix_nano: 4,
        end_time_unix_nano: 5,
        attributes: attributes(),
        status: Some(SpanStatus { code: StatusCode::Error.into() }),
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![span] }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans }];
    let theirs: ExportTraceServiceRequest = read_back(&ExportTraces { resource_spans });

    let spans = &theirs.resource_spans[0].scope_spans[0];
    let about = spans.scope.as_ref().unwrap();
    assert_eq!((about.name.as_str(), about.version.as_str()), ("n", "v"));
    let span = &spans.spans[0];
    assert_eq!((&*span.trace_id, &*span.span_id), (&[1; 16][..], &[2; 8][..]));
    assert_eq!((&*span.parent_span_id, span.name.as_str()), (&[3; 8][..], "name"));
    assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (4, 5));
    assert_eq!((span.kind().as_str_name(), span.kind), ("SPAN_KIND_CLIENT", 3));
    assert_eq!(span.status.as_ref().unwrap().code().as_str_name(), "STATUS_CODE_ERROR");
    let values: Vec<_> = span
        .attributes
        .iter()
        .map(|each| (each.key.as_str(), each.value.clone().unwrap().value.unwrap()))
        .collect();
    assert_eq!(
        values,
        [
            ("text", Told::StringValue("t".to_owned())),
            ("whole", Told::IntValue(-3)),
            ("fraction", Told::DoubleValue(0.5))
        ]
    );
    let server = SpanMessage { kind: SpanSide::Server.into(), ..SpanMessage::default() };
    let theirs: opentelemetry_proto::tonic::trace::v1::Span = read_back(&server);
    assert_eq!(theirs.kind().as_str_name(), "SPAN_KIND_SERVER");
}

#[test]
fn metrics_are_read_as_they_were_meant() {
    let point = || NumberPoint {
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        as_int: Some(0),
        attributes: attributes(),
    };
    let durations = HistogramPoint {
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(0.25),
        bucket_counts: vec![1, 2],
        explicit_bounds: vec![0.125],
        attributes: attributes(),
    };
    let aggregation_temporality = Temporality::Cumulative.into();
    let kinds = [
        Measured::Gauge(Gauge { data_points: vec![point()] }),
        Measured::Sum(Sum {
            data_points: vec![point()],
            aggregation_temporality,
            is_monotonic: true,
        }),
        Measured::Histogram(Histogram { data_points: vec![durations], aggregation_temporality }),
    ];
    let metric = |data| Metric {
        name: "name".to_owned(),
        description: "what".to_owned(),
        unit: "s".to_owned(),
        data: Some(data),
    };
    let metrics = kinds.into_iter().map(metric).collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics }];
    let theirs: ExportMetricsServiceRequest = read_back(&ExportMetrics { resource_metrics });

    let metrics = &theirs.resource_metrics[0].scope_metrics[0].metrics;
    assert_eq!(metrics.len(), 3);
    for metric in metrics {
        let told = (metric.name.as_str(), metric.description.as_str(), metric.unit.as_str());
        assert_eq!(told, ("name", "what", "s"));
    }
    let Some(Kind::Gauge(gauge)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
    let Some(Kind::Sum(sum)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
    let Some(Kind::Histogram(sizes)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
    for point in [&gauge.data_points[0], &sum.data_points[0]] {
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
        assert_eq!((point.value, point.attributes.len()), (Some(Number::AsInt(0)), 3));
    }
    assert!(sum.is_monotonic);
    let cumulative = "AGGREGATION_TEMPORALITY_CUMULATIVE";
    assert_eq!(sum.aggregation_temporality().as_str_name(), cumulative);
    assert_eq!(sizes.aggregation_temporality().as_str_name(), cumulative);
    let point = &sizes.data_points[0];
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (1, 2));
    assert_eq!((point.count, point.sum, point.attributes.len()), (3, Some(0.25), 3));
    assert_eq!((&*point.bucket_counts, &*point.explicit_bounds), (&[1, 2][..], &[0.125][..]));
}

#[test]
fn log_records_are_read_as_they_were_meant() {
    let severities = [
        (LogSeverity::Info, "SEVERITY_NUMBER_INFO"),
        (LogSeverity::Warn, "SEVERITY_NUMBER_WARN"),
        (LogSeverity::Error, "SEVERITY_NUMBER_ERROR"),
    ];
    let records = severities.map(|(severity, word)| LogRecord {
        time_unix_nano: 1,
        severity_number: severity.into(),
        severity_text: word.to_owned(),
        body: Some(AnyValue { value: Some(ScalarValue::Text("said".to_owned())) }),
        attributes: attributes(),
        trace_id: vec![2; 16],
        observed_time_unix_nano: 3,
    });
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: records.to_vec() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs }];
    let theirs: ExportLogsServiceRequest = read_back(&ExportLogs { resource_logs });

    let records = &theirs.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(records.len(), 3);
    for record in records {
        assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (1, 3));
        assert_eq!(record.severity_number().as_str_name(), record.severity_text);
        assert_eq!((&*record.trace_id, record.attributes.len()), (&[2; 16][..], 3));
        let body = record.body.as_ref().unwrap().value.as_ref().unwrap();
        assert_eq!(*body, Told::StringValue("said".to_owned()));
    }
}
