//! Forwards a request whose route is known: what its upstream asks of the walk, attempt by attempt.

use std::cell::RefCell;

use super::fill::{AskedServer, ServerNames};
use super::finish::{self, RequestLog};
use super::stages::WalkStage;
use super::{MatchedRoute, WalkEnd, door};
use crate::balance::BalanceKey;
use crate::clock::{self, Instant};
use crate::exchange::forward::{self, RequestForm};
use crate::exchange::{
    BodyLimit, Client, ClientGaps, NoServerReason, Outcome, Refusal, RequestTraits,
};
use crate::net::{BodyFraming, Timer};
use crate::policy::effects::PolicyEffects;
use crate::policy::stages::ResponseStages;
use crate::snapshot::route::Split;
use crate::telemetry::trace::Trace;
use crate::upstream::KeySource;
use crate::upstream::forward::forward_request;
use crate::upstream::mirror_buffer::MirrorBuffer;
use crate::upstream::request::{ForwardOutcome, ForwardRequest};
use crate::upstream::requester::{AttemptHead, AttemptReport, Requester};
use crate::upstream::retry;
use crate::wire::{Version, grpc};

/// The parts of a head that servers get in the stead of the client's.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplacedParts<'r> {
    /// The path; empty where it is the client's.
    pub(super) path: &'r [u8],
    /// `If-Match`, where it is not the client's.
    pub(super) if_match: Option<&'r [u8]>,
}

/// A request of a client's, as its upstream asks about it.
pub(super) struct RouteRequester<'s, 'a, 'i> {
    pub(super) matched: &'s MatchedRoute<'a, 'i>,
    pub(super) effects: &'s PolicyEffects<'a>,
    pub(super) replaced: ReplacedParts<'s>,
    pub(super) trace: Option<&'s Trace>,
    /// The moment at which the client stops waiting, if it said so.
    deadline: Option<Instant>,
    asked: &'s AskedServer,
    stage: WalkStage<'s, 'a>,
}

impl Requester for RouteRequester<'_, '_, '_> {
    fn write_head(&self, out: &mut Vec<u8>, attempt: &AttemptHead<'_>) -> BodyFraming {
        let Self { matched, effects, trace, .. } = self;
        let AttemptHead { attempt, ask, empty, upstream, server } = *attempt;
        let names = ServerNames { upstream, server };
        matched.note_asked(names, self.asked);
        let facts = matched.request_facts(effects.verified.as_deref(), Some(names));
        // Of 0 bytes, nothing has come yet, and trailers still may.
        let length = if empty { Some(0) } else { matched.admitted.length.filter(|n| *n > 0) };
        let form = RequestForm {
            attempt,
            expects_continue: matched.expects_continue() || ask,
            traceparent: trace.and_then(|trace| trace.traceparent(attempt)),
            b3: trace.and_then(|trace| trace.b3(attempt)),
            // What is left of the client's patience is all that the server has.
            left: self.deadline.map(|at| at.saturating_duration_since(clock::now())),
            length,
            facts: Some(&facts),
            ..matched.form(self.replaced, effects)
        };
        forward::write_request(out, &form)
    }

    fn allows_trailer(&self, name: &[u8]) -> bool {
        let edits = &self.matched.route.request_edits;
        !door::is_claim(name, false) && !forward::leaves_out(edits, &self.effects.hidden, name)
    }

    fn response_stages(&self) -> ResponseStages<'_> {
        self.stage.response_stages()
    }

    fn balance_key(&self, source: &KeySource) -> Option<BalanceKey<'_>> {
        self.matched.balance_key(source, self.effects)
    }

    fn follows_attempts(&self) -> bool {
        self.trace.is_some_and(|trace| trace.context.sampled)
    }

    fn note_attempt(&self, report: &AttemptReport<'_>) {
        if self.follows_attempts() {
            finish::trace_attempt(self.trace, report);
        }
    }
}

