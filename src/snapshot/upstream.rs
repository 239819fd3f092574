//! Compiles `[upstream.NAME]`, taking over from the previous snapshot whatever is known about the
//! upstream and about each of its servers.

mod settings;

use std::num::NonZeroU32;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use self::settings::{compile_affinity, compile_balancing, compile_breaker, compile_eject};
use crate::balance::BalanceRules;
use crate::config::schema::balance::{BalanceConfig, ShardBy};
use crate::config::schema::forms::Switch;
use crate::config::schema::route::{ActionConfig, RouteConfig};
use crate::config::schema::upstream::{self as schema, Protocol, ProxyVersion};
use crate::config::schema::words::ServerAddress;
use crate::config::{Config, Finding, Spanned, certificates};
use crate::discovery::Found;
use crate::endpoint::links::requests_at_once;
use crate::net::Announce;
use crate::snapshot::compile::Purpose;
use crate::snapshot::weights::Weights;
use crate::snapshot::{Snapshot, servers, target};
use crate::tls::client::AlpnOffer;
use crate::upstream::membership::{Balancing, CurrentMembers, Labels};
use crate::upstream::{Arrangement, Check, Membership, PoolLimits, Upstream};
use crate::wire::response::HeadLimits;

/// The things outside its table that an upstream depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutsideState<'a> {
    /// The snapshot that runs.
    pub(super) previous: Option<&'a Snapshot>,
    /// The facts that were found out about servers.
    pub(super) found: &'a Found,
    /// The weights that an operator has given them.
    pub(super) weights: &'a Weights,
    /// The purpose that it is compiled for.
    pub(super) purpose: Purpose,
}

/// Compiles an upstream.
///
/// # Errors
/// A way to balance that does not fit the servers, or a certificate that cannot be used.
pub(super) fn compile_upstream(
    name: &str,
    written: &schema::UpstreamConfig,
    config: &Config,
    outside: OutsideState<'_>,
) -> Result<Upstream, Box<Finding>> {
    let name: Arc<str> = name.into();
    let OutsideState { previous, purpose, found, weights } = outside;
    let old = previous.and_then(|p| p.upstreams.iter().find(|u| u.name == name));
    if let schema::Servers::List(servers) = &written.servers {
        check_listed(written, servers)?;
    }
    let schema::UpstreamLimits {
        connections,
        pending,
        pending_timeout,
        requests,
        requests_per_connection,
        idle,
        response_header_bytes,
        response_headers,
    } = &written.limits;
    let cap = |limit: &Option<NonZeroU32>| limit.map_or(u32::MAX, NonZeroU32::get);
    let announce = written.proxy_protocol.map(|version| match version {
        ProxyVersion::V1 => Announce::V1,
        ProxyVersion::V2 => Announce::V2,
    });
    let offer = match (written.protocol, &written.tls) {
        (Protocol::H2c, _) => AlpnOffer::Http2,
        (Protocol::Auto, Switch::On(_)) => AlpnOffer::Either,
        // ALPN is a part of TLS.
        (Protocol::Auto, Switch::Off) | (Protocol::Http1, _) => AlpnOffer::Http1,
    };
    let protocol = ServerProtocol { offer, announce };
    let arrangement = compile_arrangement(&name, written, config, purpose, old, protocol)?;
    let servers = servers::server_specs(&name, &written.servers, found, weights);
    let before = old.map(|old| old.members());
    let first = Membership::build_membership(&arrangement, servers, before.as_deref());
    let first = first.map_err(|unsuitable| {
        Box::new(Finding::error("bad_certificate", written.place, unsuitable.to_string()))
    })?;
    let timed = matches!(&arrangement.balancing, Balancing::Any(strategy) if strategy.is_timed());
    Ok(Upstream {
        arrangement,
        source: written.servers.word(),
        current: CurrentMembers::new(first),
        offer,
        announce,
        timed,
        rules: BalanceRules {
            // What finds no room waits in the queue.
            cap: cap(requests).min(requests_at_once(offer, cap(connections))),
            slow_start: written.slow_start.get(),
            ..BalanceRules::default()
        },
        limits: PoolLimits {
            idle: usize::try_from(*idle).unwrap_or(usize::MAX),
            kept: written.timeout.kept.get(),
            requests_per_connection: cap(requests_per_connection),
            connections: cap(connections),
            response_head: HeadLimits {
                bytes: usize::try_from(response_header_bytes.value.get()).unwrap_or(usize::MAX),
                fields: usize::from(response_headers.value.get()),
            },
            pending: pending.unwrap_or(u32::MAX),
            pending_timeout: pending_timeout.get(),
        },
        eject: compile_eject(&written.eject),
        breaker: written.breaker.as_ref().map(compile_breaker),
        fail_open: written.fail_open,
        budget: Arc::new(target::retry_budget(written.retry.budget)),
        state: old.map_or_else(Arc::default, |u| u.state.clone()),
        name,
    })
}

