//! What becomes of what is found out about the names of servers: it is logged where it begins and ends,
//! and servers whose name leads elsewhere are put in the place of those that were there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::config::Config;
use crate::config::schema::words::ServerAddress;
use crate::discovery::{Hosts, Known};
use crate::endpoint::{Endpoint, standing};
use crate::net::Address;
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;

/// The pause between two look-ups of the name of a server that takes no connections: it may have moved.
pub(super) const UNREACHABLE: Duration = Duration::from_secs(5);

/// A server that is known by a name.
struct Named<'a> {
    upstream: &'a Arc<Upstream>,
    endpoint: &'a Arc<Endpoint>,
    host: &'a str,
    port: u16,
}

/// All servers that are known by a name.
fn named<'a>(config: &'a Config, snapshot: &'a Snapshot) -> impl Iterator<Item = Named<'a>> {
    snapshot.upstreams.iter().flat_map(move |upstream| {
        let written = config.upstream.get(&*upstream.name);
        let written = written.map(|u| u.servers.listed()).unwrap_or_default();
        let servers = written.iter().zip(upstream.pool.members());
        servers.filter_map(move |(server, member)| match &server.address.value {
            ServerAddress::Name { host, port } => {
                Some(Named { upstream, endpoint: &member.endpoint, host, port: *port })
            }
            ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
        })
    })
}

/// Returns whether the name of a server leads elsewhere than where it is taken to be.
pub(super) fn moved(config: &Config, snapshot: &Snapshot, known: &Known) -> bool {
    named(config, snapshot).any(|Named { endpoint, host, port, .. }| {
        let answer = known.answer(host);
        let now = answer.into_iter().flat_map(|answer| answer.with_port(port));
        !now.map(Address::Tcp).eq(endpoint.addresses.iter().cloned())
    })
}

/// Notes what is wrong with names, and logs where that begins and ends.
pub(super) fn note_faults(config: &Config, snapshot: &Snapshot, known: &Known) {
    for Named { upstream, endpoint, host, .. } in named(config, snapshot) {
        let fault = known.answer(host).and_then(|answer| answer.fault.clone());
        let before = endpoint.name_fault.swap(fault.clone());
        let (upstream, server, key) = (&upstream.name, &endpoint.name, "upstream.servers");
        match (before, fault) {
            (None, Some(why)) if endpoint.addresses.is_empty() => {
                let what =
                    "the name of a server cannot be looked up: it gets no requests until it can";
                tracing::warn!(%upstream, %server, name = host, %why, key, "{what}");
            }
            (None, Some(why)) => {
                let (what, addresses) = (
                    "the name of a server cannot be looked up: its last addresses stay in use",
                    endpoint.where_it_is(),
                );
                tracing::warn!(%upstream, %server, name = host, %why, addresses, key, "{what}");
            }
            (Some(_), None) => {
                tracing::info!(%upstream, %server, name = host, "the name of a server is found again");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

/// Logs and counts servers that are elsewhere in `new` than in `old`.
pub(super) fn note_moves(config: &Config, old: &Snapshot, new: &Snapshot) {
    for Named { upstream, endpoint, host, .. } in named(config, new) {
        let before = old.upstreams.iter().find(|u| u.name == upstream.name);
        let mut before = before.into_iter().flat_map(|u| u.pool.members());
        let Some(before) = before.find(|m| m.endpoint.name == endpoint.name) else { continue };
        if before.endpoint.id == endpoint.id {
            continue;
        }
        upstream.state.moves.fetch_add(1, Ordering::Relaxed);
        // Requests may wait for a server.
        upstream.state.queue.release_all();
        let place = |endpoint: &Endpoint| match endpoint.addresses.is_empty() {
            true => "nowhere".to_owned(),
            false => endpoint.where_it_is(),
        };
        let (from, to) = (place(&before.endpoint), place(endpoint));
        let (upstream, server) = (&upstream.name, &endpoint.name);
        tracing::info!(%upstream, %server, name = host, from, to, "the name of a server leads elsewhere");
    }
}

/// The names of servers that do not take connections.
pub(super) fn unreachable(config: &Config, snapshot: &Snapshot) -> Hosts {
    let away = |named: &Named<'_>| named.endpoint.standing.bits().any(standing::UNREACHABLE);
    named(config, snapshot).filter(away).map(|named| named.host.into()).collect()
}
