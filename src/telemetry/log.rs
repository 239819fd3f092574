//! The program's own log, to standard error, written by a thread of its own.
//!
//! A terminal or pipe that nobody reads must not stop a worker, so lines go through a bounded queue
//! and are dropped when it is full.

use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::schema::process::{Log, LogFormat, LogLevel};

/// Starts logging. Keep the result: dropping it writes what is still queued.
pub fn start_logging(log: &Log) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking(std::io::stderr());
    let level = level_filter(log.level);
    // What the libraries say is not for operators.
    let own = Targets::new().with_target("tidegate", level);
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    // A second start, in tests, keeps the first one.
    let _first_wins = match log.format {
        LogFormat::Text => {
            builder.with_target(false).with_ansi(false).finish().with(own).try_init()
        }
        LogFormat::Json => {
            builder.json().flatten_event(true).with_target(false).finish().with(own).try_init()
        }
    };
    guard
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