impl<'a> MatchedRoute<'a, '_> {
    /// Sends the request to one of the upstreams of `split`, and what that answers to the client.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub(super) async fn forward<C: Client>(
        &self,
        split: &'a Split,
        body_limit: BodyLimit,
        client: &mut C,
        timer: &mut Timer,
        log: &mut RequestLog<'a>,
    ) -> Result<WalkEnd, Refusal> {
        let Self { ex, route, .. } = self;
        let RequestLog { trail, trace, effects, .. } = log;
        let (trace, effects) = (trace.as_ref(), &*effects);
        let Some(goal) = ex.worker.draw_random(|random| split.choose_target(random)) else {
            return Err(Refusal::NoServer(NoServerReason::Nobody));
        };
        let rewritten = self.rewritten_path()?;
        let policies = route.policies.as_ref();
        let if_match = policies.and_then(|policies| policies.if_match(&ex.head.fields));
        let asked = AskedServer::default();
        let request = self.traits(body_limit);
        let mirror = self.chosen_mirror();
        let seen = mirror.map(|_| RefCell::<MirrorBuffer>::default());
        let invalidates = route.cache.as_deref().filter(|_| !request.safe);
        let requester = RouteRequester {
            matched: self,
            effects,
            replaced: ReplacedParts { path: &rewritten, if_match: if_match.as_deref() },
            trace,
            deadline: request.deadline,
            asked: &asked,
            stage: WalkStage { matched: self, effects, asked: Some(&asked), invalidates },
        };
        let job = ForwardRequest {
            worker: ex.worker,
            memory: ex.snapshot.request_memory,
            request: &request,
            requester: &requester,
            seen: seen.as_ref(),
        };
        let sent = forward_request(&job, goal, client, timer, trail).await;
        if let Some((mirror, seen)) = mirror.zip(seen) {
            match seen.into_inner().into_whole(client, &requester) {
                Some(body) => mirror.send_copy(ex.worker, requester.copy(mirror, body)),
                None => mirror.count_skipped(),
            }
        }
        match sent {
            ForwardOutcome::Answered(status, Outcome::ClientGone) => {
                client.cut_response();
                Ok(WalkEnd::from_outcome(Outcome::ClientGone, status))
            }
            ForwardOutcome::Gone => {
                client.cut_response();
                Ok(WalkEnd::client_gone())
            }
            ForwardOutcome::Answered(status, outcome) => Ok(WalkEnd::from_outcome(outcome, status)),
            ForwardOutcome::Refused(refusal) => Err(refusal),
        }
    }

    /// The traits of the request by which it is forwarded.
    #[inline]
    fn traits(&self, body_limit: BodyLimit) -> RequestTraits<'_> {
        let Self { ex, admitted, .. } = self;
        let patience = admitted.grpc.then(|| grpc::parse_timeout(&ex.head.fields)).flatten();
        RequestTraits {
            id: &ex.exchange.id,
            started: ex.started,
            deadline: clock::deadline(ex.started, patience),
            head_request: ex.is_head(),
            safe: retry::is_safe(ex.head),
            repeatable: retry::is_repeatable(ex.head),
            grpc: admitted.grpc,
            expects_continue: self.expects_continue(),
            upgrade: admitted.upgrade,
            received: Some(&ex.head.fields),
            ends: ex.peer.ends.as_deref(),
            body_limit,
            gaps: ClientGaps { body: ex.listener.body_gap, write: ex.listener.write_gap },
            cause: &ex.exchange.cause,
        }
    }

    /// Returns whether the client waits for 100 before it sends the body.
    fn expects_continue(&self) -> bool {
        self.admitted.expects_continue && self.ex.head.version != Version::Http10
    }

    /// The head that servers get, but for what only an attempt knows.
    #[inline]
    pub(super) fn form<'f>(
        &'f self,
        replaced: ReplacedParts<'f>,
        effects: &'f PolicyEffects<'_>,
    ) -> RequestForm<'f> {
        let Self { ex, route, admitted, target, .. } = self;
        let original_host = target.sent_host();
        RequestForm {
            head: ex.head,
            path: if replaced.path.is_empty() { target.path() } else { replaced.path },
            query: target.query(),
            host: route.rewrite.host.as_deref().unwrap_or(original_host),
            original_host,
            prefix: self.forwarded_prefix(),
            request_id: self.ex.exchange.id.as_bytes(),
            hidden: &effects.hidden,
            added: effects.verified.as_ref().map_or(&[], |verified| &verified.fields),
            if_match: replaced.if_match,
            traceparent: None,
            b3: None,
            left: None,
            identity: &self.ex.exchange.identity,
            edits: &route.request_edits,
            facts: None,
            upgrade: admitted.upgrade,
            expects_continue: self.expects_continue(),
            length: admitted.length,
            attempt: 1,
        }
    }
}