/// What is spoken with the servers of an upstream.
struct ServerProtocol {
    offer: AlpnOffer,
    announce: Option<Announce>,
}

/// Returns how its servers are arranged, whoever they are.
fn compile_arrangement(
    name: &Arc<str>,
    written: &schema::UpstreamConfig,
    config: &Config,
    purpose: Purpose,
    old: Option<&Arc<Upstream>>,
    protocol: ServerProtocol,
) -> Result<Arrangement, Box<Finding>> {
    let ServerProtocol { offer, announce } = protocol;
    let bad = |place, message: String| Box::new(Finding::error("bad_certificate", place, message));
    let known = old.and_then(|old| old.arrangement.outgoing.as_ref());
    let (outgoing, tls_name) = match (&written.tls, purpose) {
        (Switch::Off, _) => (None, None),
        (Switch::On(settings), purpose) => {
            let outgoing = match purpose {
                Purpose::Run => certificates::compile_upstream(settings, known),
                // `certificates::inspect` looks at the files.
                Purpose::Check { .. } => certificates::compile_upstream(
                    &schema::UpstreamTls { verify: false, ..schema::UpstreamTls::default() },
                    None,
                ),
            };
            let outgoing = outgoing.map_err(|e| bad(written.place, e))?;
            let name = settings.server_name.as_ref().map(|name| {
                ServerName::try_from(name.value.clone()).map_err(|_| {
                    bad(name.place, format!("`{name}` is no name that can be verified"))
                })
            });
            (Some(outgoing), name.transpose()?)
        }
    };
    let check = written.health.as_ref().map(|health| Check::new(health, offer, announce));
    Ok(Arrangement {
        upstream: name.clone(),
        balancing: compile_balancing(&written.balance),
        zone: config.runtime.zone.as_deref().map(Into::into),
        check,
        outgoing,
        tls_name,
        sticky: compile_affinity(name, &written.balance),
        subsets: wanted_subsets(name, config).into(),
    })
}

/// Returns what the routes to an upstream ask for with `subset`, each once.
pub(super) fn wanted_subsets(upstream: &str, config: &Config) -> Vec<Labels> {
    let mut subsets = Vec::new();
    for route in config.route.iter().filter(|route| !route.subset.is_empty()) {
        let ActionConfig::Upstream(split) = &route.action else { continue };
        if split.targets.iter().any(|target| target.upstream.value == upstream) {
            let labels = subset_labels(route);
            if !subsets.contains(&labels) {
                subsets.push(labels);
            }
        }
    }
    subsets
}

/// The labels that a route asks for.
pub(super) fn subset_labels(route: &RouteConfig) -> Labels {
    route.subset.iter().map(|(label, value)| (label.value.clone(), value.clone())).collect()
}

/// Finds what cannot be among servers that are written: an address without a name to verify, a
/// shard that belongs to nobody.
fn check_listed(
    written: &schema::UpstreamConfig,
    servers: &[schema::ServerConfig],
) -> Result<(), Box<Finding>> {
    if let Switch::On(tls) = &written.tls
        && tls.server_name.is_none()
    {
        let bad = |place, message: String| {
            Err(Box::new(Finding::error("bad_certificate", place, message)))
        };
        for server in servers {
            match &server.address.value {
                ServerAddress::Name { host, .. } if ServerName::try_from(&**host).is_err() => {
                    let message = format!("`{host}` is no name that can be verified");
                    return bad(server.address.place, message);
                }
                ServerAddress::Unix(_) => {
                    let message = "`tls` needs the address of a network".to_owned();
                    return bad(server.address.place, message);
                }
                ServerAddress::Ip(_) | ServerAddress::Name { .. } => {}
            }
        }
    }
    check_owners(&written.balance, servers)
}

/// Finds shards that belong to none of these servers.
pub(super) fn check_owners<'s>(
    written: &BalanceConfig,
    servers: impl IntoIterator<Item = &'s schema::ServerConfig>,
) -> Result<(), Box<Finding>> {
    let BalanceConfig::Shard { shard: _, by } = written else { return Ok(()) };
    let servers: Vec<String> = servers.into_iter().map(schema::ServerConfig::id).collect();
    let mut owners: Box<dyn Iterator<Item = &Spanned<String>>> = match by {
        ShardBy::RangeSize(_) => return Ok(()),
        ShardBy::Ranges(ranges) => Box::new(ranges.iter().map(|range| &range.server)),
        ShardBy::Prefixes(prefixes) => Box::new(prefixes.values()),
    };
    match owners.find(|owner| !servers.contains(&owner.value)) {
        Some(owner) => {
            let message = format!("there is no server `{owner}` here");
            Err(Box::new(Finding::error("unknown_server", owner.place, message)))
        }
        None => Ok(()),
    }
}
