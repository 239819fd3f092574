//! The command line: parses arguments, calls the part that does the work, maps results to exit
//! codes.
//!
//! Exit codes: 0 is success, 1 is a configuration that does not load, 2 is a wrong command line.

mod admin;
mod check;
mod demo;
mod explain;
mod generate;
mod health;
mod plan;
mod reload;
mod run;
mod schema;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::DEFAULT_FILES;

/// The version with the commit it was built from and that commit's date, where `build.rs` knows
/// them.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("TIDEGATE_BUILD"));

/// A Layer-7 load balancer and API gateway.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = VERSION, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM or SIGINT
    Run(run::RunArguments),
    /// Check a configuration and print everything that is wrong with it
    Check(check::CheckArguments),
    /// Print which route and servers a request would get, and why not if none
    Explain(explain::ExplainArguments),
    /// Make a running proxy read its configuration again, and print what changed
    Reload(reload::ReloadArguments),
    /// Print how a running proxy and its servers are
    Status(reload::PlainArguments),
    /// Make a running proxy finish what it has and end
    Drain(reload::PlainArguments),
    /// Say by the exit code whether a running proxy is ready, for container checks
    Health(health::HealthArguments),
    /// Compute how many servers and proxies a load takes, and say which assumption decides
    Plan(Box<plan::PlanArguments>),
    /// Run three small servers and the proxy in front of them, to try it out
    Demo,
    /// Print the JSON schema of the configuration file, or its reference
    Schema(schema::SchemaArguments),
    /// Print the completions of a shell
    Completions(generate::Completions),
    /// Print the manual page
    Man,
}

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are "errors" too; clap knows where each goes and how it counts.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::from(2) };
        }
    };
    match arguments.command {
        Command::Run(arguments) => run::run_proxy(&arguments),
        Command::Check(arguments) => check::run_check(&arguments),
        Command::Explain(arguments) => explain::run_explain(&arguments),
        Command::Reload(arguments) => reload::run_reload(&arguments),
        Command::Status(arguments) => reload::run_status(&arguments),
        Command::Drain(arguments) => reload::run_drain(&arguments),
        Command::Health(arguments) => health::run_health(&arguments),
        Command::Plan(arguments) => plan::run_plan(&arguments),
        Command::Demo => demo::run_demo(),
        Command::Schema(arguments) => schema::print_schema(&arguments),
        Command::Completions(arguments) => generate::print_completions(&arguments),
        Command::Man => generate::print_man(),
    }
}

/// The file that was named, or the first default file that exists, or the first one there is, so
/// that the error names it.
fn config_file(named: Option<&Path>) -> PathBuf {
    let named = named.map(Path::to_owned);
    let existing = || DEFAULT_FILES.iter().map(PathBuf::from).find(|path| path.exists());
    named.or_else(existing).unwrap_or_else(|| PathBuf::from(DEFAULT_FILES[0]))
}

/// Writes to standard output and keeps `code`, unless writing fails. A reader that went away
/// (`| head`) has read what it wanted, so that is no failure.
fn print_text(text: &str, code: ExitCode) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard error and fails. Where nobody reads, nobody can be told.
fn print_error(text: &str) -> ExitCode {
    let mut out = io::stderr().lock();
    let _nobody_reads = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    ExitCode::FAILURE
}
