//! `tidegate demo`: shows the proxy at work without anything else installed.

use std::process::ExitCode;

use super::{print_error, print_text};
use crate::demo::{self, Demo};
use crate::net::Address;
use crate::server::shutdown::StopSignals;

/// Runs until SIGTERM or SIGINT. Exit code 0 after a drain, 1 when it could not start.
pub(super) fn run_demo() -> ExitCode {
    match show_demo() {
        Ok(code) => code,
        Err(message) => print_error(&format!("error: {message}\n")),
    }
}

fn show_demo() -> Result<ExitCode, String> {
    // Before anything is printed: who has read the page may already want to end it.
    let stop = StopSignals::new().map_err(|error| error.to_string())?;
    let Demo { running, servers, config, log } =
        demo::start_demo().map_err(|error| error.to_string())?;
    let proxy = running.listening.first().map(|(_, address)| address);
    let page =
        welcome_page(&address_url(proxy), &address_url(running.admin.as_ref()), &servers, &config);
    let code = print_text(&page, ExitCode::SUCCESS);
    if code == ExitCode::SUCCESS {
        stop.wait_for_stop(&running.commands, &running.status);
    }
    running.drain_and_stop();
    drop(log);
    Ok(code)
}

fn address_url(address: Option<&Address>) -> String {
    address.map(|address| format!("http://{address}")).unwrap_or_default()
}

fn welcome_page(
    proxy: &str,
    admin: &str,
    servers: &[(&str, std::net::SocketAddr)],
    config: &str,
) -> String {
    let servers: String = servers
        .iter()
        .map(|(name, address)| format!("  {:<13}http://{address}\n", format!("server {name}")))
        .collect();
    let config: String = config
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") })
        .collect();
    format!(
        "One process runs three servers, the proxy in front of them, and its admin endpoint:

  proxy        {proxy}
  admin        {admin}
{servers}
The proxy's configuration:

{config}
Try in another terminal:

  six requests, one to each server in turn
  curl -s '{proxy}/item/[1-6]'

  a redirect by the proxy, then five lines from a server as they come
  curl -sNiL {proxy}/old/stream

  what was counted
  curl -s {admin}/stats

Ctrl-C ends it.
"
    )
}
