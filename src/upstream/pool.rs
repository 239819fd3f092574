//! The servers a request may go to, in the order in which groups of them are asked.
//!
//! The lowest `priority` that has a server to spare answers; the next one is asked when it has
//! none, which also is how a retry gets from one level to the next. Within a level the servers of
//! the proxy's own zone come first, as long as enough of them are well.

use std::collections::BTreeSet;

use crate::balance::{self, Balance, Member, PickContext, Strategy};
use crate::endpoint::standing;
use crate::exchange::NoServerReason;

/// The factor by which a zone may carry more than its share of the usable servers before requests
/// spill over to the others: with 140 %, nothing does until less than 72 % of it are well (Envoy's
/// overprovisioning factor).
const OVERPROVISION: f64 = 1.4;

/// Servers by priority and zone.
#[derive(Debug)]
pub struct Pool {
    members: Vec<Member>,
    levels: Vec<PriorityLevel>,
}

/// All servers of one priority.
#[derive(Debug)]
struct PriorityLevel {
    /// The servers of the proxy's own zone, when there are others too.
    near: Option<PriorityGroup>,
    all: PriorityGroup,
}

/// Servers and the strategy that was built for them.
#[derive(Debug)]
struct PriorityGroup {
    members: Box<[Member]>,
    balance: Box<dyn Balance>,
}

impl Pool {
    /// Arranges servers. `zone` is the proxy's own.
    #[must_use]
    pub fn new(members: Vec<PlacedMember>, strategy: &Strategy, zone: Option<&str>) -> Self {
        let priorities: BTreeSet<u16> = members.iter().map(|m| m.priority).collect();
        let levels = priorities.into_iter().map(|priority| {
            let here: Vec<&PlacedMember> =
                members.iter().filter(|m| m.priority == priority).collect();
            let near: Vec<&PlacedMember> = here
                .iter()
                .copied()
                .filter(|m| zone.is_some() && m.zone.as_deref() == zone)
                .collect();
            let divided = !near.is_empty() && near.len() < here.len();
            PriorityLevel {
                near: divided.then(|| PriorityGroup::new(&near, strategy)),
                all: PriorityGroup::new(&here, strategy),
            }
        });
        let levels = levels.collect();
        Self { members: members.into_iter().map(|m| m.member).collect(), levels }
    }

    /// No servers at all.
    #[must_use]
    pub(super) const fn without_servers() -> Self {
        Self { members: Vec::new(), levels: Vec::new() }
    }

    /// Servers that one strategy of the caller's chooses from, for tests.
    #[cfg(test)]
    pub(crate) fn with_balance(members: Box<[Member]>, balance: Box<dyn Balance>) -> Self {
        let all = PriorityGroup { members: members.clone(), balance };
        Self { members: members.into(), levels: vec![PriorityLevel { near: None, all }] }
    }

    /// All servers, in the order of the file.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Chooses a server: one that takes connections, if there is any.
    #[inline]
    pub fn pick_server<'a>(&'a self, ask: &mut PickContext<'_>) -> Option<&'a Member> {
        let picked = self.levels.iter().find_map(|level| level.pick_server(ask));
        if picked.is_some() { picked } else { self.pick_unreachable(ask) }
    }

    /// A server that refused its last connection, when nothing better is left. Servers that are
    /// only full are better: it is worth waiting for them.
    #[cold]
    fn pick_unreachable<'a>(&'a self, ask: &mut PickContext<'_>) -> Option<&'a Member> {
        let reasons = ask.rules.reasons;
        let refusing =
            |m: &Member| m.endpoint.standing.reason_bits().has_any(standing::UNREACHABLE);
        let untried = |m: &Member| !ask.tried.contains(&m.endpoint.id);
        let out = |m: &Member| m.endpoint.standing.reason_bits().has_any(reasons);
        if !self.members.iter().any(refusing) || self.members.iter().any(|m| untried(m) && !out(m))
        {
            return None;
        }
        ask.rules.reasons = reasons & standing::HARD;
        let picked = self.levels.iter().find_map(|level| level.pick_server(ask));
        ask.rules.reasons = reasons;
        picked
    }

