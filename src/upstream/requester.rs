//! Whoever has a request forwarded, and what is asked of it and told to it on the way.

use std::sync::Arc;
use std::time::Duration;

use super::KeySource;
use super::retry::Failure;
use crate::balance::BalanceKey;
use crate::endpoint::Endpoint;
use crate::net::BodyFraming;
use crate::policy::stages::ResponseStages;

/// Whoever has a request forwarded: the walk for a client, a mirror, the cache. What depends on the
/// attempt, or on the answer, is asked of it.
pub trait Requester {
    /// Writes the head of the request for an attempt. Returns which body it announces.
    fn write_head(&self, out: &mut Vec<u8>, attempt: &AttemptHead<'_>) -> BodyFraming;

    /// Tells if a field of this name that came behind the body may be sent on.
    fn allows_trailer(&self, name: &[u8]) -> bool;

    /// Makes the stages that the response passes on its way.
    fn response_stages(&self) -> ResponseStages<'_> {
        ResponseStages::default()
    }

    /// The part of the request that a strategy goes by; `None` when it has none.
    fn balance_key(&self, source: &KeySource) -> Option<BalanceKey<'_>>;

    /// Tells if it wants to be told of attempts.
    fn follows_attempts(&self) -> bool {
        false
    }

    /// Is told of an attempt that has ended.
    fn note_attempt(&self, _report: &AttemptReport<'_>) {}
}

/// The part of a request's head that changes from one attempt to the next.
#[derive(Debug, Clone, Copy)]
pub struct AttemptHead<'o> {
    /// The name of the upstream.
    pub upstream: &'o Arc<str>,
    /// The name of the server.
    pub server: &'o Arc<str>,
    /// Counted from 1.
    pub attempt: u32,
    /// The server is to ask for the body before it is sent.
    pub ask: bool,
    /// All of the request is there already, and it has neither a body nor trailers.
    pub empty: bool,
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub struct AttemptReport<'a> {
    /// Counted from 1.
    pub number: u32,
    /// The upstream's name.
    pub upstream: &'a str,
    /// The server.
    pub server: &'a Endpoint,
    /// The end of the attempt.
    pub ended: Failure,
    /// The time that it took, connecting included, up to the head of the response.
    pub took: Duration,
}
