//! The servers of an upstream as one value, which is replaced as a whole when one of them changes.
//!
//! # Why
//! Servers come and go far more often than configuration changes, and a weight is no reason to compile
//! a thousand routes. A [`Membership`] is everything that depends on who the servers are: the servers with their
//! checks and the names that their certificates must bear, the tables that strategies look up, the views
//! that routes with a `subset` have, and the tags of sticky cookies. The upstream keeps the newest one in a
//! cell of its own; a request reads it once and works on it to its end.
//!
//! # What stays
//! What is known about a server (health, ejections, breaker, latency, connections) belongs to its
//! [`Endpoint`], which the next membership takes over as long as the server has the same name and the
//! same addresses. Weight, labels, zone and priority may change without anybody noticing.
//!
//! # Who builds
//! One thread, off the path of requests, from a list of [`ServerSpec`]s. Whoever finds out about servers
//! writes such a list; nothing here knows from where.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use rustls::pki_types::ServerName;
use thiserror::Error;

use super::affinity::Affinity;
use super::pool::{PlacedMember, Pool};
use super::{Check, Upstream, UpstreamTarget};
use crate::balance::{Member, Strategy, shard};
use crate::clock;
use crate::endpoint::slot::{EndpointSlot, Slots};
use crate::endpoint::{Endpoint, standing};
use crate::net::Address;
use crate::tls::client::{OutgoingTls, TlsTarget};

/// Words that routes choose servers by.
pub type Labels = BTreeMap<String, String>;

/// A server as those who know of it describe it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpec {
    /// The name; each server of an upstream has a name of its own.
    pub name: Arc<str>,
    /// The address as it was written or registered: several servers have this in common when a name has several addresses.
    pub written: Arc<str>,
    /// The address to connect to; none while its name leads nowhere.
    pub addresses: Box<[Address]>,
    /// Host and port as checks name them.
    pub host: Arc<str>,
    /// The name that its certificate must be good for, if nothing else is said; none for a Unix socket.
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
    fn strategy_for(&self, servers: &[PlacedMember]) -> Strategy {
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
    /// The labels that routes with a `subset` ask for; the view of each has its place here, plus one.
    pub subsets: Box<[Labels]>,
}

/// The reason why servers cannot be arranged as the settings say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unsuitable {
    /// No name is known that its certificate could be good for.
    #[error("`{0}` has no name that can be verified")]
    NoTlsName(Arc<str>),
}

/// The servers of an upstream with all that depends on who they are.
#[derive(Debug)]
pub struct Membership {
    servers: Box<[Arc<ServerChange>]>,
    /// All of them, and then those of each subset.
    pools: Box<[Pool]>,
    /// Clients stay with the server they first got.
    pub sticky: Option<Affinity>,
}

/// Finds the servers of the membership before.
struct KnownMembers<'a> {
    servers: &'a [Arc<ServerChange>],
    by_written: OnceCell<HashMap<&'a str, Vec<&'a Arc<ServerChange>>>>,
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

impl Membership {
    /// Arranges servers, taking over from the membership `before` what is known of those that stay.
    ///
    /// # Errors
    /// [`Unsuitable`].
    pub fn build_membership(
        arrangement: &Arrangement,
        specs: Vec<ServerSpec>,
        before: Option<&Self>,
    ) -> Result<Self, Unsuitable> {
        let known = KnownMembers {
            servers: before.map_or(&[], |before| &before.servers),
            by_written: OnceCell::new(),
        };
        let mut names = HashSet::new();
        let mut servers = Vec::with_capacity(specs.len());
        for (at, spec) in specs.into_iter().enumerate() {
            let server = build_member(
                arrangement,
                spec,
                Predecessors { known: &known, at, before },
                &mut names,
            )?;
            names.insert(server.endpoint.name.clone());
            servers.push(server);
        }
        let placed = place_servers(&servers);
        let zone = arrangement.zone.as_deref();
        let pool = |placed: Vec<PlacedMember>| {
            let strategy = arrangement.balancing.strategy_for(&placed);
            Pool::new(placed, &strategy, zone)
        };
        let subsets = arrangement.subsets.iter().map(|labels| {
            let fits = |server: &ServerChange| {
                labels.iter().all(|(label, value)| server.spec.labels.get(label) == Some(value))
            };
            let some = servers.iter().zip(&placed).filter(|(server, _)| fits(server));
            pool(some.map(|(_, placed)| placed.clone()).collect())
        });
        let subsets: Vec<Pool> = subsets.collect();
        let sticky = arrangement.sticky.as_ref().map(|sticky| {
            let members: Vec<Member> = placed.iter().map(|placed| placed.member.clone()).collect();
            sticky.for_members(&members, before.and_then(|before| before.sticky.as_ref()))
        });
        let pools = std::iter::once(pool(placed)).chain(subsets).collect();
        Ok(Self { servers: servers.into_boxed_slice(), pools, sticky })
    }

