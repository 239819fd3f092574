//! Compiles `log.access`, taking over the running writer when the destination stays.

use std::sync::Arc;

use super::Snapshot;
use super::compile::Purpose;
use crate::config::Finding;
use crate::config::schema::process::{Access, AccessFile, AccessFormat, Log, LogFormat};
use crate::files;
use crate::telemetry::access::sink::{Destination, Sink};
use crate::telemetry::access::{AccessLog, Format};

/// Compiles where and how requests are written down.
///
/// # Errors
/// The file cannot be opened.
pub(super) fn access(
    log: &Log,
    previous: Option<&Snapshot>,
    purpose: Purpose,
) -> Result<Option<AccessLog>, Box<Finding>> {
    let Log { level: _, format, access, trace: _ } = log;
    let (destination, format, share, place) = match access {
        Access::Off => return Ok(None),
        Access::Stdout => {
            let format = match format {
                LogFormat::Text => Format::Text,
                LogFormat::Json => Format::Json,
            };
            (Destination::Stdout, format, 1.0, crate::config::Place::NOWHERE)
        }
        Access::File(AccessFile { path, format, sample }) => {
            let format = match format {
                AccessFormat::Text => Format::Text,
                AccessFormat::Json => Format::Json,
                AccessFormat::Combined => Format::Combined,
            };
            let destination = if path.value.as_os_str() == "stdout" {
                Destination::Stdout
            } else {
                Destination::File(path.value.clone())
            };
            (destination, format, sample.fraction(), path.place)
        }
    };
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
        None => Arc::new(Sink::open(destination.clone()).map_err(bad)?),
    };
    Ok(Some(AccessLog { format, share, sink }))
}
