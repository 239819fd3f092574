//! One attempt: a connection, the request on it, the response head, and what that says about the
//! server's connections.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::choose::Chosen;
use super::connection::{self, ConnectionNeeds};
use super::exchange_io::{self, AttemptError, AttemptPlan, RequestSending};
use super::outlier::OutlierVerdict;
use super::request::{AttemptProgress, ForwardRequest};
use super::request_body::Upload;
use super::requester::AttemptHead;
use super::retry::Failure;
use super::{Origin, TargetMembers};
use crate::clock::{self, Instant};
use crate::endpoint::Endpoint;
use crate::exchange::{Client, Source};
use crate::net::Timer;
use crate::wire::{Known, ResponseHead};

/// The body of the request during one attempt: where it comes from, and how far it has been sent.
pub struct AttemptBody<'s, 'a, C> {
    /// The body.
    pub upload: &'s mut Upload<'a, C>,
    /// The part that is still to be sent.
    pub sending: &'s mut RequestSending,
}

/// Sends the request to a server and waits for the head of its response.
///
/// # Errors
/// [`AttemptError`].
pub async fn try_once<C: Client>(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'_>,
    chosen: &Chosen<'_>,
    AttemptBody { upload, sending }: AttemptBody<'_, '_, C>,
    timer: &mut Timer,
    progress: &mut AttemptProgress<'_, '_>,
) -> Result<Origin, AttemptError> {
    // The exchange may have begun long ago: a queue, a limit or a fault may have kept the request.
    let now = clock::now();
    let endpoint = &chosen.member.endpoint;
    progress.trail.first_byte = None;
    job.request.cause.clear_cause();
    let body = !upload.is_empty();
    let needs = ConnectionNeeds { now, repaired: progress.repaired, body };
    let connected = pin!(connection::connect_server(job, target, chosen, needs, timer)).await;
    let (mut origin, probation) = connected.inspect_err(|_| {
        progress.trail.connect = clock::now().saturating_duration_since(now);
        job.worker.ledger.note_attempt(endpoint.id, 0, None);
    })?;
    origin.bound_heads(target.upstream.limits.response_head);
    let reused = origin.is_reused();
    let begun = if reused { now } else { clock::now() };
    progress.trail.connect = begun.saturating_duration_since(now);
    // The end of an HTTP/2 stream may have come in a frame of its own, or while a connection was
    // made.
    let empty = !body || !probation && upload.is_empty();
    let (upstream, server, attempt) = (&target.upstream.name, &endpoint.name, progress.attempt);
    let opening = AttemptHead { upstream, server, attempt, ask: probation, empty };
    let coding = job.requester.write_head(origin.begin_request(), &opening);
    origin.send_head(coding, job.request.received);
    let plan = AttemptPlan {
        end: job.request.end(target.timeouts.total),
        begun,
        timeouts: target.timeouts,
        per_try: target.retry.per_try,
        body_gap: job.request.gaps.body,
        body_key: job.request.body_limit.key,
        cause: job.request.cause,
        head_request: job.request.head_request,
        upgrade: job.request.upgrade.is_some(),
        expects_continue: job.request.expects_continue,
        reused,
        probation,
    };
    let mut ended = exchange_io::run_attempt(upload, &mut origin, sending, timer, &plan).await;
    if ended.is_ok() {
        ended = inspect_answer(job, &mut origin).await.map_err(AttemptError::Failed);
    }
    if ended.is_err() && (plan.upgrade || origin.response_head().status == 101) {
        // A server that has switched already must not take the end for an orderly one.
        origin.cut_request();
    }
    let took = clock::now().saturating_duration_since(begun);
    if target.upstream.timed {
        note_latency(endpoint, &ended, &origin, begun + took, took);
    }
    note_reuse(job, endpoint, &ended, &origin, now, begun + took);
    progress.trail.first_byte = ended.is_ok().then_some(took);
    match ended {
        Ok(()) => {
            if reused && origin.is_own() {
                endpoint.reuse.record_answer();
            }
            Ok(origin)
        }
        Err(ended) => {
            if !origin.has_settled() {
                log_strange(job, endpoint);
            }
            match ended {
                AttemptError::Failed(Failure::Stale { .. }) if origin.is_own() => {
                    endpoint.reuse.record_break(clock::now());
                }
                AttemptError::Failed(Failure::Unasked) => endpoint.reuse.record_silence(),
                AttemptError::Failed(Failure::Timeout(_)) => origin.doubt_connection(),
                _ => {}
            }
            Err(ended)
        }
    }
}

