//! Compiles `log.trace`, taking over the running exporter when the receiver stays.

use std::sync::Arc;

use super::Snapshot;
use super::compile::Purpose;
use crate::config::Finding;
use crate::config::schema::process::{Log, TraceConfig, TraceForm};
use crate::net::fetch::Remote;
use crate::telemetry::trace::exporter::Exporter;
use crate::telemetry::trace::{Propagate, Tracing};

/// Compiles which requests are traced and where the traces go.
///
/// # Errors
/// The URL is none.
pub(super) fn compile_tracing(
    log: &Log,
    previous: Option<&Snapshot>,
    purpose: Purpose,
) -> Result<Option<Tracing>, Box<Finding>> {
    let Some(TraceConfig { otlp, sample, propagate }) = &log.trace else { return Ok(None) };
    let bad = |message: String| Box::new(Finding::error("bad_value", otlp.place, message));
    let receiver = Remote::parse_url(&otlp.value).map_err(bad)?;
    if let Purpose::Check { .. } = purpose {
        return Ok(None);
    }
    let running = previous.and_then(|p| p.trace.as_ref()).map(|tracing| &tracing.exporter);
    let exporter = match running.filter(|running| running.url == otlp.value) {
        Some(running) => running.clone(),
        None => Arc::new(
            Exporter::start_thread(&otlp.value, receiver)
                .map_err(|error| bad(error.to_string()))?,
        ),
    };
    let propagate = Propagate {
        w3c: propagate.contains(&TraceForm::W3c),
        b3: propagate.contains(&TraceForm::B3),
    };
    Ok(Some(Tracing { share: sample.fraction(), exporter, propagate }))
}
