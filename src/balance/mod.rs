//! Which server gets the next request: the seam that every strategy shares.
//!
//! A strategy is built when the set of servers changes, off the request path, and then shared by
//! all workers. It never looks at health, limits or slow start itself: it asks [`PickContext::admits`].
//! A new strategy is a file here and a line in [`build_balancer`].

mod alias;
pub mod hash;
pub mod key;
mod least_conn;
mod least_request;
mod maglev;
mod peak_ewma;
mod random;
mod ring;
mod round_robin;
pub mod shard;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Instant, Random};

use crate::endpoint::Endpoint;

pub use key::BalanceKey;

pub use crate::config::schema::balance::{BalanceWord, HashTable};

/// A server as one group of servers sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// The server and its live state.
    pub endpoint: Arc<Endpoint>,
    /// The share relative to the others, at least 1.
    pub weight: u32,
    /// The place among all servers of the upstream.
    pub at: u32,
    /// The text that keys are hashed to, where that is not its name.
    pub key: Option<Arc<str>>,
}

impl Member {
    /// The first server of an upstream, hashed by its name.
    #[must_use]
    pub fn new(endpoint: Arc<Endpoint>, weight: u32) -> Self {
        Self { endpoint, weight, at: 0, key: None }
    }

    /// Returns what keys are hashed to, and what shards belong to.
    #[must_use]
    pub fn hash_key(&self) -> &str {
        self.key.as_ref().map_or(&self.endpoint.name, |key| key)
    }
}

/// The part of a request that a strategy may know.
#[derive(Debug)]
pub struct PickContext<'a> {
    /// Ids of servers that already failed this request, a handful at most.
    pub tried: &'a [u32],
    /// The key that the request is hashed or looked up by, if the strategy goes by one and the request has it.
    pub key: Option<BalanceKey<'a>>,
    /// The current moment.
    pub now: Instant,
    /// The worker's source of randomness.
    pub random: &'a mut Random,
    /// The rules that keep a server from being chosen.
    pub rules: BalanceRules,
}

/// The rules that keep a server from being chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceRules {
    /// Requests a server may have under way.
    pub cap: u32,
    /// The length of a slow start.
    pub slow_start: Duration,
    /// The bits of [`crate::endpoint::standing`] that count.
    pub reasons: u8,
}

impl Default for BalanceRules {
    fn default() -> Self {
        Self { cap: u32::MAX, slow_start: Duration::ZERO, reasons: u8::MAX }
    }
}

impl PickContext<'_> {
    /// Returns whether a server that a strategy would like to choose may be chosen. During a slow start the
    /// answer is a matter of chance, so that each strategy gets its gradual share.
    #[inline]
    pub fn admits(&mut self, member: &Member) -> bool {
        let bits = member.endpoint.standing.reason_bits();
        if bits.is_clear() && self.tried.is_empty() {
            return member.endpoint.in_flight() < self.rules.cap;
        }
        if !self.accepts(member) {
            return false;
        }
        !bits.is_ramping() || {
            let share = member.endpoint.standing.ramp_share(self.now, self.rules.slow_start);
            self.random.unit() < share
        }
    }

    /// Returns whether a server may be chosen at all, slow start aside. For the last resort, and for
    /// strategies that bind a key to a server.
    #[inline]
    #[must_use]
    pub fn accepts(&self, member: &Member) -> bool {
        !member.endpoint.standing.reason_bits().has_any(self.rules.reasons)
            && !self.tried.contains(&member.endpoint.id)
            && member.endpoint.in_flight() < self.rules.cap
    }
}

/// One way of choosing among the servers of an upstream.
pub trait Balance: fmt::Debug + Send + Sync {
    /// The index of a server that `ask` admits, or `None` if there is none. `members` is the list
    /// the strategy was built for. Called by all workers at once; must not block or allocate.
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize>;
}

/// The strategies by name.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// By weight and by how busy servers are.
    Weighted(BalanceWord),
    /// By a consistent hash of the key.
    Hash {
        /// The way in which keys find servers.
        table: HashTable,
        /// The most load that a server may get from that.
        bound: hash::HashBound,
    },
    /// By who owns the key.
    Shard(shard::Map),
}

impl Strategy {
    /// One of each that follows weights, for tests and benches that hold for all of those.
    #[must_use]
    pub fn all_weighted() -> Vec<Self> {
        let hash = |table| Self::Hash { table, bound: hash::HashBound::default() };
        let weighted = BalanceWord::ALL.iter().map(|word| Self::Weighted(*word));
        weighted.chain(HashTable::ALL.iter().map(|table| hash(*table))).collect()
    }

