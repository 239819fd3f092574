//! The servers a request may go to, in the order in which groups of them are asked.
//!
//! The lowest `priority` that has a server to spare answers; the next one is asked when it has none,
//! which also is how a retry gets from one level to the next. Within a level the servers of the
//! proxy's own zone come first, as long as enough of them are well.

use std::collections::BTreeSet;

use crate::balance::{self, Balance, Member, PickContext, Strategy};
use crate::endpoint::standing;
use crate::exchange::NoServerReason;

/// The factor by which a zone may carry more than its share of the usable servers before requests spill over to
/// the others: with 140 %, nothing does until less than 72 % of it are well (Envoy's overprovisioning
/// factor).
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

    /// A server that refused its last connection, when nothing better is left. Servers that are only
    /// full are better: it is worth waiting for them.
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
    /// Servers go on meanwhile: one that was full when it was looked at for choosing may be free by now. Who goes by no
    /// key is told that they are full, and looks again.
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
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::balance::{BalanceRules, BalanceWord};
    use crate::clock::{self, Random};
    use crate::endpoint::Endpoint;

    fn placed(name: &str, priority: u16, zone: Option<&str>) -> PlacedMember {
        let endpoint = Arc::new(Endpoint::new("u".into(), name.into(), Box::default()));
        PlacedMember { member: Member::new(endpoint, 1), priority, zone: zone.map(Into::into) }
    }

    fn ask<'a>(tried: &'a [u32], random: &'a mut Random) -> PickContext<'a> {
        PickContext { tried, key: None, now: clock::now(), random, rules: BalanceRules::default() }
    }

    fn picked(pool: &Pool, tried: &[u32], n: usize) -> Vec<(String, usize)> {
        let mut random = Random::seeded(3);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..n {
            if let Some(member) = pool.pick_server(&mut ask(tried, &mut random)) {
                *counts.entry(member.endpoint.name.to_string()).or_insert(0) += 1;
            }
        }
        counts.into_iter().collect()
    }

    #[test]
    fn a_lower_priority_is_asked_only_when_the_one_before_has_nobody() {
        let servers = vec![
            placed("a", 0, None),
            placed("b", 0, None),
            placed("c", 1, None),
            placed("d", 7, None),
        ];
        let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::RoundRobin), None);
        let counts = picked(&pool, &[], 100);
        assert_eq!(counts, [("a".into(), 50), ("b".into(), 50)]);
        let [a, b, c, _] = pool.members() else { panic!("four servers") };
        let tried = [a.endpoint.id, b.endpoint.id];
        assert_eq!(picked(&pool, &tried, 10), [("c".into(), 10)]);
        a.endpoint.standing.take_out(standing::UNHEALTHY);
        b.endpoint.standing.take_out(standing::EJECTED);
        c.endpoint.standing.take_out(standing::DRAINING);
        assert_eq!(picked(&pool, &[], 10), [("d".into(), 10)]);
    }

    #[test]
    fn the_own_zone_comes_first_until_too_little_of_it_is_well() {
        let servers = vec![
            placed("near1", 0, Some("z1")),
            placed("near2", 0, Some("z1")),
            placed("far1", 0, Some("z2")),
            placed("far2", 0, None),
        ];
        let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::Random), Some("z1"));
        let near = |counts: &[(String, usize)]| -> usize {
            counts.iter().filter(|(name, _)| name.starts_with("near")).map(|(_, n)| n).sum()
        };
        assert_eq!(near(&picked(&pool, &[], 1000)), 1000);
        pool.members()[0].endpoint.standing.take_out(standing::UNHEALTHY);
        // Half is well: 70 % stay, and a third of the rest comes back by chance.
        let stayed = near(&picked(&pool, &[], 1000));
        assert!((730..870).contains(&stayed), "{stayed}");
        pool.members()[1].endpoint.standing.take_out(standing::UNHEALTHY);
        assert_eq!(near(&picked(&pool, &[], 1000)), 0);
    }

    #[test]
    fn a_proxy_without_a_zone_prefers_none() {
        let servers = vec![placed("a", 0, Some("z1")), placed("b", 0, None)];
        let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::RoundRobin), None);
        assert_eq!(picked(&pool, &[], 10), [("a".into(), 5), ("b".into(), 5)]);
    }

    #[test]
    fn a_server_that_takes_no_connections_is_asked_last_of_all_priorities() {
        let servers = vec![placed("a", 0, None), placed("b", 1, None), placed("c", 2, None)];
        let pool = Pool::new(servers, &Strategy::Weighted(BalanceWord::RoundRobin), None);
        let [a, b, c] = pool.members() else { panic!("three servers") };
        a.endpoint.standing.mark_unreachable(clock::now());
        assert_eq!(picked(&pool, &[], 5), [("b".into(), 5)]);
        b.endpoint.standing.mark_unreachable(clock::now());
        assert_eq!(picked(&pool, &[], 5), [("c".into(), 5)]);
        assert_eq!(picked(&pool, &[c.endpoint.id], 5), [("a".into(), 5)]);
        let tried = [c.endpoint.id, a.endpoint.id, b.endpoint.id];
        assert_eq!(picked(&pool, &tried, 5), []);
        c.endpoint.standing.take_out(standing::UNHEALTHY);
        assert_eq!(picked(&pool, &[], 5), [("a".into(), 5)]);
        let mut random = Random::seeded(1);
        assert_eq!(pool.explain_miss(&ask(&tried, &mut random), false), NoServerReason::Tried);
        // One that is only full is waited for.
        c.endpoint.standing.bring_back(standing::UNHEALTHY, clock::now());
        let _busy = c.endpoint.begin_request();
        let mut full = ask(&[], &mut random);
        full.rules.cap = 1;
        assert!(pool.pick_server(&mut full).is_none());
        assert_eq!(pool.explain_miss(&full, false), NoServerReason::Full);
    }

    #[test]
    fn a_miss_says_why() {
        let mut random = Random::seeded(1);
        let empty = Pool::new(Vec::new(), &Strategy::Weighted(BalanceWord::Random), None);
        assert_eq!(empty.explain_miss(&ask(&[], &mut random), false), NoServerReason::Nobody);
        let pool = Pool::new(
            vec![placed("a", 0, None), placed("b", 0, None)],
            &Strategy::Weighted(BalanceWord::Random),
            None,
        );
        let ids: Vec<u32> = pool.members().iter().map(|m| m.endpoint.id).collect();
        assert_eq!(pool.explain_miss(&ask(&ids, &mut random), false), NoServerReason::Tried);
        let mut full = ask(&[], &mut random);
        full.rules.cap = 0;
        assert_eq!(pool.explain_miss(&full, false), NoServerReason::Full);
        // Free by now: it was full when it was looked at, or is another than the key's.
        let free = ask(&[], &mut random);
        assert_eq!(pool.explain_miss(&free, false), NoServerReason::Full);
        assert_eq!(pool.explain_miss(&free, true), NoServerReason::Bound);
        let out = |reason| {
            for member in pool.members() {
                member.endpoint.standing.take_out(reason);
            }
        };
        out(standing::UNRESOLVED);
        assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Unresolved);
        for member in pool.members() {
            member.endpoint.standing.admit_at_once(standing::UNRESOLVED);
        }
        out(standing::EJECTED);
        assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Ejected);
        out(standing::UNHEALTHY);
        assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Unhealthy);
        out(standing::DRAINING);
        assert_eq!(pool.explain_miss(&ask(&[], &mut random), false), NoServerReason::Draining);
    }
}