    /// All servers.
    #[must_use]
    pub fn servers(&self) -> &[Arc<ServerChange>] {
        &self.servers
    }

    /// The server that a member stands for.
    #[must_use]
    pub fn server(&self, member: &Member) -> Option<&Arc<ServerChange>> {
        self.servers.get(member.at as usize)
    }

    /// All servers as strategies see them.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        self.pools.first().map_or(&[], Pool::members)
    }

    /// The servers of a view: 0 is all of them.
    #[must_use]
    pub fn pool(&self, view: usize) -> Option<&Pool> {
        self.pools.get(view)
    }

    /// The same servers chosen by one strategy of the caller's, for tests.
    #[cfg(test)]
    pub(crate) fn with_balance(&self, balance: Box<dyn crate::balance::Balance>) -> Self {
        let pool = Pool::with_balance(self.members().into(), balance);
        Self { servers: self.servers.clone(), pools: [pool].into(), sticky: None }
    }
}

fn place_servers(servers: &[Arc<ServerChange>]) -> Vec<PlacedMember> {
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
struct Predecessors<'b> {
    known: &'b KnownMembers<'b>,
    /// The place of the server among the next ones.
    at: usize,
    /// `None` for the first membership of an upstream.
    before: Option<&'b Membership>,
}

fn build_member(
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

/// A name that no other server has. One that stays keeps its name although it is called otherwise now, so the
/// name of another may be taken.
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

/// Returns whether a server is in use and no other one is: whoever takes its place cannot be checked first.
fn is_last(all: &Membership, server: &Endpoint) -> bool {
    let mut others = all.servers.iter().filter(|other| other.endpoint.id != server.id);
    !server.standing.reason_bits().has_any(standing::HARD)
        && others.all(|other| other.endpoint.standing.reason_bits().has_any(u8::MAX))
}

/// The beginning of a server that takes the place of others of the same name, if there are any: `checked` first, or at once
/// but with a growing share if it `joins` others.
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

/// The difference between two memberships.
#[derive(Debug)]
pub struct MemberChange {
    /// The membership before. It is to be freed where that holds up no request.
    pub before: Arc<Membership>,
    /// Servers that are new.
    pub joined: Vec<Arc<ServerChange>>,
    /// Servers that are to be asked something else than before.
    pub rechecked: Vec<Arc<ServerChange>>,
    /// Servers that are no longer there.
    pub left: Vec<Arc<ServerChange>>,
}

/// The newest membership of an upstream.
#[derive(Debug)]
pub struct CurrentMembers {
    newest: Arc<ArcSwap<Membership>>,
    /// For workers to index by.
    slot: EndpointSlot,
}

impl CurrentMembers {
    /// A cell with a first membership.
    #[must_use]
    pub fn new(first: Membership) -> Self {
        static SLOTS: Slots = Slots::new();
        Self { newest: Arc::new(ArcSwap::from_pointee(first)), slot: SLOTS.take_lowest() }
    }

    /// The newest one.
    #[must_use]
    pub fn newest_members(&self) -> Arc<Membership> {
        self.newest.load_full()
    }

    /// Puts another one in its place.
    pub fn store_newest(&self, next: Membership) {
        self.newest.store(Arc::new(next));
    }
}

impl Upstream {
    /// The servers that it has now. Who works for a request has them from its worker.
    #[must_use]
    pub fn members(&self) -> Arc<Membership> {
        self.current.newest_members()
    }

    /// Has other servers from now on. Requests under way go on with those that they began with; servers that
    /// left finish what they have.
    pub fn replace_members(&self, next: Membership) -> MemberChange {
        let before = self.current.newest_members();
        let mut left: HashMap<u32, &Arc<ServerChange>> =
            before.servers.iter().map(|server| (server.endpoint.id, server)).collect();
        let (mut joined, mut rechecked) = (Vec::new(), Vec::new());
        for server in &next.servers {
            match left.remove(&server.endpoint.id) {
                None => joined.push(server.clone()),
                Some(known) if known.check != server.check => rechecked.push(server.clone()),
                Some(_) => {}
            }
        }
        let left: Vec<Arc<ServerChange>> = left.into_values().cloned().collect();
        self.current.store_newest(next);
        left.iter().for_each(|server| self.dismiss_server(server));
        // Requests may wait for a server, or for a larger share of one.
        self.state.queue.release_all();
        MemberChange { before, joined, rechecked, left }
    }

    /// A server that is no longer one of the upstream's does not count as ejected, and keeps no idle connections.
    pub fn dismiss_server(&self, server: &ServerChange) {
        server.endpoint.record.end_early(&self.state.ejections);
        server.endpoint.open.close_idle();
    }
}

/// The servers of an upstream for one request: cloning it touches nothing that other workers touch.
pub type HeldMembers = Rc<Arc<Membership>>;

/// A worker's view of the memberships of all upstreams. Looking at one reads one shared word and writes none.
#[derive(Debug, Default)]
pub struct MembershipViews(Vec<Option<MembershipView>>);

struct MembershipView {
    newest: Cache<Arc<ArcSwap<Membership>>, Arc<Membership>>,
    held: HeldMembers,
    /// Somebody has looked at it since the last sweep.
    used: bool,
}

impl std::fmt::Debug for MembershipView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.held.fmt(f)
    }
}

