//! A request's way through an upstream: choose a server, try it, decide what a failure means, pass
//! the answer on.

use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use super::attempt::{self, Ended, Plan, Sending};
use super::relay::{self, Delivered, Limits};
use super::replay::{Replay, Upload};
use super::retry::{Decision, Facts, Failure};
use super::{Retry, Timeouts, Upstream};
use crate::balance::{Ask, Rules};
use crate::clock::{self, Instant};
use crate::endpoint::connect::{self, ConnectError};
use crate::endpoint::connections::Demand;
use crate::endpoint::{Endpoint, Slot};
use crate::exchange::{Client, Emit, Outgoing, Refusal};
use crate::h1::Origin;
use crate::net::Timer;
use crate::net::outbox::Coding;
use crate::wire::{Known, ResponseHead};
use crate::worker::Worker;

/// How long a tunnel may be silent.
const TUNNEL_IDLE: Duration = Duration::from_hours(1);
/// Servers remembered as tried; more attempts than this are not configurable.
const MAX_TRIED: usize = 16;

/// One request for an upstream. Everything that does not change between attempts.
pub struct Job<'a> {
    /// The worker this runs on.
    pub worker: &'a Worker,
    /// Where the request goes.
    pub upstream: &'a Upstream,
    /// Deadlines towards servers.
    pub timeouts: Timeouts,
    /// What may be tried again.
    pub retry: &'a Retry,
    /// Writes the request's head for an attempt, counted from 1; the flag says that the server is
    /// to ask for the body before it is sent.
    pub head: &'a dyn Fn(&mut Vec<u8>, u32, bool) -> Coding,
    /// Writes the fields of a response as the client must see them.
    pub fields: &'a dyn Fn(&ResponseHead, &mut dyn Emit),
    /// The method is `HEAD`.
    pub head_request: bool,
    /// Sending it twice does no harm.
    pub repeatable: bool,
    /// It has a body.
    pub has_body: bool,
    /// The protocol the client wants to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// The most body bytes, and the key that says so.
    pub body_limit: (u64, &'static str),
    /// Between two parts of the request body.
    pub body_gap: Option<Duration>,
    /// Between two successful writes to the client.
    pub write_gap: Option<Duration>,
    /// When the exchange began.
    pub started: Instant,
}

/// How a request that was forwarded ended.
#[derive(Debug)]
pub enum Sent {
    /// A response with this status was passed on.
    Answered(u16, Delivered),
    /// The proxy has to answer.
    Refused(Refusal),
    /// The client has gone.
    Gone,
}

/// Where the loop over attempts stands.
struct Progress {
    tried: [u32; MAX_TRIED],
    tried_count: usize,
    retries: u32,
    attempt: u32,
    repaired: bool,
}

impl Progress {
    fn tried(&self) -> &[u32] {
        self.tried.get(..self.tried_count).unwrap_or_default()
    }

    fn remember(&mut self, id: u32) {
        if let Some(slot) = self.tried.get_mut(self.tried_count) {
            *slot = id;
            self.tried_count += 1;
        }
    }
}

