//! `tidegate schema`: the JSON schema of the configuration file, for editors and validators.

use std::process::ExitCode;

use super::print;
use crate::config::json_schema;

/// Prints the schema.
pub(super) fn run() -> ExitCode {
    print(&format!("{:#}\n", json_schema().as_value()), ExitCode::SUCCESS)
}
