//! A request's way through an upstream: choose a server, try it, decide what a failure means, pass
//! the answer on. When nothing of that is possible, the same once more with the fallback.

mod noted;

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::noted::{is_failure, log_attempt, note_failure, note_lost, report_attempt};
use crate::clock;
use crate::endpoint::breaker::Permit;
use crate::exchange::{Client, Refusal, pause_for};
use crate::net::Timer;
use crate::tls::client::AlpnOffer;
use crate::upstream::attempt_summary::AttemptSummary;
use crate::upstream::choose::{self, Chosen, Unchosen, WaitingClient};
use crate::upstream::exchange_io::{AttemptError, RequestSending};
use crate::upstream::request::{AttemptProgress, ForwardOutcome, ForwardRequest};
use crate::upstream::request_body::{Replay, Upload};
use crate::upstream::response::{self, ServedRequest};
use crate::upstream::retry::{Failure, RetryDecision, RetryFacts};
use crate::upstream::try_once::{self, AttemptBody};
use crate::upstream::{TargetMembers, UpstreamTarget, membership};

/// A reason why an upstream did not answer.
#[derive(Debug)]
enum UpstreamError {
    /// No server could be asked.
    Unusable(Refusal),
    /// All attempts failed, the last one like this.
    Failed(Failure),
    /// The request itself is at fault.
    Refused(Refusal),
    /// The client has gone.
    Gone,
}

/// Sends a request until it is answered or nothing more may be tried.
///
/// Cancel safety: dropping the future closes the connection to the server and ends the request
/// everywhere; counters are given back.
pub async fn forward_request<'t, C: Client>(
    job: &ForwardRequest<'_>,
    target: &'t UpstreamTarget,
    client: &mut C,
    timer: &mut Timer,
    trail: &mut AttemptSummary<'t>,
) -> ForwardOutcome {
    let mut target = target;
    let mut progress = AttemptProgress::new(trail);
    // A server of HTTP/2 may say of any request that it did not process it.
    let again = job.request.repeatable || target.upstream.offer != AlpnOffer::Http1;
    let remember = if again { target.retry.body_buffer } else { 0 };
    let mut replay = Replay::new(remember, job.memory);
    loop {
        let members = membership::hold_members(&target.upstream);
        progress.trail.upstream = Some(&target.upstream);
        progress.trail.members = Some(members.clone());
        progress.trail.asked = None;
        let aim = TargetMembers::new(target, &members);
        // Pinned where it stays, as everywhere here: it is large, and awaiting it by value copies
        // it.
        let answered =
            pin!(ask_upstream(job, aim, &mut progress, &mut replay, client, timer)).await;
        return match answered {
            Ok(answered) => answered,
            Err(unanswered) => match choose_fallback(job, target, &unanswered, &replay) {
                Some(next) => {
                    target.upstream.state.fallbacks.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(
                        request_id = %job.request.id,
                        upstream = %target.upstream.name,
                        fallback = %next.upstream.name,
                        "the fallback is asked"
                    );
                    target = next;
                    progress.start_over();
                    continue;
                }
                None => unanswered.into_outcome(),
            },
        };
    }
}

/// The upstream that answers instead. One that cannot be used, or did not process the request, may
/// be replaced for any request; one that failed only for requests that ask for nothing but an
/// answer.
fn choose_fallback<'a>(
    job: &ForwardRequest<'_>,
    target: &'a UpstreamTarget,
    unanswered: &UpstreamError,
    replay: &Replay,
) -> Option<&'a UpstreamTarget> {
    let next = target.fallback.as_deref()?;
    let allowed = match unanswered {
        UpstreamError::Unusable(_) => replay.is_complete(),
        UpstreamError::Failed(Failure::Rejected) => false,
        UpstreamError::Failed(failure) => {
            (job.request.safe || failure.is_unprocessed()) && replay.is_complete()
        }
        UpstreamError::Refused(_) | UpstreamError::Gone => false,
    };
    allowed.then_some(next)
}

impl UpstreamError {
    fn into_outcome(self) -> ForwardOutcome {
        match self {
            UpstreamError::Unusable(refusal) | UpstreamError::Refused(refusal) => {
                ForwardOutcome::Refused(refusal)
            }
            UpstreamError::Failed(failure) => {
                ForwardOutcome::Refused(failure.to_refusal().unwrap_or(Refusal::Internal))
            }
            UpstreamError::Gone => ForwardOutcome::Gone,
        }
    }
}

