//! `concurrency`: how many requests may be under way at a time, for each value of a key, and how
//! many may wait until one of them has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::in_flight::{InFlight, InFlightPlace};
use super::limit::KeyPart;
use super::table::HashedKey;
use super::{Policies, PolicyMetric};
use crate::clock;
use crate::exchange::Client;
use crate::exchange::queue::Unserved;
use crate::net::Timer;

/// One `concurrency`.
#[derive(Debug)]
pub struct Concurrency {
    /// The most requests at a time, for each value of the key.
    pub max: u32,
    /// The parts of a request that are counted by.
    pub key: Box<[KeyPart]>,
    /// The most requests that may wait, over all keys.
    pub pending: u32,
    /// The longest time that they may wait.
    pub pending_timeout: Duration,
    /// The requests under way.
    pub state: Arc<InFlight>,
}

/// A reason why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptOut {
    /// Too many are under way, and too many wait or this one has waited too long.
    Out,
    /// The client left while it waited.
    Gone,
}

impl Concurrency {
    /// Lets a request in, at once or when its turn comes. Those that wait are served in their
    /// order; with several keys, whoever comes while there is room for his own does not wait.
    ///
    /// # Errors
    /// [`KeptOut`].
    pub async fn admit_request<C: Client>(
        &self,
        key: HashedKey,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<InFlightPlace<'_>, KeptOut> {
        let state = &*self.state;
        let queue = &state.queue;
        if (queue.depth() == 0 || !self.one_key())
            && let Some(place) = state.admit_key(key, self.max)
        {
            return Ok(place);
        }
        let waited = if self.pending == 0 {
            Err(Unserved::Full)
        } else {
            let until = clock::deadline(clock::now(), Some(self.pending_timeout));
            let bounds = (self.pending, until);
            queue.wait_for_turn(client, timer, bounds, || state.admit_key(key, self.max)).await
        };
        waited.map_err(|unserved| match unserved {
            Unserved::Full | Unserved::TimedOut => {
                state.refused.fetch_add(1, Relaxed);
                KeptOut::Out
            }
            Unserved::Gone => KeptOut::Gone,
        })
    }

    fn one_key(&self) -> bool {
        self.key.iter().all(|part| *part == KeyPart::Route)
    }
}

fn in_flight_of(policies: &Policies) -> Option<&InFlight> {
    policies.concurrency.as_ref().map(|concurrency| &*concurrency.state)
}

/// The counters for `/metrics`.
pub(super) const METRICS: &[PolicyMetric] = &[
    PolicyMetric::counter_row(
        "tidegate_route_concurrency_refused_total",
        "Requests refused because too many were under way.",
        |policies| Some(in_flight_of(policies)?.refused.load(Relaxed) as f64),
    ),
    PolicyMetric::gauge_row(
        "tidegate_route_concurrency_pending",
        "Requests that wait because too many are under way.",
        |policies| Some(f64::from(in_flight_of(policies)?.queue.depth())),
    ),
];
