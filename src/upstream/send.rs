//! A request's way through an upstream: choose a server, try it, decide what a failure means, pass
//! the answer on. When nothing of that is possible, the same once more with the fallback.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use super::attempt::{Ended, Sending};
use super::choose::{self, Chosen, Unchosen};
use super::deliver::{self, Served};
use super::mirror::Keeper;
use super::observe::Verdict;
use super::replay::{Replay, Upload};
use super::retry::{Decision, Facts, Failure};
use super::trail::Trail;
use super::{KeySource, Target, observe, trial};
use crate::balance::Key;
use crate::clock::{self, Instant};
use crate::endpoint::Endpoint;
use crate::endpoint::breaker::Permit;
use crate::exchange::outcome::Note;
use crate::exchange::{Client, Deadline, Emit, Outcome, Refusal};
use crate::net::{Coding, Ends, Timer};
use crate::policy::compress::Wanted;
use crate::tls::client::Offer;
use crate::wire::{Fields, ResponseHead, grpc};
use crate::worker::Worker;

/// Servers remembered as tried: the most that one request is sent to.
pub(super) const MAX_TRIED: usize = 32;

/// One request for an upstream. Everything that does not change between attempts.
pub struct Job<'a> {
    /// The worker this runs on.
    pub worker: &'a Worker,
    /// Writes the request's head for an attempt, and says which body it announces.
    pub head: &'a dyn Fn(&mut Vec<u8>, Opening<'_>) -> Coding,
    /// Whether a field that came behind the client's body may be sent on.
    pub trailer: &'a dyn Fn(&[u8]) -> bool,
    /// Writes the fields of a response as the client must see them.
    pub fields: &'a dyn Fn(&ResponseHead, &mut dyn Emit),
    /// What the client accepts, where responses are compressed.
    pub compress: Option<Wanted<'a>>,
    /// What stands in for a server's answer, where something may.
    pub instead: Option<&'a Substitute<'a>>,
    /// The part of the request that a strategy goes by.
    pub key: &'a dyn Fn(&KeySource) -> Option<Key<'a>>,
    /// Is told of every attempt that has ended, when somebody wants to know.
    pub attempted: Option<&'a dyn Fn(&Attempted<'_>)>,
    /// Where the cause of a failure is noted, for the log.
    pub cause: &'a Note,
    /// The fields of the request as they were received.
    pub received: Option<&'a Fields>,
    /// The request's id, for the log.
    pub request_id: &'a str,
    /// Whose the client's connection is, for servers that are told.
    pub ends: Option<&'a Ends>,
    /// The method is `HEAD`.
    pub head_request: bool,
    /// The method is safe: it asks for nothing but an answer.
    pub safe: bool,
    /// Sending it twice does no harm.
    pub repeatable: bool,
    /// The client waits for 100 before it sends the body.
    pub expects_continue: bool,
    /// The protocol the client wants to switch to.
    pub upgrade: Option<&'a [u8]>,
    /// Where the body is kept as it goes by, for a copy of the request.
    pub seen: Option<&'a Keeper>,
    /// The most body bytes, and the key that says so.
    pub body_limit: (u64, &'static str),
    /// Between two parts of the request body.
    pub body_gap: Option<Duration>,
    /// Between two successful writes to the client.
    pub write_gap: Option<Duration>,
    /// What all requests may hold together, in bytes.
    pub memory: usize,
    /// When the exchange began.
    pub started: Instant,
    /// It is a call of gRPC.
    pub grpc: bool,
    /// When the client stops waiting, if it said so.
    pub deadline: Option<Instant>,
}

/// Says what stands in for a server's answer; `None` for nothing.
pub type Substitute<'a> = dyn Fn(&ResponseHead) -> Option<Instead> + 'a;

/// What a client is sent in the stead of a server's answer.
#[derive(Debug)]
pub struct Instead {
    /// Its head; framing fields are not in it.
    pub head: ResponseHead,
    /// Its body.
    pub body: Arc<[u8]>,
}

/// What the head of a request depends on from one attempt to the next.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'o> {
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

