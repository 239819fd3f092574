//! `tidegate demo` without the talking: three small servers, the proxy in front of them and its
//! admin endpoint, in one process.
//!
//! The proxy is the real one. It is started from a configuration text as any other, so what the
//! demo shows is what a file with the same text would do.

mod origin;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use thiserror::Error;
use tracing_appender::non_blocking::WorkerGuard;

use crate::admin;
use crate::config::{self, Config, FindingReport, Sources};
use crate::server::{self, RunningServer, StartError};
use crate::telemetry;

/// The configuration of the demo; `@NAME@` stands for a port or an address.
const TEMPLATE: &str = include_str!("demo.toml");
/// The servers by name, as in the template.
const SERVERS: [&str; 3] = ["one", "two", "three"];
/// The port of the proxy if nobody else listens there.
const PROXY_PORT: u16 = 8080;
/// The port of the admin endpoint if nobody else listens there.
const ADMIN_PORT: u16 = 9900;

/// A demo that runs until its proxy is drained.
#[derive(Debug)]
pub struct Demo {
    /// The proxy.
    pub running: RunningServer,
    /// The servers behind it, by name.
    pub servers: [(&'static str, SocketAddr); 3],
    /// The configuration that the proxy was started with.
    pub config: String,
    /// Writes what is still queued in the log when the demo ends.
    pub log: WorkerGuard,
}

/// A reason why there is no demo.
#[derive(Debug, Error)]
pub enum DemoError {
    /// A server could not be started.
    #[error("cannot start a demo server: {0}")]
    Server(#[from] io::Error),
    /// The embedded configuration does not load: a defect.
    #[error("{}", .0.text(config::TextColour::Plain))]
    Config(FindingReport),
    /// The proxy could not be started.
    #[error("{0}")]
    Start(#[from] StartError),
}

/// Starts the servers and the proxy. Proxy and admin endpoint get the ports that people expect,
/// or any free ones where something else has those.
///
/// # Errors
/// [`DemoError`]; servers that were started go on until the process ends.
pub fn start_demo() -> Result<Demo, DemoError> {
    let [one, two, three] = SERVERS;
    let servers = [
        (one, origin::start_origin(one)?),
        (two, origin::start_origin(two)?),
        (three, origin::start_origin(three)?),
    ];
    let (mut text, mut config) =
        write_config(&servers, free_port(PROXY_PORT), free_port(ADMIN_PORT))?;
    let log = telemetry::log::start_logging(&config.log);
    let running = match server::start_server(&config, None, &Sources::default(), admin::open_admin)
    {
        // Somebody took a port after it was looked at.
        Err(StartError::Bind(_) | StartError::Admin(_)) => {
            (text, config) = write_config(&servers, 0, 0)?;
            server::start_server(&config, None, &Sources::default(), admin::open_admin)?
        }
        started => started?,
    };
    Ok(Demo { running, servers, config: text, log })
}

/// The configuration as text and as it is understood.
fn write_config(
    servers: &[(&str, SocketAddr)],
    proxy: u16,
    admin: u16,
) -> Result<(String, Config), DemoError> {
    let mut text =
        TEMPLATE.replace("@proxy@", &proxy.to_string()).replace("@admin@", &admin.to_string());
    for (name, address) in servers {
        text = text.replace(&format!("@{name}@"), &address.to_string());
    }
    let loaded = config::load_str("demo.toml", &text).map_err(DemoError::Config)?;
    Ok((text, loaded.config))
}

/// The port, if nobody listens on it, or 0 for any. Asked without SO_REUSEPORT, with which the
/// proxy would share a port with another proxy of the same user.
fn free_port(port: u16) -> u16 {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() { port } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_configuration_has_no_findings() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let servers = [("one", at(1)), ("two", at(2)), ("three", at(3))];
        let (text, _) = write_config(&servers, 8080, 9900).unwrap();
        assert!(!text.contains('@'), "{text}");
        assert!(config::load_str("demo.toml", &text).unwrap().findings.is_empty());
    }

    #[test]
    fn a_port_that_is_taken_is_left_alone() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert_eq!(free_port(taken.local_addr().unwrap().port()), 0);
    }
}