/// Looks for what is wrong with an answer whose head is read: a protocol that the client did not
/// ask for, or a start of the body, as far as it came with the head, that is none. The client has
/// been sent nothing yet, so that it gets an answer; and another server may do better.
///
/// # Errors
/// [`Failure::Invalid`].
async fn inspect_answer(job: &ForwardRequest<'_>, origin: &mut Origin) -> Result<(), Failure> {
    if origin.response_head().status == 101 {
        // What follows it is no body.
        if accepts_upgrade(origin.response_head(), job.request.upgrade) {
            return Ok(());
        }
        job.request.cause.set_cause("101 to a protocol that was not asked for", None);
        return Err(Failure::Invalid);
    }
    if !origin.may_be_broken() {
        return Ok(());
    }
    poll_fn(|cx| match origin.poll_fill(cx) {
        Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::Invalid)),
        Poll::Ready(Ok(_)) | Poll::Pending => Poll::Ready(Ok(())),
    })
    .await
}

/// Counts the attempt, connecting included, unless the client ended it.
fn note_reuse(
    job: &ForwardRequest<'_>,
    endpoint: &Endpoint,
    ended: &Result<(), AttemptError>,
    origin: &Origin,
    from: Instant,
    now: Instant,
) {
    let (status, took) = match ended {
        Ok(()) => (origin.response_head().status, Some(now.saturating_duration_since(from))),
        Err(AttemptError::Failed(_)) => (0, None),
        Err(AttemptError::Refused(_) | AttemptError::Gone) => return,
    };
    job.worker.ledger.note_attempt(endpoint.id, status, took);
}

/// Notes how long the response took. A server that fails quickly must not look fast.
fn note_latency(
    endpoint: &Endpoint,
    ended: &Result<(), AttemptError>,
    origin: &Origin,
    now: Instant,
    took: Duration,
) {
    match ended {
        Ok(()) if matches!(origin.response_head().status, 429 | 503) => {
            let asked = origin.response_head().fields.named(b"retry-after").next();
            let seconds = asked.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            endpoint.latency.penalize_server(now, seconds.map(Duration::from_secs));
        }
        Ok(()) => endpoint.latency.observe_response(now, took),
        Err(AttemptError::Failed(failure))
            if OutlierVerdict::from_failure(*failure) == OutlierVerdict::Bad =>
        {
            endpoint.latency.penalize_server(now, None);
        }
        Err(AttemptError::Failed(_) | AttemptError::Refused(_) | AttemptError::Gone) => {}
    }
}

/// Returns whether a 101 switches to the protocol that was asked for (RFC 9110 §7.8).
fn accepts_upgrade(head: &ResponseHead, asked: Option<&[u8]>) -> bool {
    asked.is_some_and(|protocol| head.fields.lists(Known::Upgrade, protocol))
}

/// A server that has not said a word of HTTP/2.
#[cold]
fn log_strange(job: &ForwardRequest<'_>, endpoint: &Endpoint) {
    let told = "the server does not seem to speak HTTP/2";
    job.request.cause.set_cause(told, Some("upstream.protocol"));
    if let Some(left_out) = job.worker.quotas.take_line("no_http2", clock::now()) {
        let (upstream, server) = (&*endpoint.upstream, &*endpoint.name);
        let address = endpoint.where_it_is();
        tracing::warn!(upstream, server, address, key = "upstream.protocol", left_out, "{told}");
    }
}