impl Job<'_> {
    /// The end of the exchange with `timeout.total`, and what sets it.
    #[must_use]
    pub fn end(&self, total: Option<Duration>) -> (Option<Instant>, Deadline) {
        let total = clock::deadline(self.started, total);
        match (total, self.deadline) {
            (total, Some(told)) if total.is_none_or(|total| told < total) => {
                (Some(told), Deadline::Client)
            }
            (total, _) => (total, Deadline::Total),
        }
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Attempted<'a> {
    /// Counted from 1.
    pub number: u32,
    /// The upstream's name.
    pub upstream: &'a str,
    /// The server.
    pub server: &'a Endpoint,
    /// How it ended.
    pub ended: Failure,
    /// How long it took, connecting included, up to the head of the response.
    pub took: Duration,
}

/// How a request that was forwarded ended.
#[derive(Debug)]
pub enum Sent {
    /// A response with this status was passed on.
    Answered(u16, Outcome),
    /// The proxy has to answer.
    Refused(Refusal),
    /// The client has gone.
    Gone,
}

/// Where the loop over attempts stands.
#[derive(Debug)]
pub struct Progress<'p, 't> {
    tried: [u32; MAX_TRIED],
    tried_count: usize,
    retries: u32,
    /// Counted from 1, over all upstreams.
    pub attempt: u32,
    /// A stale connection was made up for already.
    pub repaired: bool,
    /// The last server provably did not process the request.
    pub unprocessed: bool,
    /// What is to be told about it, whenever the request ends.
    pub trail: &'p mut Trail<'t>,
}

impl<'p, 't> Progress<'p, 't> {
    fn new(trail: &'p mut Trail<'t>) -> Self {
        let tried = [0; MAX_TRIED];
        let (repaired, unprocessed) = (false, false);
        Self { tried, tried_count: 0, retries: 0, attempt: 1, repaired, unprocessed, trail }
    }

    /// Goes on with another upstream.
    fn start_over(&mut self) {
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

    /// Remembers that a server was tried; false if no more can be.
    fn remember(&mut self, id: u32) -> bool {
        let Some(slot) = self.tried.get_mut(self.tried_count) else { return false };
        *slot = id;
        self.tried_count += 1;
        true
    }
}

/// Why an upstream did not answer.
#[derive(Debug)]
enum Unanswered {
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
pub async fn send<'t, C: Client>(
    job: &Job<'_>,
    target: &'t Target,
    client: &mut C,
    timer: &mut Timer,
    trail: &mut Trail<'t>,
) -> Sent {
    let mut target = target;
    let mut progress = Progress::new(trail);
    // A server of HTTP/2 may say of any request that it did not process it.
    let again = job.repeatable || target.upstream.offer != Offer::Http1;
    let remember = if again { target.retry.body_buffer } else { 0 };
    let mut replay = Replay::new(remember, job.memory);
    loop {
        let answered = answer(job, target, &mut progress, &mut replay, client, timer).await;
        return match answered {
            Ok(answered) => answered,
            Err(unanswered) => match fallback(job, target, &unanswered, &replay) {
                Some(next) => {
                    target.upstream.state.fallbacks.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(
                        request_id = job.request_id,
                        upstream = %target.upstream.name,
                        fallback = %next.upstream.name,
                        "the fallback is asked"
                    );
                    target = next;
                    progress.start_over();
                    continue;
                }
                None => unanswered.sent(),
            },
        };
    }
}

/// The upstream that answers instead. One that cannot be used, or did not process the request, may be
/// replaced for any request; one that failed only for requests that ask for nothing but an answer.
fn fallback<'a>(
    job: &Job<'_>,
    target: &'a Target,
    unanswered: &Unanswered,
    replay: &Replay,
) -> Option<&'a Target> {
    let next = target.fallback.as_deref()?;
    let allowed = match unanswered {
        Unanswered::Unusable(_) => replay.complete(),
        Unanswered::Failed(Failure::Rejected) => false,
        Unanswered::Failed(failure) => (job.safe || failure.is_unprocessed()) && replay.complete(),
        Unanswered::Refused(_) | Unanswered::Gone => false,
    };
    allowed.then_some(next)
}

