//! `tidegate run`: the proxy itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{config_file, print_error};
use crate::config::{self, Config, FindingReport, TextColour};
use crate::net::Address;
use crate::server::shutdown::StopSignals;
use crate::server::{self, StartError, activation};
use crate::{admin, telemetry};

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The configuration file [default: ./tidegate.toml, then /etc/tidegate/tidegate.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT. Exit code 0 after a drain, 1 when it could not start.
pub(super) fn run_proxy(arguments: &RunArguments) -> ExitCode {
    activation::note_missing();
    let path = config_file(arguments.config.as_deref());
    let loaded = match config::load(&path) {
        Ok(loaded) => loaded,
        Err(report) => return print_error(&report.text(TextColour::Plain)),
    };
    let log = telemetry::log::start_logging(&loaded.config.log);
    let sources = loaded.sources;
    if !loaded.findings.is_empty() {
        let report = FindingReport::of(loaded.findings, sources.clone());
        print_error(&report.text(TextColour::Plain));
    }
    // Before anything is started: who sees the proxy listen may already want to end it.
    let stop = match StopSignals::new() {
        Ok(stop) => stop,
        Err(error) => return print_error(&format!("error: {error}\n")),
    };
    let code = match server::start_server(&loaded.config, Some(&path), &sources, admin::open_admin)
    {
        Ok(running) => {
            announce_start(&path, &loaded.config, running.admin.as_ref());
            stop.wait_for_stop(&running.commands, &running.status);
            running.drain_and_stop();
            ExitCode::SUCCESS
        }
        Err(StartError::Config(findings)) => {
            print_error(&FindingReport::of(findings, sources).text(TextColour::Plain))
        }
        Err(error) => print_error(&format!("error: {error}\n")),
    };
    drop(log);
    code
}

/// One line about what runs, for who has just started it.
fn announce_start(file: &Path, config: &Config, admin: Option<&Address>) {
    let version = super::VERSION;
    let dashboard = match admin {
        Some(address @ Address::Tcp(_)) => format!("http://{address}/"),
        Some(address) => address.to_string(),
        None => "none, for want of [admin]".to_owned(),
    };
    let (routes, upstreams) = (config.route.len(), config.upstream.len());
    tracing::info!(version, file = %file.display(), dashboard, routes, upstreams, "tidegate runs");
}
