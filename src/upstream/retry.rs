//! Whether a failed attempt may be followed by another one. Pure: what happened goes in, a verdict
//! comes out.
//!
//! The question is not "is the method idempotent" but "how far did it get". A request that provably
//! was not processed goes elsewhere whatever its method, outside the budget and the number of
//! attempts, to each server once: it adds no load that was not asked for. One that may have been
//! processed is sent again only when that cannot do harm (RFC 9110 §9.2.2), and comes out of the
//! budget. One that was answered is never sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::exchange::Deadline;
use crate::exchange::Refusal;
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

/// A reason for an attempt's failure before any response was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection; nothing was sent.
    Connect,
    /// No connection in time; nothing was sent.
    ConnectTimeout,
    /// No connection, for want of something of the proxy's own: descriptors, ports, memory. Nothing
    /// was sent, and nothing is known about the server.
    NoSocket,
    /// The server says that it did not process the request (RFC 9113 §6.8, §8.7).
    Unprocessed,
    /// A kept-alive connection turned out to be dead: closed without a byte of an answer.
    Stale {
        /// True if the server provably did not process the request.
        unprocessed: bool,
    },
    /// A reused connection on which the server did not ask for the body; it was not sent.
    Unasked,
    /// A fresh connection was closed without an answer.
    Closed,
    /// The server calls the request malformed and gives no other answer (RFC 9113 §8.1.1). What a client made
    /// malformed is the same everywhere.
    Rejected,
    /// No answer in time; carries the key.
    Timeout(Deadline),
    /// The answer is not a valid response.
    Invalid,
    /// A response with a status that counts as a failure.
    Status(u16),
    /// A gRPC call that ended with this status, which is not 0, before its first message.
    Grpc(u8),
}

impl Failure {
    /// Returns what a client is told when nothing else can be done. `None` for a response that can be
    /// passed on.
    #[must_use]
    pub fn to_refusal(self) -> Option<Refusal> {
        match self {
            Failure::Connect | Failure::NoSocket => Some(Refusal::Connect),
            Failure::ConnectTimeout => Some(Refusal::UpstreamTimeout(Deadline::Connect)),
            Failure::Stale { .. }
            | Failure::Unprocessed
            | Failure::Unasked
            | Failure::Closed
            | Failure::Rejected => Some(Refusal::UpstreamClosed),
            Failure::Timeout(deadline) => Some(Refusal::UpstreamTimeout(deadline)),
            Failure::Invalid => Some(Refusal::UpstreamInvalid),
            Failure::Status(_) | Failure::Grpc(_) => None,
        }
    }

    /// Returns whether the server provably did not process the request.
    #[must_use]
    pub fn is_unprocessed(self) -> bool {
        match self {
            Failure::Connect
            | Failure::ConnectTimeout
            | Failure::NoSocket
            | Failure::Unprocessed
            | Failure::Unasked => true,
            Failure::Stale { unprocessed } => unprocessed,
            Failure::Closed
            | Failure::Rejected
            | Failure::Timeout(_)
            | Failure::Invalid
            | Failure::Status(_)
            | Failure::Grpc(_) => false,
        }
    }
}

/// The reasons for sending requests once more, by [`Failure::reason_index`].
pub const REASONS: [&str; 9] =
    ["connect", "timeout", "reset", "invalid", "status", "grpc", "stale", "unasked", "unprocessed"];