impl Unanswered {
    fn sent(self) -> Sent {
        match self {
            Unanswered::Unusable(refusal) | Unanswered::Refused(refusal) => Sent::Refused(refusal),
            Unanswered::Failed(failure) => {
                Sent::Refused(failure.refusal().unwrap_or(Refusal::Internal))
            }
            Unanswered::Gone => Sent::Gone,
        }
    }
}

/// One upstream's part: attempts until one of its servers answers.
async fn answer<'t, C: Client>(
    job: &Job<'_>,
    target: &'t Target,
    progress: &mut Progress<'_, 't>,
    replay: &mut Replay,
    client: &mut C,
    timer: &mut Timer,
) -> Result<Sent, Unanswered> {
    target.retry.budget.request();
    progress.trail.upstream = Some(&target.upstream);
    let mut chosen = match choose::first(job, target, progress, client, timer).await {
        Ok(chosen) => chosen,
        Err(unchosen) => return Err(unchosen.into()),
    };
    loop {
        progress.trail.member = Some(chosen.member);
        progress.trail.attempts = progress.attempt;
        let mut sending = Sending::default();
        let began = job.attempted.map(|_| clock::now());
        let mut upload = Upload::new(client, replay, job);
        let tried =
            trial::try_once(job, target, &chosen, (&mut upload, &mut sending), timer, progress);
        let tried = tried.await;
        let taken = upload.taken();
        let (failure, origin) = match tried {
            Ok(origin) => (ended(job, origin.head()), Some(origin)),
            Err(Ended::Failed(failure)) => (failure, None),
            Err(Ended::Refused(refusal)) => return Err(Unanswered::Refused(refusal)),
            Err(Ended::Gone) => return Err(Unanswered::Gone),
        };
        if let (Some(attempted), Some(began)) = (job.attempted, began) {
            attempted(&Attempted {
                number: progress.attempt,
                upstream: &target.upstream.name,
                server: &chosen.member.endpoint,
                ended: failure,
                took: clock::now().saturating_duration_since(began),
            });
        }
        let facts = Facts {
            repeatable: job.repeatable,
            replayable: replay.complete(),
            retries: progress.retries,
            repaired: progress.repaired,
            keyed: target.key.is_some(),
        };
        let decision = target.retry.decide(failure, facts);
        let mut carried = note(target, &mut chosen, failure, decision);
        let why = (failure, decision);
        let searching = (&mut *progress, &mut carried);
        let next = next(job, target, why, searching, &chosen, (client, timer)).await;
        log_attempt(job, target, &chosen, failure, (progress, next.is_some()));
        match (next, origin) {
            (None, Some(origin)) => {
                let last_resort = failed(target, failure) && job.safe && replay.complete();
                if last_resort && target.fallback.is_some() {
                    return Err(Unanswered::Failed(failure));
                }
                // What the server has already been sent is not sent once more with the rest of it.
                let upload = Upload::new(client, replay, job);
                let mut upload = upload.at(taken);
                progress.trail.status = Some(origin.head().status);
                let served = Served { target, chosen, origin, sending };
                return Ok(deliver::deliver(job, served, &mut upload, timer).await);
            }
            (None, None) => {
                note_lost(target, &mut chosen, failure, carried);
                return Err(Unanswered::Failed(failure));
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
                if pause(client, timer, next.pause).await.is_err() {
                    return Err(Unanswered::Gone);
                }
            }
        }
    }
}

/// What the head of a response says.
pub(super) fn ended(job: &Job<'_>, head: &ResponseHead) -> Failure {
    match grpc::status(&head.fields).filter(|_| job.grpc && head.status == 200) {
        Some(status) if status != grpc::OK => Failure::Grpc(status),
        _ => Failure::Status(head.status),
    }
}

impl From<Unchosen> for Unanswered {
    fn from(unchosen: Unchosen) -> Self {
        match unchosen {
            Unchosen::Full => Unanswered::Unusable(Refusal::QueueFull),
            Unchosen::Tried => Unanswered::Unusable(Refusal::Internal),
            Unchosen::Refused(refusal) => Unanswered::Unusable(refusal),
            Unchosen::Gone => Unanswered::Gone,
        }
    }
}

