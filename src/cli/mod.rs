//! The command line: parses arguments, calls the part that does the work, maps results to exit codes.

use std::process::ExitCode;

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
