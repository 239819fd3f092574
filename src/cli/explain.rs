//! `tidegate explain`: what would happen to a request, by a file or by a proxy that runs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{admin, config_file, print_error, print_text};
use crate::config::{self, FindingReport, TextColour};
use crate::discovery::Found;
use crate::explain::{ExplainQuestion, Explanation, explain_exchange};
use crate::snapshot::compile;
use crate::snapshot::weights::Weights;
use crate::tls::facts::{self, Certificate};

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The request's method
    #[arg(value_name = "METHOD")]
    method: String,
    /// The request's URL
    #[arg(value_name = "URL")]
    url: String,
    /// A header field of the request, "name: value"; may be given several times
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    client: IpAddr,
    /// The listener where it comes in [default: the first]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The name that the TLS connection was made for [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// The client's certificate, as PEM
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The configuration file [default: ./tidegate.toml, then /etc/tidegate/tidegate.toml]
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Ask a proxy that runs, with its servers as they are: http://HOST:PORT or unix:/PATH
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Exit code 0 when a route takes the request, 1 when it is refused or cannot be explained.
pub(super) fn run_explain(arguments: &ExplainArguments) -> ExitCode {
    let said = match &arguments.admin {
        Some(url) => ask_admin(arguments, |path| admin::call_url(url, Method::GET, path)),
        None if admin::no_file(arguments.config.as_deref()) => {
            ask_admin(arguments, admin::look_at_demo)
        }
        None => read_explanation(arguments),
    };
    match said {
        Ok(said) => {
            let code = if said.refused.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            let json = || serde_json::to_string_pretty(&said).unwrap_or_default() + "\n";
            print_text(&if arguments.json { json() } else { said.to_text() }, code)
        }
        Err(error) => print_error(&format!("error: {}\n", error.trim_end())),
    }
}

fn parse_fields(arguments: &ExplainArguments) -> Result<Vec<(String, String)>, String> {
    let split = |field: &String| {
        let (name, value) = field
            .split_once(':')
            .ok_or_else(|| format!("`{field}` is no header field: write \"name: value\""))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    arguments.headers.iter().map(split).collect()
}

fn read_explanation(arguments: &ExplainArguments) -> Result<Explanation, String> {
    let file = config_file(arguments.config.as_deref());
    let plain = |report: &FindingReport| report.text(TextColour::Plain);
    let loaded = config::load(&file).map_err(|report| plain(&report))?;
    let purpose = compile::Purpose::Check { files: true };
    let snapshot = compile::compile_for(
        purpose,
        &loaded.config,
        (None, (&Found::default(), &Weights::default())),
        u32::MAX,
    )
    .map_err(|findings| plain(&FindingReport::of(findings, loaded.sources.clone())))?;
    let question = ExplainQuestion {
        method: arguments.method.clone(),
        url: arguments.url.clone(),
        headers: parse_fields(arguments)?,
        client: arguments.client,
        listener: arguments.listener.clone(),
        sni: arguments.sni.clone(),
        certificate: read_certificate(arguments)?,
    };
    explain_exchange(&snapshot, &question)
}

fn read_certificate(arguments: &ExplainArguments) -> Result<Option<Certificate>, String> {
    arguments.client_cert.as_deref().map(facts::read_client).transpose()
}

fn ask_admin(
    arguments: &ExplainArguments,
    call: impl FnOnce(&str) -> Result<(u16, String), String>,
) -> Result<Explanation, String> {
    let coded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut path = format!(
        "/explain?method={}&url={}&client={}",
        coded(&arguments.method),
        coded(&arguments.url),
        coded(&arguments.client.to_string())
    );
    for (name, value) in parse_fields(arguments)? {
        path.push_str(&format!("&header={}", coded(&format!("{name}:{value}"))));
    }
    if let Some(listener) = &arguments.listener {
        path.push_str(&format!("&listener={}", coded(listener)));
    }
    if let Some(sni) = &arguments.sni {
        path.push_str(&format!("&sni={}", coded(sni)));
    }
    if let Some(Certificate { subject, names, .. }) = read_certificate(arguments)? {
        path.push_str(&format!("&cert_subject={}", coded(&subject)));
        for name in &names {
            path.push_str(&format!("&cert_name={}", coded(name)));
        }
    }
    let (status, body) = call(&path)?;
    let said = serde_json::from_str(&body).ok().filter(|_| status == 200);
    said.ok_or_else(|| format!("the proxy answered {status}: {body}"))
}
