//! Lines of the access log as log records of OTLP, posted to `/v1/logs` (OTLP 1, "OTLP/HTTP").
//!
//! A block of lines is a batch. Requests belong to the trace that their line names, and what has a
//! name in OpenTelemetry's conventions for HTTP goes by it.

use std::io;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use prost::Message as _;
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::{Builder, Runtime};

use crate::clock::{self, Random};
use crate::net::fetch::Remote;
use crate::telemetry::otlp::{
    AnyValue, ExportLogs, KeyValue, LogRecord, LogSeverity, ResourceLogs, ScalarValue, ScopeLogs,
};
use crate::telemetry::trace::{encode, exporter};

/// The longest time that the collector may take for one batch, with all tries: the queue fills
/// meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Names of OpenTelemetry for what a line says.
const NAMES: [(&str, &str); 10] = [
    ("client", "client.address"),
    ("host", "server.address"),
    ("method", "http.request.method"),
    ("target", "url.original"),
    ("protocol", "network.protocol.version"),
    ("status", "http.response.status_code"),
    ("received", "http.request.body.size"),
    ("sent", "http.response.body.size"),
    ("user_agent", "user_agent.original"),
    ("code", "error.type"),
];

/// A collector.
pub(super) struct Otlp {
    receiver: Remote,
    instance: String,
    runtime: Runtime,
}

impl Otlp {
    pub(super) fn new(receiver: Remote) -> io::Result<Self> {
        let instance = format!("{:016x}", Random::from_entropy().next_u64());
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self { receiver, instance, runtime })
    }

    /// Sends lines that are JSON. An error loses all of them.
    pub(super) fn send_lines(&self, lines: &[u8]) -> Result<(), String> {
        let body = Bytes::from(encode_lines(&self.instance, lines));
        let tries = async {
            loop {
                let error =
                    match exporter::post_encoded(&self.receiver, "v1/logs", body.clone()).await {
                        Ok(status) if status.is_success() => return Ok(()),
                        Ok(status) if !exporter::is_retryable(status) => {
                            return Err(format!("the collector answered {status}"));
                        }
                        Ok(status) => format!("the collector answered {status}"),
                        Err(error) => error.to_string(),
                    };
                tracing::debug!(error, "log records are sent again");
                tokio::time::sleep(AGAIN).await;
            }
        };
        let all = async { tokio::time::timeout(PATIENCE, tries).await };
        let late = |_| Err(format!("the collector took nothing within {PATIENCE:?}"));
        self.runtime.block_on(all).unwrap_or_else(late)
    }
}

fn encode_lines(instance: &str, lines: &[u8]) -> Vec<u8> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.filter_map(|line| serde_json::from_slice::<Map<String, Json>>(line).ok());
    let log_records = lines.map(log_record).collect();
    let scope_logs = vec![ScopeLogs { scope: encode::program_scope(), log_records }];
    let resource = encode::process_resource(instance);
    let resource_logs = ResourceLogs { resource, scope_logs };
    ExportLogs { resource_logs: vec![resource_logs] }.encode_to_vec()
}

fn log_record(line: Map<String, Json>) -> LogRecord {
    let text = |key: &str| line.get(key).and_then(Json::as_str).unwrap_or_default();
    let status = line.get("status").and_then(Json::as_u64).unwrap_or_default();
    let body = format!("{} {} {status}", text("method"), text("target"));
    let (severity, word) = match (status, text("outcome")) {
        (500.., _) => (LogSeverity::Error, "ERROR"),
        (_, "whole" | "client_gone") => (LogSeverity::Info, "INFO"),
        _ => (LogSeverity::Warn, "WARN"),
    };
    let observed = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    let observed = u64::try_from(observed.as_nanos()).unwrap_or(u64::MAX);
    let at = OffsetDateTime::parse(text("time"), &Rfc3339).ok();
    let at = at.and_then(|at| u64::try_from(at.unix_timestamp_nanos()).ok());
    let trace_id = parse_id(text("trace_id"));
    let attributes = line.iter().filter(|(key, _)| !matches!(&***key, "time" | "trace_id"));
    LogRecord {
        time_unix_nano: at.unwrap_or(observed),
        observed_time_unix_nano: observed,
        severity_number: severity.into(),
        severity_text: word.to_owned(),
        body: Some(AnyValue { value: Some(ScalarValue::Text(body)) }),
        attributes: attributes.filter_map(|(key, value)| log_attribute(key, value)).collect(),
        trace_id,
    }
}

fn log_attribute(key: &str, value: &Json) -> Option<KeyValue> {
    let value = match value {
        Json::String(text) if key == "protocol" => {
            ScalarValue::Text(text.trim_start_matches("HTTP/").to_owned())
        }
        Json::String(text) => ScalarValue::Text(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => ScalarValue::Whole(whole),
            None => ScalarValue::Fraction(number.as_f64()?),
        },
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    let known = NAMES.iter().find(|(name, _)| *name == key);
    let key = match (known, key.split_once(':')) {
        (Some((_, name)), _) => (*name).to_owned(),
        (None, Some(("header", name))) => format!("http.request.header.{name}"),
        (None, Some(("jwt", claim))) => format!("tidegate.jwt.{claim}"),
        (None, _) => format!("tidegate.{key}"),
    };
    Some(KeyValue { key, value: Some(AnyValue { value: Some(value) }) })
}

/// The bytes of a trace's id, none where there is none.
fn parse_id(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let all: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    all.filter(|all| all.len() == 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;

    use super::*;

    #[test]
    fn a_line_is_a_record() {
        let line = br#"{"time":"2026-11-21T04:20:18.042Z","method":"GET","target":"/a","status":502,"outcome":"refused","code":"upstream_connect","trace_id":"0af7651916cd43dd8448eb211c80319c","total_ms":1.5,"cache":null,"header:x-a":"b","jwt:sub":"anna"}"#;
        let lines = [&line[..], b"\n", b"{\n"].concat();
        let decoded = ExportLogsServiceRequest::decode(&*encode_lines("i", &lines)).unwrap();
        let records = &decoded.resource_logs[0].scope_logs[0].log_records;
        assert_eq!(records.len(), 1);
        let record = &records[0];
        assert_eq!(record.time_unix_nano, 1_795_234_818_042_000_000);
        assert_eq!((record.severity_text.as_str(), record.trace_id.len()), ("ERROR", 16));
        let keys: Vec<&str> = record.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "http.request.method",
                "url.original",
                "http.response.status_code",
                "tidegate.outcome",
                "error.type",
                "tidegate.total_ms",
                "http.request.header.x-a",
                "tidegate.jwt.sub"
            ]
        );
    }
}
