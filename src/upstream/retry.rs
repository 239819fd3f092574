//! Whether a failed attempt may be followed by another one. Pure: what happened goes in, a verdict
//! comes out.
//!
//! The question is not "is the method idempotent" but "how far did it get": a request of which
//! nothing was sent may go anywhere; one that may have been processed is sent again only when that
//! cannot do harm (RFC 9110 §9.2.2); one that was answered, never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::exchange::Refusal;
use crate::wire::{Known, RequestHead};

/// What an upstream or route allows.
#[derive(Debug, Clone)]
pub struct Retry {
    /// Attempts beyond the first.
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
    /// How much of a request body is kept for a second attempt.
    pub body_buffer: usize,
    /// How much of the traffic may be retries: the upstream's, or the route's own.
    pub budget: Arc<Budget>,
    /// The longest pause before the first retry; doubles with each one. A pause is drawn uniformly
    /// from zero to that ("full jitter").
    pub backoff: Option<Duration>,
}

/// What [`Failure::Timeout`] carries when it was the client that waited no longer.
pub use crate::exchange::outcome::CLIENTS_DEADLINE;

/// How an attempt failed before any response was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection; nothing was sent.
    Connect,
    /// No connection in time; nothing was sent.
    ConnectTimeout,
    /// A kept-alive connection turned out to be dead: closed without a byte of an answer.
    Stale {
        /// Whether the server provably did not process the request.
        unprocessed: bool,
    },
    /// A reused connection on which the server did not ask for the body; it was not sent.
    Unasked,
    /// A fresh connection was closed without an answer.
    Closed,
    /// No answer in time; carries the key.
    Timeout(&'static str),
    /// The answer is not a valid response.
    Invalid,
    /// A response with a status that counts as a failure.
    Status(u16),
    /// A gRPC call that ended with this status, which is not 0, before its first message.
    Grpc(u8),
}

impl Failure {
    /// What a client is told when nothing else can be done. `None` for a response that can be
    /// passed on.
    #[must_use]
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Failure::Connect => Some(Refusal::Connect),
            Failure::ConnectTimeout => Some(Refusal::UpstreamTimeout("upstream.timeout.connect")),
            Failure::Stale { .. } | Failure::Unasked | Failure::Closed => {
                Some(Refusal::UpstreamClosed)
            }
            Failure::Timeout(key) => Some(Refusal::UpstreamTimeout(key)),
            Failure::Invalid => Some(Refusal::UpstreamInvalid),
            Failure::Status(_) | Failure::Grpc(_) => None,
        }
    }
}

/// Why requests are sent once more, by [`Failure::reason_index`].
pub const REASONS: [&str; 8] =
    ["connect", "timeout", "reset", "invalid", "status", "grpc", "stale", "unasked"];

impl Failure {
    /// The place of the reason in [`REASONS`].
    #[must_use]
    pub fn reason_index(self) -> usize {
        match self {
            Failure::Connect | Failure::ConnectTimeout => 0,
            Failure::Timeout(_) => 1,
            Failure::Closed => 2,
            Failure::Invalid => 3,
            Failure::Status(_) => 4,
            Failure::Grpc(_) => 5,
            Failure::Stale { .. } => 6,
            Failure::Unasked => 7,
        }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Answer the client.
    GiveUp,
    /// Send the request again on a fresh connection to the same server. Costs no attempt: it
    /// repairs what a kept-alive connection broke.
    Fresh,
    /// Try another server.
    Elsewhere,
}

/// The facts about a request that a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// Sending it twice does no harm.
    pub repeatable: bool,
    /// Its body is empty or still at hand.
    pub replayable: bool,
    /// Attempts beyond the first so far.
    pub retries: u32,
    /// It was already repaired once after a stale connection.
    pub repaired: bool,
}

