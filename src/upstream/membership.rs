//! The servers of an upstream as one value, which is replaced as a whole when one of them changes.
//!
//! # Why
//! Servers come and go far more often than configuration changes, and a weight is no reason to
//! compile a thousand routes. A [`Membership`] is everything that depends on who the servers are:
//! the servers with their checks and the names that their certificates must bear, the tables that
//! strategies look up, the views that routes with a `subset` have, and the tags of sticky cookies.
//! The upstream keeps the newest one in a cell of its own; a request reads it once and works on it
//! to its end.
//!
//! # What stays
//! What is known about a server (health, ejections, breaker, latency, connections) belongs to its
//! [`Endpoint`](crate::endpoint::Endpoint), which the next membership takes over as long as the
//! server has the same name and the same addresses. Weight, labels, zone and priority may change
//! without anybody noticing.
//!
//! # Who builds
//! One thread, off the path of requests, from a list of [`ServerSpec`]s. Whoever finds out about
//! servers writes such a list; nothing here knows from where.

mod arrangement;
mod build;
#[cfg(test)]
mod tests;
mod views;

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use self::arrangement::{Arrangement, Balancing, Labels, ServerChange, ServerSpec, Unsuitable};
use self::build::{KnownMembers, Predecessors, build_member, place_servers};
pub use self::views::{HeldMembers, MembershipViews, hold_members, sweep_held};
use crate::balance::Member;
use crate::endpoint::slot::{EndpointSlot, Slots};
use crate::upstream::affinity::Affinity;
use crate::upstream::pool::{PlacedMember, Pool};
use crate::upstream::{Upstream, UpstreamTarget};

/// The servers of an upstream with all that depends on who they are.
#[derive(Debug)]
pub struct Membership {
    servers: Box<[Arc<ServerChange>]>,
    /// All of them, and then those of each subset.
    pools: Box<[Pool]>,
    /// Clients stay with the server they first got.
    pub sticky: Option<Affinity>,
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

    /// Has other servers from now on. Requests under way go on with those that they began with;
    /// servers that left finish what they have.
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

    /// A server that is no longer one of the upstream's does not count as ejected, and keeps no
    /// idle connections.
    pub fn dismiss_server(&self, server: &ServerChange) {
        server.endpoint.record.end_early(&self.state.ejections);
        server.endpoint.open.close_idle();
    }
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
        // A view that is none of the membership's would be a defect; nothing is worse than no
        // answer.
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
