//! Compiles `[upstream.NAME]`, taking over from the previous snapshot whatever is known about the
//! upstream and about each of its servers.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::compile::Purpose;
use super::{Snapshot, target};
use crate::balance::hash::{Bound, Table};
use crate::balance::{Member, Rules, Strategy, shard};
use crate::config::certificates;
use crate::config::schema::balance::{Balance, HashTable, SameSite, ShardBy, ShardRange};
use crate::config::schema::forms::Switch;
use crate::config::schema::health::{self, BreakerPer};
use crate::config::schema::units::Percent;
use crate::config::schema::upstream::{self as schema, Protocol, ProxyVersion};
use crate::config::schema::words::{Secret, ServerAddress};
use crate::config::{Config, Finding, Spanned};
use crate::discovery::{Answer, Known};
use crate::endpoint::breaker::{Settings, Trip};
use crate::endpoint::{Endpoint, ejection, standing};
use crate::h2::link::STREAMS;
use crate::net::{Address, Announce};
use crate::tls::client::{Offer, Secured};
use crate::upstream::pool::Placed;
use crate::upstream::sticky::Sticky;
use crate::upstream::{Breaking, Check, Limits, Pool, Upstream};
use crate::wire::response::HeadLimits;

/// The things outside its table that an upstream depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outside<'a> {
    /// The snapshot that runs.
    pub(super) previous: Option<&'a Snapshot>,
    /// The addresses that host names lead to.
    pub(super) known: &'a Known,
    /// The purpose of compiling.
    pub(super) purpose: Purpose,
}

/// Compiles an upstream.
///
/// # Errors
/// A way to balance that does not fit the servers, or a certificate that cannot be used.
pub(super) fn upstream(
    name: &str,
    written: &schema::Upstream,
    config: &Config,
    outside: Outside<'_>,
) -> Result<Upstream, Box<Finding>> {
    let name: Arc<str> = name.into();
    let Outside { previous, purpose, known: _ } = outside;
    let old = previous.and_then(|p| p.upstreams.iter().find(|u| u.name == name));
    let placed = placed(&name, written, old, outside);
    let tls = tls(written, &placed, old, purpose)?;
    let strategy = strategy(&written.balance, &placed)?;
    let placed_ids: Vec<u32> = placed.iter().map(|placed| placed.member.endpoint.id).collect();
    let pool = Arc::new(Pool::new(placed, &strategy, config.runtime.zone.as_deref()));
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
        (Protocol::H2c, _) => Offer::Http2,
        (Protocol::Auto, Switch::On(_)) => Offer::Either,
        // ALPN is a part of TLS.
        (Protocol::Auto, Switch::Off) | (Protocol::Http1, _) => Offer::Http1,
    };
    Ok(Upstream {
        checks: checks(written, &placed_ids, (&tls, offer, announce)),
        offer,
        announce,
        tls,
        sticky: sticky(&name, &written.balance, &pool),
        timed: matches!(strategy, Strategy::PeakEwma | Strategy::LeastRequest),
        pool,
        rules: Rules {
            // With HTTP/1 each request takes a connection of its own. What finds no room waits in the queue.
            cap: cap(requests).min(match offer {
                Offer::Http1 => cap(connections),
                Offer::Http2 | Offer::Either => cap(connections).saturating_mul(STREAMS),
            }),
            slow_start: written.slow_start.get(),
            ..Rules::default()
        },
        limits: Limits {
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
        eject: eject(&written.eject),
        breaker: written.breaker.as_ref().map(breaker),
        fail_open: written.fail_open,
        budget: Arc::new(target::budget(written.retry.budget)),
        state: old.map_or_else(Arc::default, |u| u.state.clone()),
        name,
    })
}

/// The servers, each with all that is known of it.
fn placed(
    name: &Arc<str>,
    written: &schema::Upstream,
    old: Option<&Arc<Upstream>>,
    outside: Outside<'_>,
) -> Vec<Placed> {
    let place = |server: &schema::Server| {
        let id = server.id();
        let same = old.and_then(|u| {
            let mut known = u.pool.members().iter().map(|m| &m.endpoint);
            known.find(|e| *e.name == *id)
        });
        let addresses = addresses(&server.address.value, outside.known);
        let known = same.filter(|known| known.addresses == addresses);
        let endpoint = known.cloned().unwrap_or_else(|| {
            let endpoint = Endpoint::new(name.clone(), id.into(), addresses);
            let named = matches!(server.address.value, ServerAddress::Name { .. });
            let succeeds = old.zip(same).is_some_and(|(old, same)| named && is_last(old, same));
            introduce(&endpoint, same, (written.health.is_some() && !succeeds, old.is_some()));
            if endpoint.addresses.is_empty()
                && matches!(outside.purpose, Purpose::Run | Purpose::Keep)
            {
                endpoint.standing.take_out(standing::UNRESOLVED);
            }
            Arc::new(endpoint)
        });
        Placed {
            member: Member { endpoint, weight: u32::from(server.weight.get()) },
            priority: server.priority,
            zone: server.zone.as_deref().map(Into::into),
        }
    };
    written.servers.listed().iter().map(place).collect()
}