impl Retry {
    /// Decides what follows a failure.
    #[must_use]
    pub fn decide(&self, failure: Failure, facts: Facts) -> Decision {
        let Facts { repeatable, replayable, retries, repaired } = facts;
        let (wanted, harmless) = match failure {
            Failure::Stale { unprocessed } if replayable && (repeatable || unprocessed) => {
                return if repaired { Decision::GiveUp } else { Decision::Fresh };
            }
            Failure::Unasked => {
                return if repaired { Decision::GiveUp } else { Decision::Fresh };
            }
            Failure::Stale { .. } => return Decision::GiveUp,
            Failure::Connect => (self.on_connect, true),
            Failure::ConnectTimeout => (self.on_connect || self.on_timeout, true),
            Failure::Closed => (self.on_reset, repeatable),
            Failure::Invalid => (self.on_invalid, repeatable),
            Failure::Timeout(_) => (self.on_timeout, repeatable),
            Failure::Status(status) => (self.on_status.contains(&status), repeatable),
            Failure::Grpc(status) => (self.on_grpc.contains(&status), true),
        };
        if wanted && harmless && replayable && retries < self.attempts {
            Decision::Elsewhere
        } else {
            Decision::GiveUp
        }
    }
}

/// Whether sending a request twice does no harm: its method is idempotent (RFC 9110 §9.2.2) or its
/// client says how repetitions are recognised.
#[must_use]
pub fn repeatable(head: &RequestHead) -> bool {
    matches!(head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE")
        || head.fields.has(Known::IdempotencyKey)
}

/// Whether a request asks for nothing but an answer (RFC 9110 §9.2.1).
#[must_use]
pub fn safe(head: &RequestHead) -> bool {
    matches!(head.method(), b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE")
}

/// Limits retries to a share of the requests, so that they cannot multiply the load on servers
/// that are failing because of it. A window of ten seconds plus a small constant rate.
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
            per_mille: (percent * 10.0).clamp(0.0, 1000.0) as u64,
            requests: AtomicU64::new(0),
            window: AtomicU64::new(0),
            at_start: AtomicU64::new(0),
            spent: AtomicU64::new(0),
        }
    }

    /// Counts a request.
    #[inline]
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out of the budget, if there is one.
    #[must_use]
    pub fn take(&self, now: Instant) -> bool {
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
        self.spent.fetch_add(1, Ordering::Relaxed) < allowed
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

    const GET: Facts = Facts { repeatable: true, replayable: true, retries: 0, repaired: false };
    const POST: Facts = Facts { repeatable: false, ..GET };

    #[test]
    fn a_request_that_was_not_sent_may_go_elsewhere_whatever_its_method() {
        assert_eq!(retry().decide(Failure::Connect, POST), Decision::Elsewhere);
        assert_eq!(retry().decide(Failure::ConnectTimeout, POST), Decision::Elsewhere);
    }

    #[test]
    fn a_request_that_may_have_been_processed_is_repeated_only_when_harmless() {
        for failure in
            [Failure::Closed, Failure::Invalid, Failure::Timeout("k"), Failure::Status(503)]
        {
            assert_eq!(retry().decide(failure, GET), Decision::Elsewhere);
            assert_eq!(retry().decide(failure, POST), Decision::GiveUp);
        }
        assert_eq!(retry().decide(Failure::Status(500), GET), Decision::GiveUp);
    }

    #[test]
    fn a_stale_connection_is_repaired_once_and_only_safely() {
        let stale = Failure::Stale { unprocessed: false };
        assert_eq!(retry().decide(stale, GET), Decision::Fresh);
        assert_eq!(retry().decide(stale, POST), Decision::GiveUp);
        assert_eq!(retry().decide(Failure::Stale { unprocessed: true }, POST), Decision::Fresh);
        assert_eq!(retry().decide(Failure::Unasked, POST), Decision::Fresh);
        assert_eq!(retry().decide(stale, Facts { repaired: true, ..GET }), Decision::GiveUp);
        assert_eq!(retry().decide(stale, Facts { replayable: false, ..GET }), Decision::GiveUp);
    }

    #[test]
    fn attempts_are_counted() {
        let spent = Facts { retries: 1, ..GET };
        assert_eq!(retry().decide(Failure::Connect, spent), Decision::GiveUp);
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_plus_a_floor_per_window() {
        let _epoch = clock::millis(clock::now());
        tokio::time::advance(Duration::from_millis(WINDOW)).await;
        let budget = Budget::new(20.0);
        assert!(budget.take(clock::now()));
        for _ in 0..100 {
            budget.request();
        }
        let granted = (0..1000).filter(|_| budget.take(clock::now())).count();
        assert_eq!(granted, 20 + 30 - 1);
        tokio::time::advance(Duration::from_millis(WINDOW)).await;
        let granted = (0..1000).filter(|_| budget.take(clock::now())).count();
        assert_eq!(granted, 30);
    }
}