impl Failure {
    /// The place of the reason in [`REASONS`].
    #[must_use]
    pub fn reason_index(self) -> usize {
        match self {
            Failure::Connect | Failure::ConnectTimeout | Failure::NoSocket => 0,
            Failure::Timeout(_) => 1,
            Failure::Closed | Failure::Rejected => 2,
            Failure::Invalid => 3,
            Failure::Status(_) => 4,
            Failure::Grpc(_) => 5,
            Failure::Stale { .. } => 6,
            Failure::Unasked => 7,
            Failure::Unprocessed => 8,
        }
    }
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
    /// True if its server was chosen by a key or a cookie, and is asked once more before another one.
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

/// Returns whether sending a request twice does no harm: its method is idempotent (RFC 9110 §9.2.2) or its
/// client says how repetitions are recognised.
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

/// Limits retries to a share of the requests, so that they cannot multiply the load on servers
/// that are failing because of it. A window of ten seconds plus a small constant rate, unless the
/// share is zero: then there are none at all.
#[derive(Debug)]
pub struct Budget {
    /// Retries per 1 000 requests.
    per_mille: u64,
    requests: AtomicU64,
    window: AtomicU64,
    at_start: AtomicU64,
    spent: AtomicU64,
}

/// Length of the window in milliseconds.
const WINDOW: u64 = 10_000;
/// Retries per window beside the share: 3 per second.
const FLOOR: u64 = 30;

impl Budget {
    /// A budget of `percent` of the requests.
    #[must_use]
    pub fn new(percent: f64) -> Self {
        Self {
            per_mille: (percent * 10.0).ceil().clamp(0.0, 1000.0) as u64,
            requests: AtomicU64::new(0),
            window: AtomicU64::new(0),
            at_start: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    #[inline]
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out of the budget, if there is one. What is refused costs nothing.
    #[must_use]
    pub fn take_retry(&self, now: Instant) -> bool {
        if self.per_mille == 0 {
            return false;
        }
        let window = clock::millis(now) / WINDOW;
        let current = self.window.load(Ordering::Relaxed);
        let requests = self.requests.load(Ordering::Relaxed);
        if current != window
            && self
                .window
                .compare_exchange(current, window, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            self.at_start.store(requests, Ordering::Relaxed);
            self.spent.store(0, Ordering::Relaxed);
        }
        let seen = requests.saturating_sub(self.at_start.load(Ordering::Relaxed));
        let allowed = seen * self.per_mille / 1000 + FLOOR;
        let spend = |spent: u64| (spent < allowed).then_some(spent + 1);
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry {
            attempts: 1,
            on_connect: true,
            on_timeout: true,
            on_reset: true,
            on_invalid: true,
            on_status: [502, 503, 504].into(),
            on_grpc: [14].into(),
            per_try: None,
            body_buffer: 0,
            budget: Arc::new(Budget::new(20.0)),
            backoff: None,
        }
    }

    const GET: RetryFacts = RetryFacts {
        repeatable: true,
        replayable: true,
        retries: 0,
        repaired: false,
        keyed: false,
    };
    const POST: RetryFacts = RetryFacts { repeatable: false, ..GET };

    #[test]
    fn a_request_that_was_not_sent_goes_on_whatever_its_method_and_however_often() {
        for failure in [Failure::Connect, Failure::ConnectTimeout, Failure::NoSocket] {
            for facts in [GET, POST, RetryFacts { retries: 1, repaired: true, ..POST }] {
                assert_eq!(
                    retry().decide_next(failure, facts),
                    RetryDecision::Onward,
                    "{failure:?}"
                );
            }
            let lost = RetryFacts { replayable: false, ..GET };
            assert_eq!(retry().decide_next(failure, lost), RetryDecision::GiveUp, "{failure:?}");
        }
    }

    #[test]
    fn either_word_is_enough_for_a_connect_timeout_and_connect_alone_for_a_refusal() {
        let on = |on_connect, on_timeout| Retry { on_connect, on_timeout, ..retry() };
        let decide = |on: Retry, failure| on.decide_next(failure, POST);
        assert_eq!(decide(on(true, false), Failure::ConnectTimeout), RetryDecision::Onward);
        assert_eq!(decide(on(false, true), Failure::ConnectTimeout), RetryDecision::Onward);
        assert_eq!(decide(on(false, false), Failure::ConnectTimeout), RetryDecision::GiveUp);
        assert_eq!(decide(on(true, false), Failure::Connect), RetryDecision::Onward);
        assert_eq!(decide(on(false, true), Failure::Connect), RetryDecision::GiveUp);
        assert_eq!(decide(on(false, true), Failure::NoSocket), RetryDecision::GiveUp);
    }

    #[test]
    fn what_a_server_did_not_process_goes_on_unless_it_belongs_to_that_server() {
        let decide = |facts| retry().decide_next(Failure::Unprocessed, facts);
        assert_eq!(decide(POST), RetryDecision::Onward);
        assert_eq!(decide(RetryFacts { keyed: true, ..POST }), RetryDecision::Fresh);
        assert_eq!(
            decide(RetryFacts { keyed: true, repaired: true, ..POST }),
            RetryDecision::Onward
        );
        assert_eq!(decide(RetryFacts { replayable: false, ..POST }), RetryDecision::GiveUp);
    }

    #[test]
    fn a_request_that_may_have_been_processed_is_repeated_only_when_harmless() {
        for failure in [
            Failure::Closed,
            Failure::Invalid,
            Failure::Timeout(Deadline::FirstByte),
            Failure::Status(503),
        ] {
            assert_eq!(retry().decide_next(failure, GET), RetryDecision::Elsewhere);
            assert_eq!(retry().decide_next(failure, POST), RetryDecision::GiveUp);
            let spent = RetryFacts { retries: 1, ..GET };
            assert_eq!(retry().decide_next(failure, spent), RetryDecision::GiveUp);
        }
        assert_eq!(retry().decide_next(Failure::Status(500), GET), RetryDecision::GiveUp);
    }

    #[test]
    fn nothing_is_repeated_when_the_time_for_the_exchange_is_over() {
        for deadline in [Deadline::Total, Deadline::Client] {
            assert_eq!(retry().decide_next(Failure::Timeout(deadline), GET), RetryDecision::GiveUp);
        }
    }

    #[test]
    fn a_stale_connection_is_repaired_once_and_only_safely() {
        let stale = Failure::Stale { unprocessed: false };
        let unprocessed = Failure::Stale { unprocessed: true };
        let repaired = |facts| RetryFacts { repaired: true, ..facts };
        assert_eq!(retry().decide_next(stale, GET), RetryDecision::Fresh);
        assert_eq!(retry().decide_next(stale, POST), RetryDecision::GiveUp);
        assert_eq!(retry().decide_next(unprocessed, POST), RetryDecision::Fresh);
        assert_eq!(retry().decide_next(Failure::Unasked, POST), RetryDecision::Fresh);
        // Beyond that it is a server that closes connections.
        assert_eq!(retry().decide_next(stale, repaired(GET)), RetryDecision::Elsewhere);
        assert_eq!(retry().decide_next(stale, repaired(POST)), RetryDecision::GiveUp);
        assert_eq!(retry().decide_next(unprocessed, repaired(POST)), RetryDecision::Onward);
        assert_eq!(
            retry().decide_next(stale, RetryFacts { replayable: false, ..GET }),
            RetryDecision::GiveUp
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_plus_a_floor_per_window() {
        let _epoch = clock::millis(clock::now());
        tokio::time::advance(Duration::from_millis(WINDOW)).await;
        let budget = Budget::new(20.0);
        assert!(budget.take_retry(clock::now()));
        for _ in 0..100 {
            budget.count_request();
        }
        let granted = (0..1000).filter(|_| budget.take_retry(clock::now())).count();
        assert_eq!(granted, 20 + 30 - 1);
        // Those that were refused were not spent: twenty more requests allow four more retries.
        for _ in 0..20 {
            budget.count_request();
        }
        let granted = (0..1000).filter(|_| budget.take_retry(clock::now())).count();
        assert_eq!(granted, 4);
        tokio::time::advance(Duration::from_millis(WINDOW)).await;
        let granted = (0..1000).filter(|_| budget.take_retry(clock::now())).count();
        assert_eq!(granted, 30);
    }
    #[test]
    fn a_budget_of_nothing_allows_nothing_and_a_small_one_something() {
        let none = Budget::new(0.0);
        none.count_request();
        assert!(!none.take_retry(clock::now()));
        assert!(Budget::new(0.01).take_retry(clock::now()));
    }
}
