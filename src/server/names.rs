//! What becomes of what is found out about the names of servers: it is logged where it begins and
//! ends, and servers whose name leads elsewhere are put in the place of those that were there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::discovery::{Found, Question};
use crate::endpoint::standing;
use crate::net::Address;
use crate::reload::Reloader;
use crate::snapshot::Snapshot;
use crate::upstream::membership::{MemberChange, ServerChange};
use crate::upstream::{Membership, Upstream};

/// The pause between two look-ups of the name of a server that takes no connections: it may have
/// moved.
pub(super) const UNREACHABLE: Duration = Duration::from_secs(5);

/// The fault of a name that leads to where the proxy listens.
const ITSELF: &str = "it leads to this proxy itself";

/// The servers of an upstream that are known by a name, by what was written for them.
type ByName<'a> = BTreeMap<&'a str, (&'a str, Vec<&'a Arc<ServerChange>>)>;

fn by_name(members: &Membership) -> ByName<'_> {
    let mut all = ByName::new();
    for server in members.servers() {
        if let Some(name) = &server.spec.lookup {
            let (_, servers) = all.entry(&server.spec.written).or_insert((name, Vec::new()));
            servers.push(server);
        }
    }
    all
}

/// Returns where servers are, as text for the log: the first few of them.
fn name_place(servers: &[&Arc<ServerChange>]) -> String {
    const SHOWN: usize = 8;
    let places = servers.iter().filter(|server| !server.endpoint.addresses.is_empty());
    let more = places.clone().count().saturating_sub(SHOWN);
    let places: Vec<String> =
        places.take(SHOWN).map(|server| server.endpoint.where_it_is()).collect();
    match (places.is_empty(), more) {
        (true, _) => "nowhere".to_owned(),
        (false, 0) => places.join(", "),
        (false, more) => format!("{} and {more} more", places.join(", ")),
    }
}

/// Notes what is wrong with names, and logs where that begins and ends.
pub(super) fn note_faults(snapshot: &Snapshot, found: &Found) {
    for upstream in &snapshot.upstreams {
        for (server, (name, servers)) in by_name(&upstream.members()) {
            let answer = found.names.answer_to(&Question::for_host(name));
            let fault = answer.and_then(|answer| answer.fault.clone());
            let mut at = servers.iter().flat_map(|server| &server.endpoint.addresses);
            let itself = at.any(|at| matches!(at, Address::Tcp(at) if found.is_own(*at)));
            let itself = itself.then(|| Arc::new(ITSELF.to_owned()));
            let fault = fault.or_else(|| itself.clone());
            let before =
                servers.iter().map(|server| server.endpoint.name_fault.swap(fault.clone()));
            // Several addresses of one name have one fault.
            let before = before.collect::<Vec<_>>().into_iter().flatten().next();
            let (upstream, key, addresses) =
                (&upstream.name, "upstream.servers", name_place(&servers));
            match (before, fault) {
                (None, Some(_)) if itself.is_some() => {
                    let what = "the name of a server leads to this proxy itself";
                    tracing::warn!(%upstream, server, name, addresses, key, "{what}");
                }
                (None, Some(why)) if addresses == "nowhere" => {
                    let what = "the name of a server cannot be looked up: it gets no requests until it can";
                    tracing::warn!(%upstream, server, name, %why, key, "{what}");
                }
                (None, Some(why)) => {
                    let what =
                        "the name of a server cannot be looked up: its last addresses stay in use";
                    tracing::warn!(%upstream, server, name, %why, addresses, key, "{what}");
                }
                (Some(_), None) => {
                    tracing::info!(%upstream, server, name, "the name of a server is found again");
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
    }
}

/// Logs and counts names that lead elsewhere since a change.
pub(super) fn note_moves(upstream: &Upstream, change: &MemberChange) {
    let moved = change.joined.iter().chain(&change.left);
    let moved: BTreeSet<&str> = moved.map(|server| &*server.spec.written).collect();
    let after = upstream.members();
    let (before, after) = (by_name(&change.before), by_name(&after));
    for server in moved {
        let (Some((_, from)), Some((name, to))) = (before.get(server), after.get(server)) else {
            continue;
        };
        upstream.state.moves.fetch_add(1, Ordering::Relaxed);
        let (from, to, upstream) = (name_place(from), name_place(to), &upstream.name);
        tracing::info!(%upstream, server, name, from, to, "the name of a server leads elsewhere");
    }
}

/// Returns what is asked for servers that do not take connections.
pub(super) fn unreachable_hosts(snapshot: &Snapshot, reloader: &Reloader) -> BTreeSet<Question> {
    let mut all = BTreeSet::new();
    for upstream in &snapshot.upstreams {
        let source = reloader.record_question(&upstream.name);
        for server in upstream.members().servers() {
            if server.endpoint.standing.reason_bits().has_any(standing::UNREACHABLE) {
                all.extend(source.cloned());
                all.extend(server.spec.lookup.as_deref().map(Question::for_host));
            }
        }
    }
    all
}
