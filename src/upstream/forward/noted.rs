//! What is noted of an attempt that failed: in counts, in the log, in the summary.

use std::sync::atomic::Ordering;

use crate::clock::{self, Instant};
use crate::endpoint::breaker::Permit;
use crate::upstream::UpstreamTarget;
use crate::upstream::choose::Chosen;
use crate::upstream::outlier::{self, OutlierVerdict};
use crate::upstream::request::{AttemptProgress, ForwardRequest};
use crate::upstream::requester::AttemptReport;
use crate::upstream::retry::{Failure, RetryDecision};

/// Returns whether this is a failure, and not an answer.
pub(super) fn is_failure(target: &UpstreamTarget, failure: Failure) -> bool {
    match failure {
        Failure::Status(status) => target.retry.on_status.contains(&status),
        Failure::Grpc(status) => target.retry.on_grpc.contains(&status),
        Failure::Connect
        | Failure::ConnectTimeout
        | Failure::NoSocket
        | Failure::Unprocessed
        | Failure::Stale { .. }
        | Failure::Unasked
        | Failure::Closed
        | Failure::Rejected
        | Failure::Timeout(_)
        | Failure::Invalid => true,
    }
}

/// Tells whoever wants to know of attempts that one has ended.
pub(super) fn report_attempt(
    job: &ForwardRequest<'_>,
    target: &UpstreamTarget,
    chosen: &Chosen<'_>,
    (number, ended): (u32, Failure),
    began: Instant,
) {
    let (upstream, server) = (&*target.upstream.name, &*chosen.member.endpoint);
    let took = clock::now().saturating_duration_since(began);
    job.requester.note_attempt(&AttemptReport { number, upstream, server, ended, took });
}

pub(super) fn log_attempt(
    job: &ForwardRequest<'_>,
    target: &UpstreamTarget,
    chosen: &Chosen<'_>,
    failure: Failure,
    (progress, again): (&AttemptProgress<'_, '_>, bool),
) {
    tracing::debug!(
        request_id = %job.request.id,
        upstream = %target.upstream.name,
        server = %chosen.member.endpoint.name,
        attempt = progress.attempt,
        outcome = ?failure,
        again,
        "attempt ended"
    );
}

/// Notes that a server failed, before another one is looked for. Returns the permit of the
/// upstream's breaker where the next attempt is to use it: one server that is down is no reason to
/// close the others.
pub(super) fn note_failure<'a>(
    target: &UpstreamTarget,
    chosen: &mut Chosen<'a>,
    failure: Failure,
    decision: RetryDecision,
) -> Option<Permit<'a>> {
    let (upstream, endpoint) = (&target.upstream, &chosen.member.endpoint);
    let shared = upstream.breaker.is_some_and(|breaking| !breaking.per_server);
    let carried = chosen.permit.take_if(|_| shared && decision == RetryDecision::Onward);
    match OutlierVerdict::from_failure(failure) {
        // An answer is noted at its end.
        OutlierVerdict::Good => {}
        OutlierVerdict::Bad => outlier::note_failed(upstream, endpoint, chosen.permit.take()),
        OutlierVerdict::Neutral => {
            endpoint.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
    carried
}

/// Notes that a failure is the end of the request: what costs a client its answer has failed,
/// however that happened.
#[cold]
pub(super) fn note_lost<'a>(
    target: &UpstreamTarget,
    chosen: &mut Chosen<'a>,
    failure: Failure,
    carried: Option<Permit<'a>>,
) {
    let (upstream, endpoint) = (&target.upstream, &chosen.member.endpoint);
    match failure {
        Failure::Stale { .. } | Failure::Unprocessed => {
            outlier::note_failed(upstream, endpoint, carried.or(chosen.permit.take()));
        }
        _ => {
            if let Some(permit) =
                carried.filter(|_| OutlierVerdict::from_failure(failure) == OutlierVerdict::Bad)
            {
                permit.report_failure(clock::now());
            }
        }
    }
}
