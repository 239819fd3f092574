//! Which server gets the next request: the seam that every strategy shares.
//!
//! A strategy is built when the set of servers changes, off the request path, and then shared by
//! all workers. It never looks at health, limits or slow start itself: it asks
//! [`PickContext::admits`]. A new strategy is a file here and a line in [`build_balancer`].

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
    /// The key that the request is hashed or looked up by, if the strategy goes by one and the
    /// request has it.
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
    /// Returns whether a server that a strategy would like to choose may be chosen. During a slow
    /// start the answer is a matter of chance, so that each strategy gets its gradual share.
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

    /// Returns whether a server may be chosen at all, slow start aside. For the last resort, and
    /// for strategies that bind a key to a server.
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

    /// Returns whether it goes by how long servers take, or by how many requests they have at each
    /// moment.
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

/// The first acceptable server at or after a random place: what a strategy falls back to when its
/// own choices are exhausted.
fn any_accepted(members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
    let n = members.len();
    let start = usize::try_from(ask.random.below(n as u64)).unwrap_or(0);
    (0..n).map(|i| (start + i) % n).find(|i| members.get(*i).is_some_and(|m| ask.accepts(m)))
}

#[cfg(test)]
mod tests;
