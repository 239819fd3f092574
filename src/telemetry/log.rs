//! The program's own log, to standard error, written by a thread of its own.
//!
//! A terminal or pipe that nobody reads must not stop a worker, so lines go through a bounded queue
//! and are dropped when it is full.

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;

use crate::config::schema::process::{Log, LogFormat};

/// Starts logging. Keep the result: dropping it writes what is still queued.
pub fn start_logging(log: &Log) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let filter = EnvFilter::new(format!("tidegate={}", log.level.as_str()));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // A second start, in tests, keeps the first one.
    let _first_wins = match log.format {
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_target(false).try_init(),
    };
    guard
}