/// Returns whether a server is in use and no other one is: whoever takes its place cannot be checked first.
fn is_last(upstream: &Upstream, server: &Endpoint) -> bool {
    let mut others = upstream.pool.members().iter().filter(|m| m.endpoint.id != server.id);
    !server.standing.bits().any(standing::HARD)
        && others.all(|other| other.endpoint.standing.bits().any(u8::MAX))
}

/// Introduces a server that takes the place of `same`, if there is one: `checked` first, or at once
/// but with a growing share if it `joins` others.
fn introduce(endpoint: &Endpoint, same: Option<&Arc<Endpoint>>, (checked, joins): (bool, bool)) {
    let standing = &endpoint.standing;
    // What an operator has said of a server holds wherever its name leads to now.
    for order in [standing::DRAINING, standing::DISABLED] {
        if same.is_some_and(|known| known.standing.bits().any(order)) {
            standing.take_out(order);
        }
    }
    if endpoint.addresses.is_empty() {
        // There is nothing to check, nor to share out.
    } else if checked {
        standing.take_out(standing::UNCHECKED);
    } else if joins {
        standing.take_out(standing::UNCHECKED);
        standing.bring_back(standing::UNCHECKED, crate::clock::now());
    }
}

/// Compiles how connections to each server are made secure, taking over the sessions of settings that stay.
fn tls(
    written: &schema::Upstream,
    placed: &[Placed],
    old: Option<&Arc<Upstream>>,
    purpose: Purpose,
) -> Result<HashMap<u32, Secured>, Box<Finding>> {
    let Switch::On(settings) = &written.tls else { return Ok(HashMap::new()) };
    let bad = |place, message: String| Box::new(Finding::error("bad_certificate", place, message));
    let known = old.and_then(|old| old.tls.values().next()).map(|known| &known.outgoing);
    let outgoing = match (purpose, known) {
        (Purpose::Keep, Some(known)) => Ok(known.clone()),
        (Purpose::Run | Purpose::Keep, _) => certificates::compile_upstream(settings, known),
        // `certificates::inspect` looks at the files.
        (Purpose::Check { .. }, _) => certificates::compile_upstream(
            &schema::UpstreamTls { verify: false, ..schema::UpstreamTls::default() },
            None,
        ),
    };
    let outgoing = outgoing.map_err(|e| bad(written.place, e))?;
    let named = |name: &str, place| {
        let parsed = ServerName::try_from(name.to_owned());
        parsed.map_err(|_| bad(place, format!("`{name}` is no name that can be verified")))
    };
    let servers = written.servers.listed().iter().zip(placed);
    let each = servers.map(|(server, placed)| {
        let place = server.address.place;
        let name = match (&settings.server_name, &server.address.value) {
            (Some(name), _) => named(&name.value, name.place)?,
            (None, ServerAddress::Ip(address)) => ServerName::from(address.ip()),
            (None, ServerAddress::Name { host, .. }) => named(host, place)?,
            (None, ServerAddress::Unix(_)) => {
                return Err(bad(place, "`tls` needs the address of a network".to_owned()));
            }
        };
        Ok((placed.member.endpoint.id, Secured { outgoing: outgoing.clone(), name }))
    });
    each.collect()
}

fn checks(
    written: &schema::Upstream,
    ids: &[u32],
    (tls, offer, announce): (&HashMap<u32, Secured>, Offer, Option<Announce>),
) -> Box<[Check]> {
    let Some(health) = &written.health else { return Box::default() };
    let check = |(server, id): (&schema::Server, &u32)| {
        let host = match &server.address.value {
            ServerAddress::Ip(address) => address.to_string(),
            ServerAddress::Name { host, port } => format!("{host}:{port}"),
            ServerAddress::Unix(_) => "localhost".to_owned(),
        };
        let secured = tls.get(id).cloned();
        Check { secured, offer, announce, ..Check::new(health, &host) }
    };
    written.servers.listed().iter().zip(ids).map(check).collect()
}

