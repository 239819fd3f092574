//! Which server gets the next request: the seam that every strategy shares.
//!
//! A strategy is built when the set of servers changes, off the request path, and then shared by
//! all workers. It never looks at health or limits itself: it asks [`Endpoint::eligible`].
//! A new strategy is a file here and a line in [`build`].

mod alias;
mod least_request;
mod random;
mod round_robin;

use std::fmt;
use std::sync::Arc;

use crate::clock::Random;
use crate::endpoint::Endpoint;

/// What a strategy may know about a request.
#[derive(Debug)]
pub struct Ask<'a> {
    /// Indices of servers that already failed this request, a handful at most.
    pub tried: &'a [u16],
    /// The worker's source of randomness.
    pub random: &'a mut Random,
}

impl Ask<'_> {
    /// Whether a server may be chosen for this request.
    #[inline]
    fn admits(&self, index: usize, endpoint: &Endpoint) -> bool {
        (self.tried.is_empty() || !self.tried.iter().any(|t| usize::from(*t) == index))
            && endpoint.eligible()
    }
}

/// One way of choosing among the servers of an upstream.
pub trait Balance: fmt::Debug + Send + Sync {
    /// The index of a server that `ask` admits, or `None` if there is none. `endpoints` is the list
    /// the strategy was built for. Called by all workers at once; must not block or allocate.
    fn pick(&self, endpoints: &[Arc<Endpoint>], ask: &mut Ask<'_>) -> Option<usize>;
}

/// The strategies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Smooth weighted round robin.
    RoundRobin,
    /// Random in proportion to weight.
    Random,
    /// The better of two random choices.
    LeastRequest,
}

impl Strategy {
    /// All of them, for tests and benches that hold for every strategy.
    pub const ALL: [Strategy; 3] = [Strategy::RoundRobin, Strategy::Random, Strategy::LeastRequest];
}

/// Builds a strategy for a list of servers.
#[must_use]
pub fn build(strategy: Strategy, endpoints: &[Arc<Endpoint>]) -> Box<dyn Balance> {
    let weights: Vec<u32> = endpoints.iter().map(|e| e.weight).collect();
    match strategy {
        Strategy::RoundRobin => Box::new(round_robin::RoundRobin::new(&weights)),
        Strategy::Random => Box::new(random::WeightedRandom::new(&weights)),
        Strategy::LeastRequest => Box::new(least_request::LeastRequest::new(&weights)),
    }
}

/// The first admitted server at or after a random place: what a strategy falls back to when its own
/// choices are exhausted.
fn any_admitted(endpoints: &[Arc<Endpoint>], ask: &mut Ask<'_>) -> Option<usize> {
    let n = endpoints.len();
    let start = usize::try_from(ask.random.below(n as u64)).unwrap_or(0);
    (0..n).map(|i| (start + i) % n).find(|i| endpoints.get(*i).is_some_and(|e| ask.admits(*i, e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn endpoints(weights: &[u32]) -> Vec<Arc<Endpoint>> {
        let make = |(i, w): (usize, &u32)| {
            Arc::new(Endpoint::new("u".into(), format!("s{i}").into(), Box::default(), *w))
        };
        weights.iter().enumerate().map(make).collect()
    }

    /// How often each server is picked in `n` picks.
    pub(super) fn shares(strategy: Strategy, weights: &[u32], n: usize) -> Vec<usize> {
        let endpoints = endpoints(weights);
        let balance = build(strategy, &endpoints);
        let mut random = Random::seeded(1);
        let mut counts = vec![0; weights.len()];
        for _ in 0..n {
            let mut ask = Ask { tried: &[], random: &mut random };
            counts[balance.pick(&endpoints, &mut ask).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn every_strategy_leaves_out_what_was_tried() {
        let endpoints = endpoints(&[5, 1, 1]);
        let mut random = Random::seeded(7);
        for strategy in Strategy::ALL {
            let balance = build(strategy, &endpoints);
            for _ in 0..50 {
                let mut ask = Ask { tried: &[0, 2], random: &mut random };
                assert_eq!(balance.pick(&endpoints, &mut ask), Some(1), "{strategy:?}");
            }
            let mut ask = Ask { tried: &[0, 1, 2], random: &mut random };
            assert_eq!(balance.pick(&endpoints, &mut ask), None, "{strategy:?}");
        }
    }

    #[test]
    fn every_strategy_has_nothing_to_pick_from_nothing() {
        for strategy in Strategy::ALL {
            let mut random = Random::seeded(7);
            let mut ask = Ask { tried: &[], random: &mut random };
            assert_eq!(build(strategy, &[]).pick(&[], &mut ask), None, "{strategy:?}");
        }
    }

    #[test]
    fn every_strategy_follows_the_weights() {
        for strategy in Strategy::ALL {
            let counts = shares(strategy, &[3, 2, 1], 6000);
            for (count, expected) in counts.iter().zip([3000_usize, 2000, 1000]) {
                assert!(count.abs_diff(expected) < 240, "{strategy:?}: {counts:?}");
            }
        }
    }
}