    /// Returns whether it goes by how long servers take, or by how many requests they have at each moment.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        matches!(self, Self::Weighted(BalanceWord::PeakEwma | BalanceWord::LeastRequest))
    }
}

/// Builds a strategy for a list of servers.
#[must_use]
pub fn build_balancer(strategy: &Strategy, members: &[Member]) -> Box<dyn Balance> {
    let weights: Vec<u32> = members.iter().map(|m| m.weight).collect();
    match strategy {
        Strategy::Weighted(word) => build_weighted(*word, &weights),
        Strategy::Hash { table, bound } => {
            Box::new(hash::Hash::new(members, &weights, *table, *bound))
        }
        Strategy::Shard(map) => Box::new(shard::Shard { map: map.clone() }),
    }
}

/// Builds a strategy that goes by these weights.
fn build_weighted(word: BalanceWord, weights: &[u32]) -> Box<dyn Balance> {
    match word {
        BalanceWord::RoundRobin => Box::new(round_robin::RoundRobin::new(weights)),
        BalanceWord::Random => Box::new(random::WeightedRandom::new(weights)),
        BalanceWord::LeastRequest => Box::new(least_request::LeastRequest::new(weights)),
        BalanceWord::LeastConn => Box::new(least_conn::LeastConn::new(weights)),
        BalanceWord::PeakEwma => Box::new(peak_ewma::PeakEwma::new(weights)),
    }
}

