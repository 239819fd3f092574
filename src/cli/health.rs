//! `tidegate health`: an exit code for container checks, without a shell or curl in the image.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;

use super::admin::CallTarget;
use super::{print_error, print_text};

/// Container engines give a check some seconds; an answer takes a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct HealthArguments {
    #[command(flatten)]
    target: CallTarget,
    /// Ask only whether the process lives: a drain then counts as healthy
    #[arg(long)]
    live: bool,
}

/// Exit code 0 when the proxy answers that it is ready, or lives; 1 when it does not, or not within
/// two seconds.
pub(super) fn run_health(arguments: &HealthArguments) -> ExitCode {
    let path = if arguments.live { "/live" } else { "/ready" };
    match arguments.target.call_within(PATIENCE, Method::GET, path) {
        Ok((200, _)) => print_text("healthy\n", ExitCode::SUCCESS),
        Ok((status, _)) => print_error(&format!("error: {path} answers {status}\n")),
        Err(error) => print_error(&format!("error: {error}\n")),
    }
}