/// Sends a request until it is answered or nothing more may be tried.
///
/// Cancel safety: dropping the future closes the connection to the server and ends the request
/// everywhere; counters are given back.
pub async fn send<C: Client>(job: &Job<'_>, client: &mut C, timer: &mut Timer) -> Sent {
    job.retry.budget.request();
    let mut progress =
        Progress { tried: [0; MAX_TRIED], tried_count: 0, retries: 0, attempt: 1, repaired: false };
    let remember = if job.repeatable { job.retry.body_buffer } else { 0 };
    let mut replay = Replay::new(remember);
    let Some(mut endpoint) = pick(job, &progress) else {
        return Sent::Refused(Refusal::NoServer);
    };
    loop {
        let slot = endpoint.begin();
        let mut sending = Sending::default();
        let mut upload = Upload::new(client, &mut replay, job.body_limit.0);
        let tried = try_once(job, endpoint, &mut upload, &mut sending, timer, &progress).await;
        let (failure, origin) = match tried {
            Ok(origin) => (Failure::Status(origin.head().status), Some(origin)),
            Err(Ended::Failed(failure)) => {
                endpoint.failures.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(
                    upstream = %endpoint.upstream,
                    server = %endpoint.name,
                    ?failure,
                    "attempt failed"
                );
                (failure, None)
            }
            Err(Ended::Refused(refusal)) => return Sent::Refused(refusal),
            Err(Ended::Gone) => return Sent::Gone,
        };
        match (next(job, failure, &mut progress, &replay, endpoint), origin) {
            (None, Some(origin)) => {
                let mut upload = Upload::new(client, &mut replay, job.body_limit.0);
                let served = Served { endpoint, origin, sending, _slot: slot };
                return deliver(job, served, &mut upload, timer).await;
            }
            (None, None) => {
                return Sent::Refused(failure.refusal().unwrap_or(Refusal::Internal));
            }
            (Some(next), _) => {
                drop(slot);
                endpoint = next.server;
                if pause(client, timer, next.pause).await.is_err() {
                    return Sent::Gone;
                }
            }
        }
    }
}

/// What follows a failed attempt.
struct Next<'a> {
    server: &'a Endpoint,
    pause: Option<Duration>,
}

/// Decides whether and where the request is sent again.
fn next<'a>(
    job: &Job<'a>,
    failure: Failure,
    progress: &mut Progress,
    replay: &Replay,
    endpoint: &'a Endpoint,
) -> Option<Next<'a>> {
    let facts = Facts {
        repeatable: job.repeatable,
        replayable: replay.complete(),
        retries: progress.retries,
        repaired: progress.repaired,
    };
    match job.retry.decide(failure, facts) {
        Decision::GiveUp => None,
        Decision::Fresh => {
            progress.repaired = true;
            progress.attempt += 1;
            Some(Next { server: endpoint, pause: None })
        }
        Decision::Elsewhere => {
            progress.remember(endpoint.id);
            let Some(server) = pick(job, progress) else {
                progress.tried_count = progress.tried_count.saturating_sub(1);
                return None;
            };
            if !job.retry.budget.take(clock::now()) {
                return None;
            }
            let ceiling = job.retry.backoff.map(|first| first * (1 << progress.retries.min(8)));
            progress.retries += 1;
            progress.attempt += 1;
            let pause = ceiling.map(|c| c.mul_f64(job.worker.draw(|random| random.unit())));
            // A refused connection says nothing about load: there is no reason to wait.
            let pause = if failure == Failure::Connect { None } else { pause };
            Some(Next { server, pause })
        }
    }
}

fn pick<'a>(job: &Job<'a>, progress: &Progress) -> Option<&'a Endpoint> {
    job.worker.draw(|random| {
        let rules = Rules::default();
        let tried = progress.tried();
        job.upstream.pick(&mut Ask { tried, key: None, now: job.started, random, rules })
    })
}

/// Waits before a retry; an error when the client leaves meanwhile.
async fn pause<C: Client>(
    client: &mut C,
    timer: &mut Timer,
    pause: Option<Duration>,
) -> Result<(), ()> {
    let Some(pause) = pause else { return Ok(()) };
    let until = clock::deadline(clock::now(), Some(pause));
    poll_fn(|cx| {
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(()));
        }
        if let Some(at) = client.look_again().filter(|at| until.is_some_and(|until| *at < until)) {
            ready!(timer.poll_at(cx, Some(at)));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(timer.poll_at(cx, until));
        Poll::Ready(Ok(()))
    })
    .await
}

