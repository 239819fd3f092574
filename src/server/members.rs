//! What becomes of what sources tell about the servers of upstreams: it is believed as far as the
//! guards allow, and upstreams get the servers that are known of now.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::control::ControlParts;
use super::names;
use crate::clock;
use crate::config::Config;
use crate::config::schema::discovery::Elsewhere;
use crate::config::schema::words::ServerAddress;
use crate::discovery::guard::Note;
use crate::discovery::registry::book::Settings;
use crate::discovery::registry::{Hear, Registry};
use crate::discovery::{Found, Heard, List, Origin};
use crate::endpoint::standing;
use crate::quota::LineQuota;
use crate::reload::Reloader;
use crate::snapshot::{Snapshot, SnapshotStore, servers};
use crate::upstream::membership::MemberChange;
use crate::upstream::{Membership, Supply, Upstream};

/// A server that is in one of these states does not answer.
const AWAY: u8 = standing::UNREACHABLE | standing::UNHEALTHY | standing::UNRESOLVED;

/// The upstreams in which servers register themselves.
fn registry_settings(config: &Config) -> BTreeMap<Arc<str>, Settings> {
    let all = config.upstream.iter().filter_map(|(name, upstream)| {
        let registry = upstream.servers.registry()?;
        let allow = upstream.servers.elsewhere().map_or(&[][..], |it| &it.allow);
        let settings = Settings {
            most: usize::try_from(registry.max.value.get()).unwrap_or(usize::MAX),
            allow: allow.iter().map(|network| network.0).collect(),
            shared: registry.redis.value,
        };
        Some((name.value.as_str().into(), settings))
    });
    all.collect()
}

/// Lets servers register as a configuration says.
pub(super) fn let_register(registry: &Registry, config: &Config, snapshot: &Snapshot, hear: Hear) {
    let redis = snapshot.redis.as_ref().map(|redis| redis.new_sibling());
    registry.follow(registry_settings(config), redis, hear);
}

/// Gives upstreams the servers that sources have told of before anything is served.
pub(super) fn supply_first_servers(
    reloader: &mut Reloader,
    registry: &Registry,
    store: &SnapshotStore,
) {
    let snapshot = store.load();
    let config = reloader.running().clone();
    let_register(registry, &config, &snapshot, Hear::First);
    let bounds = reloader.bounds();
    let heard = reloader.lists_mut().hear_sources(bounds, clock::now(), |_, _| true);
    for Heard { upstream, .. } in heard {
        if let Some(upstream) = snapshot.upstreams.iter().find(|known| known.name == upstream) {
            arrange_members(reloader, upstream);
        }
    }
    note_supplies(reloader, &snapshot);
}

/// Notes how the sources of all upstreams are.
pub(super) fn note_supplies(reloader: &Reloader, snapshot: &Snapshot) {
    let found = reloader.found_servers();
    for upstream in &snapshot.upstreams {
        match source_of(reloader, &upstream.name) {
            Some(elsewhere) => note_supply(upstream, elsewhere, &found),
            None => upstream.state.supply.store(None),
        }
    }
}

fn source_of<'a>(reloader: &'a Reloader, upstream: &str) -> Option<&'a Elsewhere> {
    reloader.running().upstream.get(upstream)?.servers.elsewhere()
}

/// Notes how the source of an upstream is, and logs where a fault begins and ends.
fn note_supply(upstream: &Upstream, elsewhere: &Elsewhere, found: &Found) {
    let list = found.list_of(&upstream.name, elsewhere);
    let entries = list.iter().flat_map(|list| list.entries.iter());
    let mut own = entries.filter_map(|entry| match entry.address {
        ServerAddress::Ip(at) if found.is_own(at) => Some(at),
        ServerAddress::Ip(_) | ServerAddress::Name { .. } | ServerAddress::Unix(_) => None,
    });
    let own = own.next().map(|at| format!("{at} is this proxy itself, and is not used").into());
    let (mut supply, source) = (Supply::default(), elsewhere.source.word());
    if let Some(List { fault, ttl, since, .. }) = list {
        supply = Supply { fault: fault.clone().or(own), ttl: *ttl, since: *since };
    }
    let fault = supply.fault.clone();
    let before = upstream.state.supply.swap(Some(Arc::new(supply)));
    let before = before.and_then(|before| before.fault.clone());
    let (upstream, key) = (&upstream.name, "upstream.servers");
    match (before, fault) {
        (before, Some(why)) if before.as_ref() != Some(&why) => {
            let what = "the source of servers has a fault: what it told last stays in use";
            tracing::warn!(%upstream, source, %why, key, "{what}");
        }
        (Some(_), None) => {
            tracing::info!(%upstream, source, "the source of servers is well again");
        }
        (Some(_) | None, Some(_)) | (None, None) => {}
    }
}

