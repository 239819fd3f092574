//! The words in which a request is forwarded: what is asked, where the loop over attempts stands, and how it all ended.
//! Everything else here builds on them.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use super::KeySource;
use super::attempt_summary::AttemptSummary;
use super::mirror_buffer::MirrorBuffer;
use super::retry::Failure;
use crate::balance::BalanceKey;
use crate::endpoint::Endpoint;
use crate::exchange::{Outcome, Refusal, RequestTraits};
use crate::net::BodyFraming;
use crate::policy::stages::ResponseStages;
use crate::wire::{ResponseHead, grpc};
use crate::worker::Worker;

/// Servers remembered as tried: the most that one request is sent to.
pub(super) const MAX_TRIED: usize = 32;

/// One request for an upstream. Everything that does not change between attempts.
pub struct ForwardRequest<'a> {
    /// The worker this runs on.
    pub worker: &'a Worker,
    /// The most that all requests may hold together, in bytes.
    pub memory: usize,
    /// The traits of the request.
    pub request: RequestTraits<'a>,
    /// The one for whom it is forwarded.
    pub requester: &'a dyn Requester,
    /// The buffer that keeps the body as it goes by, for a copy of the request.
    pub seen: Option<&'a RefCell<MirrorBuffer>>,
}

/// Whoever has a request forwarded: the walk for a client, a mirror, the cache. What depends on the attempt, or on the
/// answer, is asked of it.
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

impl ForwardRequest<'_> {
    /// Reads from the head of a response how the attempt that it ends went.
    pub(super) fn read_status(&self, head: &ResponseHead) -> Failure {
        let call = self.request.grpc && head.status == 200;
        match call.then(|| grpc::status(&head.fields)).flatten() {
            Some(status) if status != grpc::OK => Failure::Grpc(status),
            _ => Failure::Status(head.status),
        }
    }
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

/// The end of a request that was forwarded.
#[derive(Debug)]
pub enum ForwardOutcome {
    /// A response with this status was passed on.
    Answered(u16, Outcome),
    /// The proxy has to answer.
    Refused(Refusal),
    /// The client has gone.
    Gone,
}

/// The place of the loop over attempts.
#[derive(Debug)]
pub struct AttemptProgress<'p, 't> {
    tried: [u32; MAX_TRIED],
    tried_count: usize,
    /// Attempts that the budget of retries paid for.
    pub(super) retries: u32,
    /// Counted from 1, over all upstreams.
    pub attempt: u32,
    /// A stale connection was made up for already.
    pub repaired: bool,
    /// The last server provably did not process the request.
    pub unprocessed: bool,
    /// The summary that is told about the request, whenever it ends.
    pub trail: &'p mut AttemptSummary<'t>,
}

impl<'p, 't> AttemptProgress<'p, 't> {
    pub(super) fn new(trail: &'p mut AttemptSummary<'t>) -> Self {
        let tried = [0; MAX_TRIED];
        let (repaired, unprocessed) = (false, false);
        Self { tried, tried_count: 0, retries: 0, attempt: 1, repaired, unprocessed, trail }
    }

    /// Goes on with another upstream.
    pub(super) fn start_over(&mut self) {
        self.tried_count = 0;
        self.retries = 0;
        self.repaired = false;
        self.unprocessed = false;
        self.attempt += 1;
    }

    /// The servers that failed this request.
    #[must_use]
    pub fn tried(&self) -> &[u32] {
        self.tried.get(..self.tried_count).unwrap_or_default()
    }

    /// Forgets the server that was remembered last.
    pub(super) fn forget_last(&mut self) {
        self.tried_count = self.tried_count.saturating_sub(1);
    }

    /// Remembers that a server was tried; false if no more can be.
    pub(super) fn remember(&mut self, id: u32) -> bool {
        let Some(slot) = self.tried.get_mut(self.tried_count) else { return false };
        *slot = id;
        self.tried_count += 1;
        true
    }
}
