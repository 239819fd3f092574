//! The command line: parses arguments, calls the part that does the work, maps results to exit codes.

use std::process::ExitCode;

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    let path = std::env::args().nth(3).unwrap_or_default();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let Ok(loaded) = crate::config::load_str(&path, &text) else { return ExitCode::FAILURE };
    let _guard = crate::telemetry::log::start(&loaded.config.log);
    match crate::server::start(&loaded.config) {
        Ok(running) => {
            let _ = running.until_signal();
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "could not start");
            ExitCode::FAILURE
        }
    }
}
