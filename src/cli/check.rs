//! `tidegate check`: all findings of a configuration.
//!
//! The findings are what was asked for, so they go to standard output in either format.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use http::Method;
use serde_json::{Value as Json, json};

use super::reload::describe_changes;
use super::{admin, config_file, print_error, print_text};
use crate::config::shown::{self, Shown};
use crate::config::{Config, FindingReport, TextColour};
use crate::reload::diff::{self, ConfigChange, StayingCounts};
use crate::snapshot::check;

#[derive(Debug, Args)]
pub(super) struct CheckArguments {
    /// The configuration file [default: ./tidegate.toml, then /etc/tidegate/tidegate.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    format: CheckFormat,
    /// Also print what a running proxy would change with it: the URL of its admin endpoint,
    /// http://HOST:PORT or unix:/PATH. The token is taken from TIDEGATE_TOKEN
    #[arg(long, value_name = "URL")]
    against: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// For people
    Text,
    /// For machines
    Json,
}

/// Exit code 0 if the configuration loads, warnings or not, and 1 if it does not, or if the proxy
/// to compare with cannot be asked.
pub(super) fn run_check(arguments: &CheckArguments) -> ExitCode {
    let path = config_file(arguments.config.as_deref());
    let (report, config) = match check::check_file(&path) {
        Ok(loaded) => {
            let report = FindingReport::of(loaded.findings, loaded.sources);
            (report, Some(loaded.config))
        }
        Err(report) => (report, None),
    };
    let code = if config.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let file = path.display().to_string();
    let difference = match (&arguments.against, &config) {
        (Some(url), Some(config)) => match ask_difference(url, config) {
            Ok(difference) => Some(difference),
            Err(error) => return print_error(&format!("error: {error}\n")),
        },
        _ => None,
    };
    let output = match arguments.format {
        CheckFormat::Text => {
            let mut text = report_text(&report, config.as_ref(), &file);
            if let Some((changes, stays)) = &difference {
                text.push_str(&describe_changes(changes, stays));
            }
            text
        }
        CheckFormat::Json => report_json(&report, config.is_some(), &file, difference.as_ref()),
    };
    print_text(&output, code)
}

fn report_text(report: &FindingReport, config: Option<&Config>, file: &str) -> String {
    // https://no-color.org: any value but the empty one turns colour off.
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let terminal = std::io::stdout().is_terminal() && wanted;
    let colour = if terminal { TextColour::Ansi } else { TextColour::Plain };
    let mut out = if report.findings.is_empty() { String::new() } else { report.text(colour) };
    if let Some(config) = config {
        let count = |n: usize, what| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (listen, upstream) = (config.listen.len(), config.upstream.len());
        out.push_str(&format!(
            "ok: {file} ({}, {}, {})\n",
            count(listen, "listener"),
            count(upstream, "upstream"),
            count(config.route.len(), "route"),
        ));
    }
    out
}

/// Asks a proxy that runs what it would change.
fn ask_difference(
    url: &str,
    config: &Config,
) -> Result<(Vec<ConfigChange>, StayingCounts), String> {
    let (status, body) = admin::call_url(url, Method::GET, "/config")?;
    let running = serde_json::from_str::<Shown>(&body).ok().filter(|_| status == 200);
    let running = running.ok_or_else(|| format!("{url} answered {status}: {body}"))?;
    let new = shown::masked(&shown::shown(config));
    Ok(diff::diff_configs(&running, &new))
}

fn report_json(
    report: &FindingReport,
    loads: bool,
    file: &str,
    difference: Option<&(Vec<ConfigChange>, StayingCounts)>,
) -> String {
    let mut object = json!({ "file": file, "ok": loads });
    if let Some((changes, stays)) = difference {
        let drains = diff::drained_servers(changes);
        let against = json!({ "changes": changes, "stays": stays, "drains": drains });
        object["against"] = against;
    }
    if let (Json::Object(object), Json::Object(report)) = (&mut object, report.json()) {
        object.extend(report);
    }
    format!("{object:#}\n")
}