/// The first acceptable server at or after a random place: what a strategy falls back to when its own
/// choices are exhausted.
fn any_accepted(members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
    let n = members.len();
    let start = usize::try_from(ask.random.below(n as u64)).unwrap_or(0);
    (0..n).map(|i| (start + i) % n).find(|i| members.get(*i).is_some_and(|m| ask.accepts(m)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::endpoint::{Slot, standing};

    pub(super) fn members(weights: &[u32]) -> Vec<Member> {
        let make = |(i, weight): (usize, &u32)| {
            let endpoint = Endpoint::new("u".into(), format!("s{i}").into(), Box::default());
            Member::new(Arc::new(endpoint), *weight)
        };
        weights.iter().enumerate().map(make).collect()
    }

    pub(super) fn ask<'a>(tried: &'a [u32], random: &'a mut Random) -> PickContext<'a> {
        PickContext { tried, key: None, now: clock::now(), random, rules: BalanceRules::default() }
    }

    /// Returns how often each server is picked in `n` picks.
    pub(super) fn shares(strategy: &Strategy, weights: &[u32], n: usize) -> Vec<usize> {
        let members = members(weights);
        let balance = build_balancer(strategy, &members);
        let mut random = Random::seeded(1);
        let mut counts = vec![0; weights.len()];
        for _ in 0..n {
            counts[balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn every_strategy_leaves_out_what_was_tried() {
        let members = members(&[5, 1, 1]);
        let ids: Vec<u32> = members.iter().map(|m| m.endpoint.id).collect();
        let mut random = Random::seeded(7);
        for strategy in Strategy::all_weighted() {
            let balance = build_balancer(&strategy, &members);
            for _ in 0..50 {
                let tried = [ids[0], ids[2]];
                let picked = balance.pick_server(&members, &mut ask(&tried, &mut random));
                assert_eq!(picked, Some(1), "{strategy:?}");
            }
            let picked = balance.pick_server(&members, &mut ask(&ids, &mut random));
            assert_eq!(picked, None, "{strategy:?}");
        }
    }

    #[test]
    fn every_strategy_leaves_out_what_is_out_or_full() {
        let members = members(&[1, 1, 1]);
        members[0].endpoint.standing.take_out(standing::UNHEALTHY);
        let _busy: Vec<_> = (0..4).map(|_| members[1].endpoint.begin_request()).collect();
        let mut random = Random::seeded(7);
        for strategy in Strategy::all_weighted() {
            let balance = build_balancer(&strategy, &members);
            for _ in 0..50 {
                let mut ask = ask(&[], &mut random);
                ask.rules.cap = 4;
                assert_eq!(balance.pick_server(&members, &mut ask), Some(2), "{strategy:?}");
            }
            let mut ask = ask(&[], &mut random);
            ask.rules.cap = 0;
            assert_eq!(balance.pick_server(&members, &mut ask), None, "{strategy:?}");
        }
    }

    #[test]
    fn every_strategy_has_nothing_to_pick_from_nothing() {
        for strategy in Strategy::all_weighted() {
            let mut random = Random::seeded(7);
            let picked =
                build_balancer(&strategy, &[]).pick_server(&[], &mut ask(&[], &mut random));
            assert_eq!(picked, None, "{strategy:?}");
        }
    }

    #[test]
    fn every_strategy_follows_the_weights() {
        for strategy in Strategy::all_weighted() {
            let counts = shares(&strategy, &[3, 2, 1], 6000);
            for (count, expected) in counts.iter().zip([3000_usize, 2000, 1000]) {
                assert!(count.abs_diff(expected) < 240, "{strategy:?}: {counts:?}");
            }
        }
    }

    /// Each server's share in percent with so many requests under way on average: arrivals at random,
    /// each ending after an exponential time.
    fn shares_at(strategy: &Strategy, load: f64, weights: &[u32]) -> Vec<f64> {
        let members = members(weights);
        let balance = build_balancer(strategy, &members);
        let mut random = Random::seeded(11);
        let mut exponential = Random::seeded(12);
        let mut under_way: Vec<(f64, Slot<'_>)> = Vec::new();
        let mut counts = vec![0_u32; weights.len()];
        let mut now = 0.0;
        for _ in 0..20_000 {
            now -= (1.0 - exponential.unit()).ln() / load;
            under_way.retain(|(end, _)| *end > now);
            let picked = balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap();
            counts[picked] += 1;
            let end = now - (1.0 - exponential.unit()).ln();
            under_way.push((end, members[picked].endpoint.begin_request()));
        }
        counts.iter().map(|n| f64::from(*n) / 200.0).collect()
    }

    /// The same with exactly so many under way; each time the one that began first ends.
    fn shares_with(strategy: &Strategy, under_way: usize, weights: &[u32]) -> Vec<f64> {
        let members = members(weights);
        let balance = build_balancer(strategy, &members);
        let mut random = Random::seeded(13);
        let mut slots = std::collections::VecDeque::new();
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..20_000 {
            if slots.len() == under_way {
                slots.pop_front();
            }
            let picked = balance.pick_server(&members, &mut ask(&[], &mut random)).unwrap();
            counts[picked] += 1;
            slots.push_back(members[picked].endpoint.begin_request());
        }
        counts.iter().map(|n| f64::from(*n) / 200.0).collect()
    }

    #[test]
    fn r5_shares_follow_weights_within_four_points_at_any_load() {
        for strategy in BalanceWord::ALL.iter().map(|word| Strategy::Weighted(*word)) {
            for weights in [&[198, 1, 1][..], &[3, 1], &[5, 1, 1]] {
                let total: u32 = weights.iter().sum();
                let mut seen = Vec::new();
                for load in [0.2, 2.0, 20.0, 200.0] {
                    seen.push(shares_at(&strategy, load, weights));
                }
                seen.push(shares_with(&strategy, 24, weights));
                for shares in seen {
                    for (share, weight) in shares.iter().zip(weights) {
                        let expected = f64::from(*weight) * 100.0 / f64::from(total);
                        let near = (share - expected).abs() <= 4.0;
                        assert!(near, "{strategy:?}, {weights:?}: {shares:?}");
                    }
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r4_a_server_that_joins_gets_a_share_soon_under_every_strategy() {
        let _epoch = clock::millis(clock::now());
        for strategy in Strategy::all_weighted() {
            let members = members(&[1, 1, 1]);
            for member in &members[..2] {
                member.endpoint.latency.observe_response(clock::now(), Duration::from_micros(300));
            }
            let joiner = &members[2].endpoint.standing;
            joiner.take_out(standing::UNCHECKED);
            joiner.bring_back(standing::UNCHECKED, clock::now());
            let balance = build_balancer(&strategy, &members);
            let mut random = Random::seeded(9);
            let mut share = |after: Duration| {
                let mut picked = 0;
                for n in 0..2000_u32 {
                    let user = n.to_le_bytes();
                    let mut ask = ask(&[], &mut random);
                    ask.now += after;
                    ask.key = Some(BalanceKey::new(&user));
                    ask.rules.slow_start = Duration::from_secs(10);
                    picked += usize::from(balance.pick_server(&members, &mut ask) == Some(2));
                }
                picked
            };
            let (early, late) = (share(Duration::ZERO), share(Duration::from_secs(10)));
            assert!(early >= 60 && late >= 500, "{strategy:?}: {early}, {late}");
        }
    }

    #[test]
    fn no_strategy_prefers_a_server_that_takes_no_connections() {
        for strategy in Strategy::all_weighted() {
            let members = members(&[1, 1, 1]);
            members[1].endpoint.standing.mark_unreachable(clock::now());
            let _busy: Vec<_> = (0..5).map(|_| members[0].endpoint.begin_request()).collect();
            let _also: Vec<_> = (0..5).map(|_| members[2].endpoint.begin_request()).collect();
            let balance = build_balancer(&strategy, &members);
            let mut random = Random::seeded(9);
            for n in 0..100_u32 {
                let user = n.to_le_bytes();
                let mut ask = ask(&[], &mut random);
                ask.key = Some(BalanceKey::new(&user));
                assert_ne!(balance.pick_server(&members, &mut ask), Some(1), "{strategy:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_recovered_server_gets_a_tenth_at_first_and_its_share_later() {
        let _epoch = clock::millis(clock::now());
        for strategy in [
            Strategy::Weighted(BalanceWord::RoundRobin),
            Strategy::Weighted(BalanceWord::Random),
            Strategy::Weighted(BalanceWord::LeastRequest),
        ] {
            let members = members(&[1, 1]);
            members[0].endpoint.standing.take_out(standing::EJECTED);
            members[0].endpoint.standing.bring_back(standing::EJECTED, clock::now());
            let balance = build_balancer(&strategy, &members);
            let mut random = Random::seeded(9);
            let mut share = |_: &str| {
                let picks = (0..2000).filter(|_| {
                    let mut ask = ask(&[], &mut random);
                    ask.rules.slow_start = Duration::from_secs(10);
                    balance.pick_server(&members, &mut ask) == Some(0)
                });
                picks.count()
            };
            let early = share("early");
            assert!((50..350).contains(&early), "{strategy:?}: {early}");
            tokio::time::advance(Duration::from_secs(10)).await;
            let late = share("late");
            assert!((900..1100).contains(&late), "{strategy:?}: {late}");
        }
    }

    #[test]
    fn what_a_server_is_known_by_and_what_is_timed() {
        let mut member = members(&[1]).remove(0);
        assert_eq!((member.hash_key(), member.at, member.weight), ("s0", 0, 1));
        member.key = Some("k".into());
        assert_eq!(member.hash_key(), "k");
        let timed: Vec<bool> = Strategy::all_weighted().iter().map(Strategy::is_timed).collect();
        let words: Vec<&BalanceWord> = BalanceWord::ALL.iter().collect();
        assert_eq!(timed.len(), words.len() + HashTable::ALL.len());
        for (word, timed) in words.iter().zip(&timed) {
            let expected = matches!(word, BalanceWord::PeakEwma | BalanceWord::LeastRequest);
            assert_eq!(*timed, expected, "{word:?}");
        }
        assert!(timed[words.len()..].iter().all(|timed| !timed));
    }

    #[test]
    fn the_last_resort_begins_anywhere_and_asks_all() {
        let members = members(&[1; 5]);
        let mut random = Random::seeded(3);
        let mut seen = [0_u32; 5];
        for _ in 0..500 {
            seen[any_accepted(&members, &mut ask(&[], &mut random)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|n| (60..140).contains(n)), "{seen:?}");
        for member in &members[..4] {
            member.endpoint.standing.take_out(standing::UNHEALTHY);
        }
        for _ in 0..20 {
            assert_eq!(any_accepted(&members, &mut ask(&[], &mut random)), Some(4));
        }
    }

    /// A server on the way back is chosen by chance, and one that was tried or is full is not.
    #[tokio::test(start_paused = true)]
    async fn a_slow_start_leaves_the_rules_in_force() {
        let _epoch = clock::millis(clock::now());
        let members = members(&[1]);
        let [member] = &members[..] else { panic!() };
        let mut random = Random::seeded(3);
        member.endpoint.standing.take_out(standing::EJECTED);
        member.endpoint.standing.bring_back(standing::EJECTED, clock::now());
        let tried = [member.endpoint.id];
        let mut admitted = |tried: &[u32], cap| {
            let mut ask = ask(tried, &mut random);
            ask.rules = BalanceRules { cap, slow_start: Duration::from_secs(10), ..ask.rules };
            (0..1000).filter(|_| ask.admits(member)).count()
        };
        let some = admitted(&[], 1);
        assert!((50..150).contains(&some), "{some}");
        assert_eq!((admitted(&tried, 1), admitted(&[], 0)), (0, 0));
    }
}
