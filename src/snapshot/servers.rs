//! From what is known of an upstream's servers to the list that its membership is built from.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::weights::Weights;
use crate::config::schema::discovery::{Elsewhere, Servers};
use crate::config::schema::words::ServerAddress;
use crate::discovery::{Entry, Found, Question};
use crate::net::Address;
use crate::upstream::membership::ServerSpec;

/// The servers of an upstream: those that are written, or those that were found, where their names
/// lead.
#[must_use]
pub fn server_specs(
    upstream: &str,
    written: &Servers,
    found: &Found,
    weights: &Weights,
) -> Vec<ServerSpec> {
    let mut all = Vec::new();
    let mut add = |entry: &Entry| {
        let weight = weights.weight_of(upstream, &entry.id).unwrap_or(entry.weight);
        place_entry(entry, weight, found, &mut all);
    };
    match written {
        Servers::List(servers) => servers.iter().for_each(|server| add(&Entry::from(server))),
        Servers::Elsewhere(elsewhere) => {
            let list = found.list_of(upstream, elsewhere);
            list.iter().flat_map(|list| list.entries.iter()).for_each(add);
            keep_usable(elsewhere, found, &mut all);
        }
    }
    all
}

/// Leaves out where no server may be: outside of the networks that are allowed, and where the proxy
/// itself listens. Sources may name such places, and names may lead there.
fn keep_usable(elsewhere: &Elsewhere, found: &Found, all: &mut Vec<ServerSpec>) {
    let is_usable = |at: &Address| match at {
        Address::Tcp(at) => elsewhere.allows(*at) && !found.is_own(*at),
        Address::Unix(_) => elsewhere.allow.is_empty(),
    };
    for spec in all.iter_mut().filter(|spec| !spec.addresses.iter().all(is_usable)) {
        spec.addresses = spec.addresses.iter().filter(|at| is_usable(at)).cloned().collect();
    }
    all.retain(|spec| spec.lookup.is_some() || !spec.addresses.is_empty());
}

/// Puts an entry where it leads.
///
/// A name with one address of a family at most is one server, which is tried at one after the
/// other. A name with several is as many servers as there are addresses, and each gets its share.
fn place_entry(entry: &Entry, weight: NonZeroU16, found: &Found, all: &mut Vec<ServerSpec>) {
    let Entry { id, address, host, weight: _, labels, zone, priority, held } = entry;
    let (shown, tls_name, by_name) = match (host, address) {
        (Some((host, port)), _) => (format!("{host}:{port}").into(), parse_tls_name(host), true),
        (None, ServerAddress::Ip(ip)) => {
            (ip.to_string().into(), Some(ServerName::from(ip.ip())), false)
        }
        (None, ServerAddress::Name { host, port }) => {
            (format!("{host}:{port}").into(), parse_tls_name(host), true)
        }
        (None, ServerAddress::Unix(_)) => ("localhost".into(), None, false),
    };
    let lookup: Option<Arc<str>> = match address {
        ServerAddress::Name { host, .. } => Some((**host).into()),
        ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
    };
    let spec = |name: Arc<str>, addresses: Box<[Address]>| ServerSpec {
        name,
        written: id.clone(),
        addresses,
        host: Arc::clone(&shown),
        tls_name: tls_name.clone(),
        weight: u32::from(weight.get()),
        labels: labels.clone(),
        zone: zone.as_deref().map(Into::into),
        priority: *priority,
        held: *held,
        by_name,
        lookup: lookup.clone(),
    };
    let addresses: Vec<SocketAddr> = match address {
        ServerAddress::Ip(ip) => vec![*ip],
        ServerAddress::Unix(path) => {
            return all.push(spec(id.clone(), [Address::Unix(path.clone())].into()));
        }
        ServerAddress::Name { host, port } => found
            .names
            .answer_to(&Question::for_host(host))
            .into_iter()
            .flat_map(|answer| answer.with_port(*port).collect::<Vec<_>>())
            .collect(),
    };
    let of_one_family = addresses.iter().filter(|address| address.is_ipv4()).count();
    if of_one_family <= 1 && addresses.len() - of_one_family <= 1 {
        all.push(spec(id.clone(), addresses.into_iter().map(Address::Tcp).collect()));
    } else {
        let each = addresses.into_iter();
        all.extend(each.map(|at| spec(at.to_string().into(), [Address::Tcp(at)].into())));
    }
}

fn parse_tls_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

#[cfg(test)]
mod tests;
