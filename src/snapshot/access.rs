//! Compiles `log.access`, taking over the running writer when the destination stays.

use std::sync::Arc;

use super::Snapshot;
use super::compile::Purpose;
use crate::config::read::WordReader as _;
use crate::config::schema::process::{
    AccessFile, AccessFormat, AccessLogConfig, AccessOtlp, Log, LogFormat,
};
use crate::config::schema::words::{LogField, ServerAddress};
use crate::config::{Finding, Place};
use crate::files;
use crate::net::fetch::Remote;
use crate::telemetry::access::sink::{Destination, LineSink};
use crate::telemetry::access::{AccessLog, Extra, LineFormat, LineSource};

/// Compiles where and how requests are written down.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn compile_access(
    log: &Log,
    previous: Option<&Snapshot>,
    purpose: Purpose,
) -> Result<Option<AccessLog>, Box<Finding>> {
    let Log { level: _, format, access, trace: _ } = log;
    let (destination, format, share, place) = match access {
        AccessLogConfig::Off => return Ok(None),
        AccessLogConfig::Stdout => {
            let format = match format {
                LogFormat::Text => LineFormat::Text,
                LogFormat::Json => LineFormat::Json,
            };
            (Destination::Stdout, format, 1.0, crate::config::Place::NOWHERE)
        }
        AccessLogConfig::File(AccessFile { path, format, sample, fields: _ }) => {
            let format = match format {
                AccessFormat::Text => LineFormat::Text,
                AccessFormat::Json => LineFormat::Json,
                AccessFormat::Combined => LineFormat::Combined,
            };
            let server = path.value.to_str().and_then(|path| path.strip_prefix("syslog:"));
            let destination = match server {
                Some(server) => Destination::Syslog(syslog_server(server, path.place)?),
                None if path.value.as_os_str() == "stdout" => Destination::Stdout,
                None => Destination::File(path.value.clone()),
            };
            (destination, format, sample.fraction(), path.place)
        }
        AccessLogConfig::Otlp(AccessOtlp { otlp, sample, fields: _ }) => {
            Remote::parse_url(&otlp.value)
                .map_err(|why| Box::new(Finding::error("bad_value", otlp.place, why)))?;
            (Destination::Otlp(otlp.value.clone()), LineFormat::Json, sample.fraction(), otlp.place)
        }
    };
    let fields = access.fields();
    if let Some(first) = fields.first().filter(|_| format == LineFormat::Combined) {
        let finding = Finding::error("bad_value", first.place, "`combined` has no room for fields");
        return Err(Box::new(finding.help("choose format = \"json\" or \"text\"")));
    }
    let bad = |why: String| {
        let finding =
            Finding::error("bad_value", place, format!("the access log cannot be opened: {why}"));
        // What containers call their output is a FIFO as often as not.
        let standard = matches!(&destination, Destination::File(path) if path.starts_with("/dev"));
        let help = standard.then(|| "write access = \"stdout\" for standard output".to_owned());
        Box::new(finding.maybe_help(help))
    };
    if let Purpose::Check { files } = purpose {
        if let (Destination::File(path), true) = (&destination, files) {
            files::could_append(path).map_err(bad)?;
        }
        return Ok(None);
    }
    let running = previous.and_then(|p| p.access.as_ref()).map(|access| &access.sink);
    let sink = match running.filter(|sink| sink.destination == destination) {
        Some(sink) => sink.clone(),
        None => Arc::new(LineSink::open_destination(destination.clone()).map_err(bad)?),
    };
    let fields = fields.iter().map(|field| extra_field(&field.value)).collect();
    Ok(Some(AccessLog { format, share, fields, sink }))
}

fn extra_field(written: &LogField) -> Extra {
    let of = match written {
        LogField::Header(name) => LineSource::Header(name.as_bytes().into()),
        LogField::Jwt(claim) => LineSource::Claim(claim.as_str().into()),
    };
    Extra { key: written.to_string().into(), of }
}

/// `HOST:PORT` of a syslog server.
fn syslog_server(written: &str, place: Place) -> Result<String, Box<Finding>> {
    match ServerAddress::parse_word(written) {
        Ok(address @ (ServerAddress::Ip(_) | ServerAddress::Name { .. })) => {
            Ok(address.to_string())
        }
        Ok(ServerAddress::Unix(_)) | Err(_) => {
            let message = format!("\"syslog:{written}\" names no server");
            let finding = Finding::error("bad_value", place, message);
            Err(Box::new(
                finding.help("write \"syslog:HOST:PORT\", such as \"syslog:10.0.0.5:514\""),
            ))
        }
    }
}