/// Returns who answers, by upstream and id, looked at once for each upstream.
fn answering_servers(snapshot: &Snapshot) -> impl Fn(&str, &str) -> bool {
    let known: RefCell<HashMap<String, HashSet<Arc<str>>>> = RefCell::default();
    move |upstream, id| {
        let mut known = known.borrow_mut();
        if !known.contains_key(upstream) {
            let found = snapshot.upstreams.iter().find(|found| *found.name == *upstream);
            let members = found.map(|found| found.members());
            let servers = members.iter().flat_map(|members| members.servers());
            let well =
                servers.filter(|server| !server.endpoint.standing.reason_bits().has_any(AWAY));
            let ids = well.map(|server| server.spec.written.clone()).collect();
            known.insert(upstream.to_owned(), ids);
        }
        known.get(upstream).is_some_and(|ids| ids.contains(id))
    }
}

/// Gives an upstream the servers that are known of now; `None` when it has them, or cannot have
/// them.
fn arrange_members(reloader: &Reloader, upstream: &Upstream) -> Option<MemberChange> {
    let config = reloader.running();
    let written = config.upstream.get(&*upstream.name)?;
    let (found, weights) = (reloader.found_servers(), reloader.weights());
    let specs = servers::server_specs(&upstream.name, &written.servers, &found, weights);
    let before = upstream.members();
    if before.servers().iter().map(|server| &server.spec).eq(&specs) {
        return None;
    }
    match Membership::build_membership(&upstream.arrangement, specs, Some(&before)) {
        Ok(next) => Some(upstream.replace_members(next)),
        Err(error) => {
            let (upstream, key) = (&upstream.name, "upstream.servers");
            tracing::error!(%upstream, %error, key, "its servers stay as they were");
            None
        }
    }
}

impl ControlParts {
    /// Gives upstreams the servers that sources have found for them.
    pub(super) fn follow_sources(&mut self) {
        if !self.reloader.lists().updates().has_any() {
            return;
        }
        let current = self.store.load_full();
        let bounds = self.reloader.bounds();
        let heard = self.reloader.lists_mut().hear_sources(
            bounds,
            clock::now(),
            answering_servers(&current),
        );
        self.take_in(&current, heard);
    }

    /// Looks after servers that are held back.
    pub(super) fn look_after_sources(&mut self) {
        let current = self.store.load_full();
        let bounds = self.reloader.bounds();
        let heard =
            self.reloader.lists_mut().look_after(bounds, clock::now(), answering_servers(&current));
        self.take_in(&current, heard);
    }

    /// Believes all sources, because an operator says so.
    pub(super) fn believe_sources(&mut self) {
        let current = self.store.load_full();
        let heard = self.reloader.lists_mut().believe_all();
        self.take_in(&current, heard);
    }

    fn take_in(&mut self, current: &Snapshot, heard: Vec<Heard>) {
        if heard.is_empty() {
            return;
        }
        if heard.iter().any(|heard| self.has_names(heard)) {
            self.reloader.follow_names();
        }
        let found = self.reloader.found_servers();
        for Heard { upstream: name, origin, note, waiting } in heard {
            let elsewhere = source_of(&self.reloader, &name);
            let elsewhere = elsewhere.filter(|elsewhere| Origin::from_source(elsewhere) == origin);
            let upstream = current.upstreams.iter().find(|known| known.name == name);
            let (Some(elsewhere), Some(upstream)) = (elsewhere, upstream) else { continue };
            note_supply(upstream, elsewhere, &found);
            upstream.state.waiting.store(waiting, Ordering::Relaxed);
            if let Some(note) = note {
                log_note(&name, upstream.source, note);
            }
            self.arrange_upstream(upstream);
        }
    }

    /// Returns whether servers that were heard of have names, which are to be looked up then.
    fn has_names(&self, heard: &Heard) -> bool {
        let key = (heard.upstream.clone(), heard.origin.clone());
        let list = self.reloader.lists().used().get(&key);
        let mut entries = list.iter().flat_map(|list| list.entries.iter());
        entries.any(|entry| matches!(entry.address, ServerAddress::Name { .. }))
    }

    /// Gives an upstream the servers that are known of now, unless it has them. Nothing else is
    /// touched.
    pub(super) fn arrange_upstream(&mut self, upstream: &Arc<Upstream>) {
        if let Some(change) = arrange_members(&self.reloader, upstream) {
            self.health.change_members(upstream, &change);
            names::note_moves(upstream, &change);
            self.past.push(change.before);
        }
    }
}

/// Logs what is believed of a source.
fn log_note(upstream: &str, source: &str, note: Note) {
    // Whoever registers servers decides how many there are.
    static LINES: LineQuota = LineQuota::ten_a_second();
    let Some(left_out) = LINES.take(clock::now()) else { return };
    match note {
        Note::Holds(servers) => tracing::warn!(
            upstream,
            source,
            servers,
            left_out,
            key = "runtime.shrink_guard",
            "servers are gone from their source all at once: those that still answer stay for now"
        ),
        Note::Waits(servers) => tracing::warn!(
            upstream,
            source,
            servers,
            left_out,
            key = "runtime.growth_guard",
            "too many servers at once: these wait"
        ),
        Note::Believes => {
            tracing::info!(upstream, source, left_out, "servers are as their source says");
        }
    }
}
