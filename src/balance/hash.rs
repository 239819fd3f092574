//! `hash`: the same key goes to the same server, and few keys move when servers come and go.
//!
//! Two tables find the server of a key: a ring or Maglev's permutations. Both only give an order in
//! which servers are asked; this decides which of them takes the request. A server that is out or
//! full is passed over for the next one, and so is one that has far more than its share of the
//! requests ("Consistent Hashing with Bounded Loads", Mirrokni et al. 2016). Slow start does not
//! apply: a key that changes sides by chance would lose what it came for.

use super::least_request::LeastRequest;
use super::maglev::Maglev;
use super::ring::Ring;
use super::{Balance, HashTable, Member, PickContext};

/// The most load beyond its share that a server may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HashBound {
    /// The factor on its share, at least 1.
    pub factor: f64,
    /// With fewer requests than this a server is never passed over.
    pub at_least: u32,
}

impl Default for HashBound {
    /// 150 %, but not while a handful of requests is all there is: affinity is worth more then.
    fn default() -> Self {
        Self { factor: 1.5, at_least: 16 }
    }
}

#[derive(Debug)]
enum CandidateOrder {
    Ring(Ring),
    Maglev(Maglev),
}

#[derive(Debug)]
pub(super) struct Hash {
    order: CandidateOrder,
    bound: HashBound,
    total_weight: u64,
    /// For requests without a key.
    keyless: LeastRequest,
}

impl Hash {
    pub(super) fn new(
        members: &[Member],
        weights: &[u32],
        table: HashTable,
        bound: HashBound,
    ) -> Self {
        let names: Vec<&str> = members.iter().map(Member::hash_key).collect();
        let order = match table {
            HashTable::Ring => CandidateOrder::Ring(Ring::new(&names, weights)),
            HashTable::Maglev => CandidateOrder::Maglev(Maglev::new(&names, weights)),
        };
        Self {
            order,
            bound,
            total_weight: weights.iter().map(|w| u64::from(*w)).sum(),
            keyless: LeastRequest::new(weights),
        }
    }

    /// Returns whether a server has more than its bounded share.
    fn is_overloaded(&self, member: &Member, members: &[Member], total: &mut Option<u64>) -> bool {
        let load = member.endpoint.in_flight();
        if load < self.bound.at_least {
            return false;
        }
        let sum = || members.iter().map(|m| u64::from(m.endpoint.in_flight())).sum();
        let total = *total.get_or_insert_with(sum);
        let share = f64::from(member.weight) / self.total_weight.max(1) as f64;
        f64::from(load) + 1.0 > (self.bound.factor * (total + 1) as f64 * share).ceil()
    }
}

impl Balance for Hash {
    fn pick_server(&self, members: &[Member], ask: &mut PickContext<'_>) -> Option<usize> {
        let Some(key) = ask.key else { return self.keyless.pick_server(members, ask) };
        let mut total = None;
        let mut usable = None;
        let mut look = |index: usize| {
            let Some(member) = members.get(index).filter(|m| ask.accepts(m)) else { return false };
            usable = usable.or(Some(index));
            !self.is_overloaded(member, members, &mut total)
        };
        let found = match &self.order {
            CandidateOrder::Ring(ring) => ring.find_server(key.hash(), &mut look),
            CandidateOrder::Maglev(maglev) => maglev.find_server(key.hash(), &mut look),
        };
        // Everybody is over the bound only for a moment; the key's own server is as good as any.
        found.or(usable)
    }
}

#[cfg(test)]
mod tests;