/// One attempt: a connection, the request on it, the response head.
async fn try_once<C: Client>(
    job: &Job<'_>,
    endpoint: &Endpoint,
    upload: &mut Upload<'_, C>,
    sending: &mut Sending,
    timer: &mut Timer,
    progress: &Progress,
) -> Result<Box<Origin>, Ended> {
    // The first attempt begins with the exchange, for all that a deadline can tell.
    let first = progress.attempt == 1;
    let now = if first { job.started } else { clock::now() };
    let (mut origin, probation) = connection(job, endpoint, timer, progress, now).await?;
    let reused = origin.uses() > 0;
    let begun = if reused { now } else { clock::now() };
    let coding = (job.head)(origin.begin(), progress.attempt, probation);
    origin.body_coding(coding);
    let plan = Plan {
        started: job.started,
        begun,
        timeouts: job.timeouts,
        per_try: job.retry.per_try,
        body_gap: job.body_gap,
        body_key: job.body_limit.1,
        head_request: job.head_request,
        upgrade: job.upgrade.is_some(),
        reused,
        probation,
    };
    let ended = attempt::attempt(upload, &mut origin, sending, timer, &plan).await;
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

/// Whether a 101 switches to the protocol that was asked for (RFC 9110 §7.8).
fn accepts(head: &ResponseHead, asked: Option<&[u8]>) -> bool {
    asked.is_some_and(|protocol| head.fields.lists(Known::Upgrade, protocol))
}

/// A connection at rest that suits the request, or a fresh one.
async fn connection(
    job: &Job<'_>,
    endpoint: &Endpoint,
    timer: &mut Timer,
    progress: &Progress,
    now: Instant,
) -> Result<(Box<Origin>, bool), Ended> {
    if !progress.repaired {
        let demand =
            if job.repeatable { Demand::Any } else { Demand::Proven { body: job.has_body } };
        let taken = poll_fn(|cx| {
            let mut connections = job.worker.connections.borrow_mut();
            Poll::Ready(connections.take(cx, endpoint, demand, now))
        })
        .await;
        if let Some(taken) = taken {
            return Ok((taken.origin, taken.probation));
        }
    }
    let end = clock::deadline(job.started, job.timeouts.total);
    let deadline = crate::net::timer::earlier(clock::deadline(now, job.timeouts.connect), end);
    match connect::connect(endpoint, timer, deadline).await {
        Ok(origin) => Ok((origin, false)),
        Err(ConnectError::Refused(error)) => {
            tracing::debug!(server = %endpoint.name, %error, "could not connect");
            Err(Ended::Failed(Failure::Connect))
        }
        Err(ConnectError::Timeout) => Err(Ended::Failed(Failure::ConnectTimeout)),
    }
}

/// A server that has answered.
struct Served<'a> {
    endpoint: &'a Endpoint,
    origin: Box<Origin>,
    sending: Sending,
    /// The request counts as under way until its response has been passed on.
    _slot: Slot<'a>,
}

/// Passes the response on and puts the connection to rest if it may be used again.
async fn deliver<C: Client>(
    job: &Job<'_>,
    mut served: Served<'_>,
    upload: &mut Upload<'_, C>,
    timer: &mut Timer,
) -> Sent {
    let Served { endpoint, origin, sending, .. } = &mut served;
    let status = origin.head().status;
    if status == 101 {
        let head = origin.head();
        let protocol = head.fields.first(Known::Upgrade).unwrap_or_default();
        upload.client.upgrade(&|out| {
            (job.fields)(head, out);
            out.field(b"upgrade", protocol);
        });
        origin.upgrade();
        let delivered = relay::tunnel(upload.client, origin, timer, Some(TUNNEL_IDLE)).await;
        return Sent::Answered(status, delivered);
    }
    let head = origin.head();
    upload.client.begin(&Outgoing {
        status,
        reason: head.reason(),
        fields: &|out| (job.fields)(head, out),
        length: origin.length(job.head_request),
    });
    let limits = Limits {
        gap: job.timeouts.gap,
        write_gap: job.write_gap,
        end: clock::deadline(job.started, job.timeouts.total),
    };
    let delivered = relay::response(upload, origin, sending, timer, limits).await;
    match delivered {
        Delivered::Whole => {
            let limit = job.upstream.requests_per_connection;
            if !sending.active() && origin.reusable() && origin.uses() < limit {
                let idle = job.upstream.idle.div_ceil(job.worker.workers);
                let mut connections = job.worker.connections.borrow_mut();
                connections.put(endpoint, served.origin, idle, clock::now());
            }
        }
        Delivered::Cut => upload.client.cut(),
        Delivered::Gone => {}
    }
    Sent::Answered(status, delivered)
}