/// Whether this is a failure, and not an answer.
fn failed(target: &Target, failure: Failure) -> bool {
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

fn log_attempt(
    job: &Job<'_>,
    target: &Target,
    chosen: &Chosen<'_>,
    failure: Failure,
    (progress, again): (&Progress<'_, '_>, bool),
) {
    tracing::debug!(
        request_id = job.request_id,
        upstream = %target.upstream.name,
        server = %chosen.member.endpoint.name,
        attempt = progress.attempt,
        outcome = ?failure,
        again,
        "attempt ended"
    );
}

/// What follows a failed attempt.
struct Next<'a> {
    /// Another server, or the same one on a fresh connection.
    server: Option<Chosen<'a>>,
    pause: Option<Duration>,
}

/// Notes that a server failed, before another one is looked for. Returns the permit of the upstream's
/// breaker where the next attempt is to use it: one server that is down is no reason to close the others.
fn note<'a>(
    target: &Target,
    chosen: &mut Chosen<'a>,
    failure: Failure,
    decision: Decision,
) -> Option<Permit<'a>> {
    let (upstream, endpoint) = (&target.upstream, &chosen.member.endpoint);
    let shared = upstream.breaker.is_some_and(|breaking| !breaking.per_server);
    let carried = chosen.permit.take_if(|_| shared && decision == Decision::Onward);
    match Verdict::of(failure) {
        // An answer is noted at its end.
        Verdict::Good => {}
        Verdict::Bad => observe::failed(upstream, endpoint, chosen.permit.take()),
        Verdict::Neutral => {
            endpoint.failures.fetch_add(1, Ordering::Relaxed);
        }
    }
    carried
}

/// Notes that a failure is the end of the request: what costs a client its answer has failed, however
/// that happened.
#[cold]
fn note_lost<'a>(
    target: &Target,
    chosen: &mut Chosen<'a>,
    failure: Failure,
    carried: Option<Permit<'a>>,
) {
    let (upstream, endpoint) = (&target.upstream, &chosen.member.endpoint);
    match failure {
        Failure::Stale { .. } | Failure::Unprocessed => {
            observe::failed(upstream, endpoint, carried.or(chosen.permit.take()));
        }
        _ => {
            if let Some(permit) = carried.filter(|_| Verdict::of(failure) == Verdict::Bad) {
                permit.failed(clock::now());
            }
        }
    }
}

/// Finds out whether and where the request is sent again.
async fn next<'a, C: Client>(
    job: &Job<'_>,
    target: &'a Target,
    (failure, decision): (Failure, Decision),
    (progress, carried): (&mut Progress<'_, '_>, &mut Option<Permit<'a>>),
    chosen: &Chosen<'_>,
    (client, timer): (&mut C, &mut Timer),
) -> Option<Next<'a>> {
    let retry = &target.retry;
    let state = &target.upstream.state;
    let free = match decision {
        Decision::GiveUp => return None,
        Decision::Fresh => return Some(Next { server: None, pause: None }),
        Decision::Onward => true,
        Decision::Elsewhere => false,
    };
    progress.unprocessed = free;
    if !progress.remember(chosen.member.endpoint.id) {
        return None;
    }
    let found = match choose::at_once(job, target, progress, carried, clock::now()) {
        // It is as good as a request that has just come.
        Err(Unchosen::Full) if free => {
            choose::in_turn(job, target, progress, carried, (client, timer)).await
        }
        found => found,
    };
    let Ok(server) = found else {
        progress.tried_count = progress.tried_count.saturating_sub(1);
        // There is nobody else: a server that said so may take it on another connection.
        let again = failure == Failure::Unprocessed && !progress.repaired;
        return again.then_some(Next { server: None, pause: None });
    };
    if free {
        state.retries.fetch_add(1, Ordering::Relaxed);
        // It says nothing about load: there is no reason to wait.
        return Some(Next { server: Some(server), pause: None });
    }
    if !retry.budget.take(clock::now()) {
        state.over_budget.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    state.retries.fetch_add(1, Ordering::Relaxed);
    let ceiling = retry.backoff.map(|first| first * (1 << progress.retries.min(8)));
    progress.retries += 1;
    let pause = ceiling.map(|c| c.mul_f64(job.worker.draw(|random| random.unit())));
    Some(Next { server: Some(server), pause })
}

/// Waits; an error when the client leaves meanwhile.
pub(crate) async fn pause<C: Client>(
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