impl MembershipViews {
    /// The servers of an upstream, for one request from its start to its end.
    #[inline]
    pub fn members_of(&mut self, upstream: &Upstream) -> HeldMembers {
        let CurrentMembers { newest, slot } = &upstream.current;
        let Some(slot) = slot.index() else { return Rc::new(newest.load_full()) };
        if let Some(Some(view)) = self.0.get_mut(slot)
            && std::ptr::eq(view.newest.arc_swap(), &**newest)
        {
            view.used = true;
            let current = view.newest.load();
            if !Arc::ptr_eq(current, &view.held) {
                // The count that all workers share changes once per change, not per request.
                view.held = Rc::new(current.clone());
            }
            return view.held.clone();
        }
        self.begin_view(slot, newest)
    }

    #[cold]
    fn begin_view(&mut self, slot: usize, newest: &Arc<ArcSwap<Membership>>) -> HeldMembers {
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        let held = Rc::new(newest.load_full());
        let view =
            MembershipView { newest: Cache::new(newest.clone()), held: held.clone(), used: true };
        if let Some(place) = self.0.get_mut(slot) {
            *place = Some(view);
        }
        held
    }

    /// Lets go of what nobody has looked at since this was called last: a worker without requests must not keep
    /// servers that left. Called once a second.
    pub fn drop_unused(&mut self) {
        for view in &mut self.0 {
            if !view.as_mut().is_some_and(|view| std::mem::take(&mut view.used)) {
                *view = None;
            }
        }
    }
}

thread_local! {
    /// The memberships as the thread of a worker sees them.
    static VIEWS: RefCell<MembershipViews> = const { RefCell::new(MembershipViews(Vec::new())) };
}

/// The servers of an upstream, for one request from its start to its end, as this thread sees them.
#[inline]
#[must_use]
pub fn hold_members(upstream: &Upstream) -> HeldMembers {
    VIEWS.with_borrow_mut(|views| views.members_of(upstream))
}

/// Lets go of servers that no request of this thread asks for. Called once a second.
pub fn sweep_held() {
    VIEWS.with_borrow_mut(MembershipViews::drop_unused);
}

/// A route's target with the servers that its upstream has for one request.
#[derive(Debug, Clone, Copy)]
pub struct TargetMembers<'a> {
    /// The target of the route.
    pub target: &'a UpstreamTarget,
    /// The servers of its upstream.
    pub members: &'a Membership,
    /// The servers that the route may use.
    pub pool: &'a Pool,
}

impl<'a> TargetMembers<'a> {
    /// The servers of a target.
    #[must_use]
    pub fn new(target: &'a UpstreamTarget, members: &'a Membership) -> Self {
        // A view that is none of the membership's would be a defect; nothing is worse than no answer.
        let pool = members.pool(target.view).unwrap_or(&NOBODY);
        Self { target, members, pool }
    }
}

static NOBODY: Pool = Pool::without_servers();

impl Deref for TargetMembers<'_> {
    type Target = UpstreamTarget;

    fn deref(&self) -> &UpstreamTarget {
        self.target
    }
}

#[cfg(test)]
mod tests;
