//! What is the same for all servers of an upstream, and what is said of each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use thiserror::Error;

use crate::balance::{Strategy, shard};
use crate::endpoint::Endpoint;
use crate::net::Address;
use crate::tls::client::{OutgoingTls, TlsTarget};
use crate::upstream::Check;
use crate::upstream::affinity::Affinity;
use crate::upstream::pool::PlacedMember;

/// Words that routes choose servers by.
pub type Labels = BTreeMap<String, String>;

/// A server as those who know of it describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpec {
    /// The name; each server of an upstream has a name of its own.
    pub name: Arc<str>,
    /// The address as it was written or registered: several servers have this in common when a name
    /// has several addresses.
    pub written: Arc<str>,
    /// The address to connect to; none while its name leads nowhere.
    pub addresses: Box<[Address]>,
    /// Host and port as checks name them.
    pub host: Arc<str>,
    /// The name that its certificate must be good for, if nothing else is said; none for a Unix
    /// socket.
    pub tls_name: Option<ServerName<'static>>,
    /// The share of the requests relative to the others, at least 1.
    pub weight: u32,
    /// The labels that routes choose it by.
    pub labels: Labels,
    /// Where it is.
    pub zone: Option<Box<str>>,
    /// Lower ones are used first.
    pub priority: u16,
    /// The source has it no longer, and is not believed yet.
    pub held: bool,
    /// The addresses are those of a name, which may lead elsewhere.
    pub by_name: bool,
    /// The name that is looked up for it, where that is its own.
    pub lookup: Option<Arc<str>>,
}

#[cfg(test)]
impl ServerSpec {
    /// The server `sN` at 10.x.x.x, for tests.
    pub(crate) fn numbered(n: u32) -> Self {
        let [_, b, c, d] = n.to_be_bytes();
        let name: Arc<str> = format!("s{n}").into();
        Self {
            written: name.clone(),
            name,
            addresses: [Address::Tcp(([10, b, c, d], 80).into())].into(),
            host: "s".into(),
            tls_name: None,
            weight: 1,
            labels: Labels::new(),
            zone: None,
            priority: 0,
            held: false,
            by_name: false,
            lookup: None,
        }
    }
}

/// A server of an upstream.
#[derive(Debug)]
pub struct ServerChange {
    /// The live state, which others share.
    pub spec: ServerSpec,
    /// The live state.
    pub endpoint: Arc<Endpoint>,
    /// The check that finds out whether it is well.
    pub check: Option<Arc<Check>>,
    /// The way in which connections to it are made secure.
    pub secured: Option<TlsTarget>,
}

/// The way in which servers are chosen, with those that own a shard by name.
#[derive(Debug, Clone)]
pub enum Balancing {
    /// Whoever they are.
    Any(Strategy),
    /// From each number up to the next one.
    Ranges(Vec<(u64, Arc<str>)>),
    /// The longest prefix that fits.
    Prefixes(Vec<(Box<[u8]>, Arc<str>)>),
}

impl Balancing {
    /// The strategy for these servers. What belongs to none of them is nobody's.
    pub(super) fn strategy_for(&self, servers: &[PlacedMember]) -> Strategy {
        let place = |owner: &Arc<str>| {
            let at = servers.iter().position(|s| s.member.hash_key() == &**owner);
            at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
        };
        match self {
            Self::Any(strategy) => strategy.clone(),
            Self::Ranges(ranges) => {
                let ranges = ranges.iter().map(|(from, owner)| (*from, place(owner)));
                Strategy::Shard(shard::Map::Ranges(ranges.collect()))
            }
            Self::Prefixes(prefixes) => {
                let prefixes = prefixes.iter().map(|(text, owner)| (text.clone(), place(owner)));
                Strategy::Shard(shard::Map::Prefixes(prefixes.collect()))
            }
        }
    }
}

/// All that an upstream's settings say about its servers, whoever they are.
#[derive(Debug)]
pub struct Arrangement {
    /// The upstream's name.
    pub upstream: Arc<str>,
    /// The way in which they are chosen.
    pub balancing: Balancing,
    /// The zone of the proxy.
    pub zone: Option<Box<str>>,
    /// The check of each of them, but for its name.
    pub check: Option<Check>,
    /// The way in which connections to them are made secure.
    pub outgoing: Option<Arc<OutgoingTls>>,
    /// The name that all certificates must be good for.
    pub tls_name: Option<ServerName<'static>>,
    /// Clients stay with the server they first got. It knows no servers here.
    pub sticky: Option<Affinity>,
    /// The labels that routes with a `subset` ask for; the view of each has its place here, plus
    /// one.
    pub subsets: Box<[Labels]>,
}

/// The reason why servers cannot be arranged as the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unsuitable {
    /// No name is known that its certificate could be good for.
    #[error("`{0}` has no name that can be verified")]
    NoTlsName(Arc<str>),
}
