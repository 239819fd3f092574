//! From what is said of servers to members: those that stay keep what is known of them.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Membership;
use super::arrangement::{Arrangement, ServerChange, ServerSpec, Unsuitable};
use crate::balance::Member;
use crate::clock;
use crate::endpoint::{Endpoint, standing};
use crate::tls::client::TlsTarget;
use crate::upstream::Check;
use crate::upstream::pool::PlacedMember;

/// Finds the servers of the membership before.
pub(super) struct KnownMembers<'a> {
    pub(super) servers: &'a [Arc<ServerChange>],
    pub(super) by_written: OnceCell<HashMap<&'a str, Vec<&'a Arc<ServerChange>>>>,
}

impl<'a> KnownMembers<'a> {
    /// The servers of the same name. Usually it is the one at the same place.
    fn same_named(&self, at: usize, written: &str) -> impl Iterator<Item = &'a Arc<ServerChange>> {
        let here = self.servers.get(at).filter(|server| &*server.spec.written == written);
        let all = self.by_written.get_or_init(|| {
            let mut all = HashMap::<_, Vec<_>>::new();
            for server in self.servers {
                all.entry(&*server.spec.written).or_default().push(server);
            }
            all
        });
        let others = all.get(written).into_iter().flatten().copied().collect::<Vec<_>>();
        here.into_iter().chain(others)
    }
}

pub(super) fn place_servers(servers: &[Arc<ServerChange>]) -> Vec<PlacedMember> {
    let place = |(at, server): (usize, &Arc<ServerChange>)| PlacedMember {
        member: Member {
            at: u32::try_from(at).unwrap_or(u32::MAX),
            key: (server.spec.name != server.endpoint.name).then(|| server.spec.name.clone()),
            ..Member::new(server.endpoint.clone(), server.spec.weight)
        },
        priority: server.spec.priority,
        zone: server.spec.zone.clone(),
    };
    servers.iter().enumerate().map(place).collect()
}

/// The membership before, for one server of the next.
#[derive(Clone, Copy)]
pub(super) struct Predecessors<'b> {
    pub(super) known: &'b KnownMembers<'b>,
    /// The place of the server among the next ones.
    pub(super) at: usize,
    /// `None` for the first membership of an upstream.
    pub(super) before: Option<&'b Membership>,
}

pub(super) fn build_member(
    arrangement: &Arrangement,
    spec: ServerSpec,
    predecessors: Predecessors<'_>,
    names: &mut HashSet<Arc<str>>,
) -> Result<Arc<ServerChange>, Unsuitable> {
    let Predecessors { known, at, before } = predecessors;
    let secured = match &arrangement.outgoing {
        Some(outgoing) => {
            let name = arrangement.tls_name.as_ref().or(spec.tls_name.as_ref());
            let name = name.ok_or_else(|| Unsuitable::NoTlsName(spec.written.clone()))?;
            Some(TlsTarget { outgoing: outgoing.clone(), name: name.clone() })
        }
        None => None,
    };
    let check = arrangement.check.as_ref();
    let written = spec.written.clone();
    let mut same = known.same_named(at, &written);
    let stays = same.find(|server| {
        server.spec.addresses == spec.addresses && !names.contains(&server.endpoint.name)
    });
    let host = spec.host.clone();
    let check = |known: Option<&Arc<Check>>| {
        let check = check.map(|check| check.for_host(&host, secured.clone()));
        match known.filter(|known| check.as_ref() == Some(&***known)) {
            Some(known) => Some(known.clone()),
            None => check.map(Arc::new),
        }
    };
    if let Some(known) = stays {
        let check = check(known.check.as_ref());
        let unchanged = known.spec == spec
            && known.secured == secured
            && match (&known.check, &check) {
                (Some(known), Some(check)) => Arc::ptr_eq(known, check),
                (None, None) => true,
                _ => false,
            };
        if unchanged {
            return Ok(known.clone());
        }
        let endpoint = known.endpoint.clone();
        return Ok(Arc::new(ServerChange { spec, endpoint, check, secured }));
    }
    let name = free_name(&spec, names);
    let endpoint = Endpoint::new(arrangement.upstream.clone(), name, spec.addresses.clone());
    let moved: Vec<_> = known.same_named(at, &written).collect();
    let succeeds = spec.by_name
        && before.is_some_and(|all| moved.iter().any(|server| is_last(all, &server.endpoint)));
    let joins = before.is_some_and(|before| !before.servers.is_empty());
    introduce_endpoint(&endpoint, &moved, (arrangement.check.is_some() && !succeeds, joins));
    let check = check(None);
    Ok(Arc::new(ServerChange { spec, endpoint: Arc::new(endpoint), check, secured }))
}

/// A name that no other server has. One that stays keeps its name although it is called otherwise
/// now, so the name of another may be taken.
fn free_name(spec: &ServerSpec, names: &HashSet<Arc<str>>) -> Arc<str> {
    let mut name = spec.name.clone();
    if names.contains(&name)
        && let Some(address) = spec.addresses.first()
    {
        name = address.to_string().into();
    }
    let mut n = 2;
    while names.contains(&name) {
        name = format!("{}#{n}", spec.name).into();
        n += 1;
    }
    name
}

/// Returns whether a server is in use and no other one is: whoever takes its place cannot be
/// checked first.
fn is_last(all: &Membership, server: &Endpoint) -> bool {
    let mut others = all.servers.iter().filter(|other| other.endpoint.id != server.id);
    !server.standing.reason_bits().has_any(standing::HARD)
        && others.all(|other| other.endpoint.standing.reason_bits().has_any(u8::MAX))
}

/// The beginning of a server that takes the place of others of the same name, if there are any:
/// `checked` first, or at once but with a growing share if it `joins` others.
fn introduce_endpoint(
    endpoint: &Endpoint,
    moved: &[&Arc<ServerChange>],
    (checked, joins): (bool, bool),
) {
    let standing = &endpoint.standing;
    // What an operator has said of a server holds wherever its name leads to now.
    for order in [standing::DRAINING, standing::DISABLED] {
        if moved.iter().any(|known| known.endpoint.standing.reason_bits().has_any(order)) {
            standing.take_out(order);
        }
    }
    if endpoint.addresses.is_empty() {
        // There is nothing to check, nor to share out.
        standing.take_out(standing::UNRESOLVED);
    } else if checked {
        standing.take_out(standing::UNCHECKED);
    } else if joins {
        standing.take_out(standing::UNCHECKED);
        standing.bring_back(standing::UNCHECKED, clock::now());
    }
}
