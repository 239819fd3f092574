//! Whether a failed attempt may be followed by another one. Pure: what happened goes in, a verdict
//! comes out.
//!
//! The question is not "is the method idempotent" but "how far did it get". A request that provably
//! was not processed goes elsewhere whatever its method, outside the budget and the number of
//! attempts, to each server once: it adds no load that was not asked for. One that may have been
//! processed is sent again only when that cannot do harm (RFC 9110 §9.2.2), and comes out of the
//! budget. One that was answered is never sent again.

mod budget;
mod failure;

use std::sync::Arc;
use std::time::Duration;

pub use self::budget::Budget;
pub use self::failure::{Failure, REASONS};
use crate::exchange::Deadline;
use crate::wire::{Known, RequestHead};

/// The retries that an upstream or route allows.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Times that a request which may have been processed is sent again.
    pub attempts: u32,
    /// Failures to connect.
    pub on_connect: bool,
    /// Timeouts.
    pub on_timeout: bool,
    /// Connections that end without an answer.
    pub on_reset: bool,
    /// Answers that are not valid responses.
    pub on_invalid: bool,
    /// Statuses that count as failures.
    pub on_status: Box<[u16]>,
    /// Statuses of gRPC calls that count as failures. To name one says that calls may be repeated.
    pub on_grpc: Box<[u8]>,
    /// The time for one attempt, from connecting to the response head.
    pub per_try: Option<Duration>,
    /// The bytes of a request body that are kept for a second attempt.
    pub body_buffer: usize,
    /// The share of the traffic that may be retries: the upstream's, or the route's own.
    pub budget: Arc<Budget>,
    /// The longest pause before the first retry; doubles with each one. A pause is drawn uniformly
    /// from zero to that ("full jitter").
    pub backoff: Option<Duration>,
}

/// The decision after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// Answer the client.
    GiveUp,
    /// Send the request again on a fresh connection to the same server. Costs no attempt: it
    /// repairs what a kept-alive connection broke.
    Fresh,
    /// Send the request, which provably was not processed, to another server, or to the same one
    /// on a fresh connection if there is no other. Costs nothing.
    Onward,
    /// Try another server, if the budget allows that.
    Elsewhere,
}

/// The facts about a request that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct RetryFacts {
    /// Sending it twice does no harm.
    pub repeatable: bool,
    /// True if its body is empty or still at hand.
    pub replayable: bool,
    /// Attempts beyond the first so far.
    pub retries: u32,
    /// True if it was already repaired once after a stale connection.
    pub repaired: bool,
    /// True if its server was chosen by a key or a cookie, and is asked once more before another
    /// one.
    pub keyed: bool,
}

impl Retry {
    /// Decides what follows a failure.
    #[must_use]
    pub fn decide_next(&self, failure: Failure, facts: RetryFacts) -> RetryDecision {
        let RetryFacts { repeatable, replayable, retries, repaired, keyed } = facts;
        if !replayable {
            return RetryDecision::GiveUp;
        }
        let onward = |wanted| if wanted { RetryDecision::Onward } else { RetryDecision::GiveUp };
        let (wanted, harmless) = match failure {
            Failure::Unprocessed if keyed && !repaired => return RetryDecision::Fresh,
            Failure::Unprocessed => return RetryDecision::Onward,
            Failure::Stale { unprocessed: true } | Failure::Unasked if repaired => {
                return RetryDecision::Onward;
            }
            Failure::Stale { unprocessed } if !repaired && (repeatable || unprocessed) => {
                return RetryDecision::Fresh;
            }
            Failure::Unasked => return RetryDecision::Fresh,
            Failure::Connect | Failure::NoSocket => return onward(self.on_connect),
            Failure::ConnectTimeout => return onward(self.on_connect || self.on_timeout),
            // There is no time left for another attempt, or no use in one.
            Failure::Timeout(Deadline::Total | Deadline::Client) | Failure::Rejected => {
                return RetryDecision::GiveUp;
            }
            Failure::Stale { .. } | Failure::Closed => (self.on_reset, repeatable),
            Failure::Invalid => (self.on_invalid, repeatable),
            Failure::Timeout(_) => (self.on_timeout, repeatable),
            Failure::Status(status) => (self.on_status.contains(&status), repeatable),
            Failure::Grpc(status) => (self.on_grpc.contains(&status), true),
        };
        if wanted && harmless && retries < self.attempts {
            RetryDecision::Elsewhere
        } else {
            RetryDecision::GiveUp
        }
    }
}

/// Returns whether sending a request twice does no harm: its method is idempotent (RFC 9110 §9.2.2)
/// or its client says how repetitions are recognised.
#[must_use]
pub fn is_repeatable(head: &RequestHead) -> bool {
    matches!(head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
        || head.fields.has(Known::IdempotencyKey)
}

/// Returns whether a request asks for nothing but an answer (RFC 9110 §9.2.1).
#[must_use]
pub fn is_safe(head: &RequestHead) -> bool {
    matches!(head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE")
}

#[cfg(test)]
mod tests;