    /// Tells why [`Pool::pick_server`] found none. `keyed` says that the strategy goes by a key.
    ///
    /// Servers go on meanwhile: one that was full when it was looked at for choosing may be free by
    /// now. Who goes by no key is told that they are full, and looks again.
    #[must_use]
    pub fn explain_miss(&self, ask: &PickContext<'_>, keyed: bool) -> NoServerReason {
        if self.members.is_empty() {
            return NoServerReason::Nobody;
        }
        let reasons = ask.rules.reasons & standing::HARD;
        let standing = |reasons| {
            self.members.iter().filter(move |m| !m.endpoint.standing.reason_bits().has_any(reasons))
        };
        let usable = standing(reasons).count();
        if usable > 0 {
            let untried = standing(reasons).filter(|m| !ask.tried.contains(&m.endpoint.id));
            let (mut left, mut full) = (0_usize, 0_usize);
            for member in untried {
                left += 1;
                full += usize::from(member.endpoint.in_flight() >= ask.rules.cap);
            }
            return match (left, full) {
                (0, _) => NoServerReason::Tried,
                // A strategy that goes by a key may want a full server while others are free.
                (_, 0) if keyed => NoServerReason::Bound,
                (_, _) => NoServerReason::Full,
            };
        }
        let all =
            |reason| self.members.iter().all(|m| m.endpoint.standing.reason_bits().has_any(reason));
        if all(standing::UNRESOLVED) {
            NoServerReason::Unresolved
        } else if all(standing::DRAINING | standing::DISABLED) {
            NoServerReason::Draining
        } else if self
            .members
            .iter()
            .any(|m| m.endpoint.standing.reason_bits().has_any(standing::EJECTED))
            && !self.members.iter().any(|m| {
                m.endpoint.standing.reason_bits().has_any(standing::UNHEALTHY | standing::UNCHECKED)
            })
        {
            NoServerReason::Ejected
        } else {
            NoServerReason::Unhealthy
        }
    }
}

/// A server with its place in a pool.
#[derive(Debug, Clone)]
pub struct PlacedMember {
    /// The server.
    pub member: Member,
    /// Lower ones are used first.
    pub priority: u16,
    /// The zone of the server.
    pub zone: Option<Box<str>>,
}

impl PriorityLevel {
    fn pick_server<'a>(&'a self, ask: &mut PickContext<'_>) -> Option<&'a Member> {
        if let Some(near) = &self.near {
            let stays = near.usable_share(ask) * OVERPROVISION;
            if (stays >= 1.0 || ask.random.unit() < stays)
                && let Some(member) = near.pick_server(ask)
            {
                return Some(member);
            }
        }
        self.all.pick_server(ask)
    }
}

impl PriorityGroup {
    fn new(placed: &[&PlacedMember], strategy: &Strategy) -> Self {
        let members: Box<[Member]> = placed.iter().map(|p| p.member.clone()).collect();
        let balance = balance::build_balancer(strategy, &members);
        Self { members, balance }
    }

    fn pick_server<'a>(&'a self, ask: &mut PickContext<'_>) -> Option<&'a Member> {
        let index = self.balance.pick_server(&self.members, ask)?;
        self.members.get(index)
    }

    /// The share of weight that can be used now.
    fn usable_share(&self, ask: &PickContext<'_>) -> f64 {
        let (mut usable, mut total) = (0_u64, 0_u64);
        for member in &self.members {
            total += u64::from(member.weight);
            if !member.endpoint.standing.reason_bits().has_any(ask.rules.reasons) {
                usable += u64::from(member.weight);
            }
        }
        if total == 0 { 0.0 } else { usable as f64 / total as f64 }
    }
}

#[cfg(test)]
mod tests;
