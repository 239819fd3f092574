//! One attempt: a connection, the request on it, the response head, and what that says about the
//! server's connections.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::Target;
use super::attempt::{self, Ended, Plan, Sending};
use super::choose::Chosen;
use super::observe::Verdict;
use super::replay::Upload;
use super::retry::Failure;
use super::send::{Job, Progress};
use crate::clock::{self, Instant};
use crate::endpoint::Endpoint;
use crate::endpoint::connect::{self, ConnectError};
use crate::endpoint::connections::Demand;
use crate::exchange::Client;
use crate::h1::Origin;
use crate::net::Timer;
use crate::wire::{Known, ResponseHead};

/// Sends the request to a server and waits for the head of its response.
///
/// # Errors
/// [`Ended`].
pub async fn try_once<C: Client>(
    job: &Job<'_>,
    target: &Target,
    chosen: &Chosen<'_>,
    (upload, sending): (&mut Upload<'_, C>, &mut Sending),
    timer: &mut Timer,
    progress: &mut Progress<'_>,
) -> Result<Box<Origin>, Ended> {
    // The first attempt begins with the exchange, for all that a deadline can tell.
    let now = if progress.attempt == 1 { job.started } else { clock::now() };
    let endpoint = &chosen.member.endpoint;
    progress.trail.first_byte = None;
    let connected = connection(job, target, chosen, timer, (progress, now)).await;
    let (mut origin, probation) = connected.inspect_err(|_| {
        progress.trail.connect = clock::now().saturating_duration_since(now);
        job.worker.ledger.attempt(endpoint.id, 0, None);
    })?;
    let reused = origin.uses() > 0;
    let begun = if reused { now } else { clock::now() };
    progress.trail.connect = begun.saturating_duration_since(now);
    let coding = (job.head)(origin.begin(), progress.attempt, probation);
    origin.body_coding(coding);
    let plan = Plan {
        started: job.started,
        begun,
        timeouts: target.timeouts,
        per_try: target.retry.per_try,
        body_gap: job.body_gap,
        body_key: job.body_limit.1,
        head_request: job.head_request,
        upgrade: job.upgrade.is_some(),
        reused,
        probation,
    };
    let ended = attempt::attempt(upload, &mut origin, sending, timer, &plan).await;
    let took = clock::now().saturating_duration_since(begun);
    if target.upstream.timed {
        time(endpoint, &ended, &origin, begun + took, took);
    }
    note(job, endpoint, &ended, &origin, now, begun + took);
    progress.trail.first_byte = ended.is_ok().then_some(took);
    match ended {
        Ok(()) if origin.head().status == 101 && !accepts(origin.head(), job.upgrade) => {
            Err(Ended::Failed(Failure::Invalid))
        }
        Ok(()) => {
            if reused {
                endpoint.reuse.answered();
            }
            Ok(origin)
        }
        Err(ended) => {
            match ended {
                Ended::Failed(Failure::Stale { .. }) => endpoint.reuse.broken(clock::now()),
                Ended::Failed(Failure::Unasked) => endpoint.reuse.silent(),
                _ => {}
            }
            Err(ended)
        }
    }
}

/// Counts the attempt, connecting included, unless the client ended it.
fn note(
    job: &Job<'_>,
    endpoint: &Endpoint,
    ended: &Result<(), Ended>,
    origin: &Origin,
    from: Instant,
    now: Instant,
) {
    let (status, took) = match ended {
        Ok(()) => (origin.head().status, Some(now.saturating_duration_since(from))),
        Err(Ended::Failed(_)) => (0, None),
        Err(Ended::Refused(_) | Ended::Gone) => return,
    };
    job.worker.ledger.attempt(endpoint.id, status, took);
}

/// Notes how long the response took. A server that fails quickly must not look fast.
fn time(
    endpoint: &Endpoint,
    ended: &Result<(), Ended>,
    origin: &Origin,
    now: Instant,
    took: Duration,
) {
    match ended {
        Ok(()) if matches!(origin.head().status, 429 | 503) => {
            let asked = origin.head().fields.named(b"retry-after").next();
            let seconds = asked.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            endpoint.latency.penalize(now, seconds.map(Duration::from_secs));
        }
        Ok(()) => endpoint.latency.observe(now, took),
        Err(Ended::Failed(failure)) if Verdict::of(*failure) == Verdict::Bad => {
            endpoint.latency.penalize(now, None);
        }
        Err(Ended::Failed(_) | Ended::Refused(_) | Ended::Gone) => {}
    }
}

/// Whether a 101 switches to the protocol that was asked for (RFC 9110 §7.8).
fn accepts(head: &ResponseHead, asked: Option<&[u8]>) -> bool {
    asked.is_some_and(|protocol| head.fields.lists(Known::Upgrade, protocol))
}

/// A connection at rest that suits the request, or a fresh one.
async fn connection(
    job: &Job<'_>,
    target: &Target,
    chosen: &Chosen<'_>,
    timer: &mut Timer,
    (progress, now): (&Progress<'_>, Instant),
) -> Result<(Box<Origin>, bool), Ended> {
    let endpoint = &chosen.member.endpoint;
    let secured = target.upstream.secured(endpoint.id);
    if !progress.repaired {
        let demand =
            if job.repeatable { Demand::Any } else { Demand::Proven { body: job.has_body } };
        let id = secured.map_or(0, |secured| secured.outgoing.id);
        let taken = poll_fn(|cx| {
            let mut connections = job.worker.connections.borrow_mut();
            let mut taken = || connections.take(cx, endpoint, demand, now);
            // Those that were made with other TLS settings are closed.
            Poll::Ready(std::iter::from_fn(&mut taken).find(|t| t.origin.secured_by == id))
        })
        .await;
        if let Some(taken) = taken {
            return Ok((taken.origin, taken.probation));
        }
    }
    let end = clock::deadline(job.started, target.timeouts.total);
    let deadline = crate::net::timer::earlier(clock::deadline(now, target.timeouts.connect), end);
    let limit = target.upstream.limits.connections;
    let room = (limit, || job.worker.reclaim());
    match connect::connect(endpoint, secured, room, timer, deadline).await {
        Ok(origin) => Ok((origin, false)),
        Err(ConnectError::Refused(error)) => {
            let server = &endpoint.name;
            // A server that is down shows in many places; one that is not who it should be, nowhere else.
            if error.kind() == std::io::ErrorKind::InvalidData
                && let Some(left_out) = job.worker.refusals.take(clock::now())
            {
                let upstream = &endpoint.upstream;
                tracing::warn!(%upstream, %server, %error, key = "upstream.tls", left_out, "no TLS with the server");
            }
            tracing::debug!(%server, %error, "could not connect");
            Err(Ended::Failed(Failure::Connect))
        }
        Err(ConnectError::Timeout) => Err(Ended::Failed(Failure::ConnectTimeout)),
    }
}
