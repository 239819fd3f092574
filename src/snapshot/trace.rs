//! Compiles `log.trace`, taking over the running exporter when the receiver stays.

use std::sync::Arc;

use http::Uri;

use super::Snapshot;
use crate::config::Finding;
use crate::config::schema::process::{Log, Trace};
use crate::telemetry::trace::Tracing;
use crate::telemetry::trace::exporter::Exporter;

/// Compiles which requests are traced and where the traces go.
///
/// # Errors
/// The URL is none.
pub(super) fn tracing(
    log: &Log,
    previous: Option<&Snapshot>,
) -> Result<Option<Tracing>, Box<Finding>> {
    let Some(Trace { otlp, sample }) = &log.trace else { return Ok(None) };
    let bad = |message: String| Box::new(Finding::error("bad_value", otlp.place, message));
    let uri: Uri = otlp.value.parse().map_err(|error| bad(format!("no URL: {error}")))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(bad("a receiver is at http://HOST:PORT".to_owned()));
    }
    let running = previous.and_then(|p| p.trace.as_ref()).map(|tracing| &tracing.exporter);
    let exporter = match running.filter(|running| running.url == otlp.value) {
        Some(running) => running.clone(),
        None => {
            Arc::new(Exporter::start(&otlp.value, &uri).map_err(|error| bad(error.to_string()))?)
        }
    };
    Ok(Some(Tracing { share: sample.fraction(), exporter }))
}