fn sticky(upstream: &str, written: &Balance, pool: &Pool) -> Option<Sticky> {
    let Balance::Sticky { sticky, ttl, secret, path, domain, secure, same_site } = written else {
        return None;
    };
    let domain = domain.as_ref().map_or_else(String::new, |domain| format!("; Domain={domain}"));
    let secure = if *secure { "Secure; " } else { "" };
    let site = match same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    let before = format!("Path={path}{domain}");
    let after = format!("{secure}HttpOnly; SameSite={site}");
    let secret = secret.as_ref().map(Secret::expose);
    Some(
        Sticky::new((upstream, &sticky.value), ttl.get(), secret, pool.members())
            .with_attributes([before.into(), after.into()]),
    )
}

fn eject(written: &Switch<health::Eject>) -> Option<ejection::Settings> {
    let Switch::On(written) = written else { return None };
    let health::Eject { failures, every, r#for, at_most, min_healthy, error_rate } = written;
    Some(ejection::Settings {
        failures: failures.get(),
        every: every.get(),
        base: r#for.get(),
        at_most: at_most.fraction(),
        min_healthy: min_healthy.fraction(),
        error_rate: error_rate.map(Percent::fraction),
    })
}

fn breaker(written: &health::Breaker) -> Breaking {
    let health::Breaker {
        place: _,
        failures,
        successes,
        open_for,
        error_rate,
        window,
        min_requests,
        per,
    } = written;
    let few = |n: NonZeroU32| u16::try_from(n.get()).unwrap_or(u16::MAX).min(i16::MAX as u16);
    let trip = match error_rate {
        Some(rate) => Trip::Rate {
            rate: rate.value.fraction(),
            window: window.get(),
            min_requests: min_requests.get(),
        },
        None => Trip::Failures(failures.as_ref().map_or(u16::MAX, |n| few(n.value))),
    };
    Breaking {
        settings: Settings { trip, successes: few(*successes), open_for: open_for.get() },
        per_server: *per == BreakerPer::Server,
    }
}

/// The strategy by its configured name, for these servers.
///
/// # Errors
/// A shard that belongs to a server which is not one of them.
pub(super) fn strategy(written: &Balance, servers: &[Placed]) -> Result<Strategy, Box<Finding>> {
    Ok(match written {
        Balance::RoundRobin => Strategy::RoundRobin,
        Balance::Random => Strategy::Random,
        Balance::LeastRequest | Balance::Sticky { .. } => Strategy::LeastRequest,
        Balance::LeastConn => Strategy::LeastConn,
        Balance::PeakEwma => Strategy::PeakEwma,
        Balance::Hash { hash: _, table, bounded } => Strategy::Hash {
            table: match table {
                HashTable::Ring => Table::Ring,
                HashTable::Maglev => Table::Maglev,
            },
            bound: bounded.map_or_else(Bound::default, |bound| Bound {
                factor: f64::from(bound.percent()) / 100.0,
                at_least: 0,
            }),
        },
        Balance::Shard { shard: _, by } => Strategy::Shard(shards(by, servers)?),
    })
}

fn shards(by: &ShardBy, servers: &[Placed]) -> Result<shard::Map, Box<Finding>> {
    let place = |name: &Spanned<String>| {
        let at = servers.iter().position(|s| *s.member.endpoint.name == *name.value);
        at.and_then(|at| u32::try_from(at).ok()).ok_or_else(|| {
            let message = format!("there is no server `{name}` here");
            Box::new(Finding::error("unknown_server", name.place, message))
        })
    };
    Ok(match by {
        ShardBy::RangeSize(size) => shard::Map::RangeSize(size.get()),
        ShardBy::Ranges(ranges) => {
            let range = |r: &ShardRange| Ok((r.from.value, place(&r.server)?));
            shard::Map::Ranges(ranges.iter().map(range).collect::<Result<_, Box<Finding>>>()?)
        }
        ShardBy::Prefixes(prefixes) => {
            let prefix = |(text, server): (&Spanned<String>, _)| {
                Ok((text.value.as_bytes().into(), place(server)?))
            };
            shard::Map::Prefixes(prefixes.iter().map(prefix).collect::<Result<_, Box<Finding>>>()?)
        }
    })
}

/// The addresses of a server; none when its name is not known to lead anywhere.
fn addresses(written: &ServerAddress, known: &Known) -> Box<[Address]> {
    match written {
        ServerAddress::Ip(ip) => [Address::Tcp(*ip)].into(),
        ServerAddress::Unix(path) => [Address::Unix(path.clone())].into(),
        ServerAddress::Name { host, port } => {
            let found = known.answer(host).into_iter();
            found.flat_map(|answer: &Answer| answer.with_port(*port)).map(Address::Tcp).collect()
        }
    }
}