/// One upstream's part: attempts until one of its servers answers.
async fn ask_upstream<C: Client>(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'_>,
    progress: &mut AttemptProgress<'_, '_>,
    replay: &mut Replay,
    client: &mut C,
    timer: &mut Timer,
) -> Result<ForwardOutcome, UpstreamError> {
    target.retry.budget.count_request();
    let found = match choose::choose_first(job, target, progress) {
        Err(Unchosen::Full) => {
            let caller = WaitingClient { client: &mut *client, timer: &mut *timer };
            // Boxed, so that requests that need not wait do not hold the memory of the wait.
            Box::pin(choose::in_turn(job, target, progress, &mut None, caller)).await
        }
        found => found,
    };
    if !found.as_ref().is_ok_and(|chosen| chosen.bonded) {
        choose::note_unbound(job, target);
    }
    let mut chosen = found?;
    loop {
        progress.trail.asked = Some(chosen.member.at);
        progress.trail.attempts = progress.attempt;
        let mut sending = RequestSending::default();
        let began = job.requester.follows_attempts().then(clock::now);
        let mut upload = Upload::new(client, replay, job);
        let body = AttemptBody { upload: &mut upload, sending: &mut sending };
        let tried = pin!(try_once::try_once(job, target, &chosen, body, timer, progress)).await;
        let taken = upload.bytes_taken();
        let (failure, origin) = match tried {
            Ok(origin) => (job.read_status(origin.response_head()), Some(origin)),
            Err(AttemptError::Failed(failure)) => (failure, None),
            Err(AttemptError::Refused(refusal)) => return Err(UpstreamError::Refused(refusal)),
            Err(AttemptError::Gone) => return Err(UpstreamError::Gone),
        };
        if let Some(began) = began {
            report_attempt(job, &target, &chosen, (progress.attempt, failure), began);
        }
        let facts = retry_facts(job, target, replay, progress);
        let decision = target.retry.decide_next(failure, facts);
        let mut carried = note_failure(&target, &mut chosen, failure, decision);
        let next = if decision == RetryDecision::GiveUp {
            None
        } else {
            let failed = FailedAttempt { chosen: &chosen, failure, decision };
            let caller = WaitingClient { client, timer };
            // Boxed, so that requests that are answered at once do not hold the memory of those
            // that are not.
            Box::pin(plan_next(job, target, failed, progress, &mut carried, caller)).await
        };
        log_attempt(job, &target, &chosen, failure, (progress, next.is_some()));
        match (next, origin) {
            (None, Some(origin)) => {
                let last_resort =
                    is_failure(&target, failure) && job.request.safe && replay.is_complete();
                if last_resort && target.fallback.is_some() {
                    return Err(UpstreamError::Failed(failure));
                }
                // What the server has already been sent is not sent once more with the rest of it.
                let upload = Upload::new(client, replay, job);
                let mut upload = upload.resume_at(taken);
                progress.trail.status = Some(origin.response_head().status);
                let served = ServedRequest { target, chosen, origin, sending };
                return Ok(pin!(response::deliver_response(job, served, &mut upload, timer)).await);
            }
            (None, None) => {
                note_lost(&target, &mut chosen, failure, carried);
                return Err(UpstreamError::Failed(failure));
            }
            (Some(next), _) => {
                if let Some(count) = target.upstream.state.retried.get(failure.reason_index()) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                match next.server {
                    Some(server) => chosen = server,
                    None => {
                        progress.repaired = true;
                        chosen.permit = chosen.permit.or(carried);
                    }
                }
                progress.attempt += 1;
                if pause_for(client, timer, next.pause).await.is_err() {
                    return Err(UpstreamError::Gone);
                }
            }
        }
    }
}

impl From<Unchosen> for UpstreamError {
    fn from(unchosen: Unchosen) -> Self {
        match unchosen {
            Unchosen::Full => UpstreamError::Unusable(Refusal::QueueFull),
            Unchosen::Tried => UpstreamError::Unusable(Refusal::Internal),
            Unchosen::Refused(refusal) => UpstreamError::Unusable(refusal),
            Unchosen::Gone => UpstreamError::Gone,
        }
    }
}

/// What decides over a further attempt, besides the failure.
fn retry_facts(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'_>,
    replay: &Replay,
    progress: &AttemptProgress<'_, '_>,
) -> RetryFacts {
    RetryFacts {
        repeatable: job.request.repeatable,
        replayable: replay.is_complete(),
        retries: progress.retries,
        repaired: progress.repaired,
        keyed: target.key.is_some(),
    }
}

/// An attempt that has failed, and what that means for the request.
struct FailedAttempt<'f, 's> {
    chosen: &'f Chosen<'s>,
    failure: Failure,
    decision: RetryDecision,
}

/// The step after a failed attempt.
struct NextAttempt<'a> {
    /// Another server, or the same one on a fresh connection.
    server: Option<Chosen<'a>>,
    pause: Option<Duration>,
}

/// Finds out whether and where the request is sent again.
async fn plan_next<'a, C: Client>(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'a>,
    failed: FailedAttempt<'_, '_>,
    progress: &mut AttemptProgress<'_, '_>,
    carried: &mut Option<Permit<'a>>,
    caller: WaitingClient<'_, C>,
) -> Option<NextAttempt<'a>> {
    let FailedAttempt { chosen, failure, decision } = failed;
    let retry = &target.retry;
    let state = &target.upstream.state;
    let free = match decision {
        RetryDecision::GiveUp => return None,
        RetryDecision::Fresh => return Some(NextAttempt { server: None, pause: None }),
        RetryDecision::Onward => true,
        RetryDecision::Elsewhere => false,
    };
    progress.unprocessed = free;
    if !progress.remember_tried(chosen.member.endpoint.id) {
        return None;
    }
    let found = match choose::at_once(job, target, progress, carried, clock::now()) {
        // It is as good as a request that has just come.
        Err(Unchosen::Full) if free => {
            choose::in_turn(job, target, progress, carried, caller).await
        }
        found => found,
    };
    let Ok(server) = found else {
        progress.forget_last();
        // There is nobody else: a server that said so may take it on another connection.
        let again = failure == Failure::Unprocessed && !progress.repaired;
        return again.then_some(NextAttempt { server: None, pause: None });
    };
    if free {
        state.retries.fetch_add(1, Ordering::Relaxed);
        // It says nothing about load: there is no reason to wait.
        return Some(NextAttempt { server: Some(server), pause: None });
    }
    if !retry.budget.take_retry(clock::now()) {
        state.over_budget.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    state.retries.fetch_add(1, Ordering::Relaxed);
    let ceiling = retry.backoff.map(|first| first * (1 << progress.retries.min(8)));
    progress.retries += 1;
    let pause = ceiling.map(|c| c.mul_f64(job.worker.draw_random(|random| random.unit())));
    Some(NextAttempt { server: Some(server), pause })
}
