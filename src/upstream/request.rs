//! The words in which a request is forwarded: what is asked, where the loop over attempts stands,
//! and how it all ended. Everything else here builds on them.

use std::cell::RefCell;

use super::attempt_summary::AttemptSummary;
use super::mirror_buffer::MirrorBuffer;
use super::requester::Requester;
use super::retry::Failure;
use crate::exchange::{Outcome, Refusal, RequestTraits};
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
    pub request: &'a RequestTraits<'a>,
    /// The one for whom it is forwarded.
    pub requester: &'a dyn Requester,
    /// The buffer that keeps the body as it goes by, for a copy of the request.
    pub seen: Option<&'a RefCell<MirrorBuffer>>,
}

impl ForwardRequest<'_> {
    /// Reads from the head of a response how the attempt that it ends went.
    pub(super) fn read_status(&self, head: &ResponseHead) -> Failure {
        let call = self.request.grpc && head.status == 200;
        match call.then(|| grpc::parse_status(&head.fields)).flatten() {
            Some(status) if status != grpc::OK => Failure::Grpc(status),
            _ => Failure::Status(head.status),
        }
    }
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
    pub(super) fn remember_tried(&mut self, id: u32) -> bool {
        let Some(slot) = self.tried.get_mut(self.tried_count) else { return false };
        *slot = id;
        self.tried_count += 1;
        true
    }
}
