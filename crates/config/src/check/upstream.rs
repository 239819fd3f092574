//! Upstreams and their servers.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::finding::Finding;
use crate::schema::Config;
use crate::schema::balance::{BalanceConfig, ShardBy};
use crate::schema::discovery::Registry;
use crate::schema::forms::Switch;
use crate::schema::health::BreakerConfig;
use crate::schema::units::Bytes;
use crate::schema::upstream::{Protocol, ServerConfig, Servers, UpstreamConfig};
use crate::schema::words::{ServerAddress, is_of_no_machine, is_of_one_machine, needs_interface};
use crate::source::{Place, Spanned};
use http_codec::response::MOST_FIELDS;

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    for (name, upstream) in &config.upstream {
        if name.value.is_empty() {
            findings.push(Finding::error("bad_value", name.place, "an upstream needs a name"));
        }
        if let Servers::List(servers) = &upstream.servers {
            if servers.is_empty() {
                let message = format!("upstream `{name}` has no servers");
                findings.push(Finding::error("no_servers", upstream.place, message));
            }
            check_servers(servers, findings);
        }
        if let Some(registry) = upstream.servers.registry() {
            check_registry(registry, upstream, config, findings);
        }
        check_upstream(upstream, findings);
    }
}

/// The most servers that `max` of a registry may allow: for each there is a lease, and a list of
/// all of them.
const MOST_REGISTERED: u32 = 100_000;

fn check_registry(
    registry: &Registry,
    upstream: &UpstreamConfig,
    config: &Config,
    findings: &mut Vec<Finding>,
) {
    if config.admin.is_none() && !registry.redis.value {
        let message = "servers register on the admin endpoint, and there is none";
        let finding = Finding::error("missing_key", upstream.place, message);
        findings.push(finding.help("add [admin] with address = \"127.0.0.1:9900\""));
    }
    let max = &registry.max;
    if max.value.get() > MOST_REGISTERED {
        let message = format!("{} servers are more than can be registered", max.value);
        let finding = Finding::error("bad_value", max.place, message);
        findings.push(finding.help(format!("it is at most {MOST_REGISTERED}")));
    }
}

/// Checks a list of servers, wherever it is written.
pub(crate) fn check_servers(servers: &[ServerConfig], findings: &mut Vec<Finding>) {
    let mut addresses: BTreeMap<_, Place> = BTreeMap::new();
    let mut names: BTreeMap<&str, Place> = BTreeMap::new();
    for server in servers {
        if let Some(first) = addresses.insert(&server.address.value, server.address.place) {
            let message = format!("server `{}` is listed twice", server.address);
            findings.push(
                Finding::warning("duplicate_server", server.address.place, message)
                    .related(first, "first listed here")
                    .help("to send it more requests, give it a weight"),
            );
        }
        warn_of_address(&server.address, findings);
        if let Some(name) = &server.name {
            super::route::unique("server", name, &mut names, findings);
        }
    }
}

/// Says so where a server is at no address in particular, such as `0.0.0.0`: systems connect to
/// this machine then; and where nobody can connect to one. Both have been taken for servers always,
/// and may stand beside better ones.
pub(crate) fn warn_of_address(address: &Spanned<ServerAddress>, findings: &mut Vec<Finding>) {
    let ServerAddress::Ip(at) = address.value else { return };
    let (code, message, help) = if is_of_no_machine(at.ip()) {
        let own = match at.ip().to_canonical() {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::LOCALHOST, at.port())),
        };
        let message = format!("`{address}` is no address of a server; it leads to this machine");
        (
            "unspecified_address",
            message,
            format!("write \"{own}\", or the address of another machine"),
        )
    } else {
        let help = if needs_interface(at.ip()) {
            "it is one of each network that this machine is in: write another one, or a name"
        } else if is_of_one_machine(at.ip()) {
            return;
        } else {
            "many machines have it: write that of one"
        };
        ("unusable_address", format!("nobody can connect to `{address}`"), help.to_owned())
    };
    findings.push(Finding::warning(code, address.place, message).help(help));
}

fn check_upstream(upstream: &UpstreamConfig, findings: &mut Vec<Finding>) {
    let head = upstream.limits.response_header_bytes;
    if !(Bytes::kib(1)..=Bytes::mib(16)).contains(&head.value) {
        let message = format!("{head} is not a sensible size of a response head");
        let finding = Finding::error("bad_value", head.place, message);
        findings.push(finding.help("it goes from \"1KiB\" to \"16MiB\""));
    }
    let fields = upstream.limits.response_headers;
    if usize::from(fields.value.get()) > MOST_FIELDS {
        let message = format!("a response head has at most {MOST_FIELDS} fields");
        findings.push(Finding::error("bad_value", fields.place, message));
    }
    if let Some(health) = &upstream.health {
        absolute("path", &health.path, findings);
    }
    if let Some(breaker) = &upstream.breaker {
        check_breaker(breaker, findings);
    }
    if let Switch::On(tls) = &upstream.tls
        && tls.cert.is_some() != tls.key.is_some()
    {
        let message = "`cert` and `key` of `tls` go together";
        findings.push(Finding::error("missing_key", upstream.place, message));
    }
    if upstream.protocol == Protocol::Auto && upstream.tls == Switch::Off {
        let message = "protocol = \"auto\" needs `tls`, which is what agrees on a protocol";
        findings.push(Finding::error("missing_key", upstream.place, message));
    }
    if upstream.protocol == Protocol::H2c && upstream.tls != Switch::Off {
        let message = "protocol = \"h2c\" is HTTP/2 without `tls`";
        let help = "with TLS write protocol = \"auto\": the server is offered HTTP/2";
        findings.push(Finding::error("bad_value", upstream.place, message).help(help));
    }
    if let BalanceConfig::Shard { by: ShardBy::Ranges(ranges), .. } = &upstream.balance {
        for (before, after) in ranges.iter().zip(ranges.iter().skip(1)) {
            if after.from <= before.from {
                let message = "ranges must start in ascending order";
                findings.push(
                    Finding::error("bad_value", after.from.place, message)
                        .related(before.from.place, "the range before starts here"),
                );
            }
        }
    }
}

fn check_breaker(breaker: &BreakerConfig, findings: &mut Vec<Finding>) {
    match (&breaker.failures, &breaker.error_rate) {
        (Some(failures), Some(rate)) => findings.push(
            Finding::error("bad_value", rate.place, "a breaker opens by failures or by error rate")
                .related(failures.place, "the other form"),
        ),
        (None, None) => findings.push(
            Finding::error("missing_key", breaker.place, "this breaker never opens")
                .help("add failures = 5, or error_rate = \"30%\""),
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
}

/// A path in a request starts with a slash.
pub(super) fn absolute(key: &str, path: &Spanned<String>, findings: &mut Vec<Finding>) {
    if !path.value.starts_with('/') {
        let message = format!("`{key}` must start with `/`");
        let finding = Finding::error("bad_value", path.place, message);
        findings.push(finding.help(format!("write \"/{}\"", path.value)));
    } else if path.value.chars().any(|c| c.is_control() || c == ' ' || c == '#') {
        let message = format!("`{key}` contains a character that no path may have");
        findings.push(Finding::error("bad_value", path.place, message));
    }
}
