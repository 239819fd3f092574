//! Finds a server for an attempt: asks the pool, waits in the queue when all are full, and says
//! what is wrong when there is none.

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::affinity::Affinity;
use super::request::{AttemptProgress, ForwardRequest, MAX_TRIED};
use super::{TargetMembers, Upstream};
use crate::balance::{BalanceKey, BalanceRules, Member, PickContext};
use crate::clock::{self, Instant, Random};
use crate::endpoint::breaker::{OpenBreaker, Permit};
use crate::endpoint::{Slot, standing};
use crate::exchange::queue::{Freed, Unserved};
use crate::exchange::{Client, NoServerReason, Refusal};
use crate::net::Timer;

/// Times that a server is looked for again when another worker took its last place, or its breaker
/// is open.
const ROUNDS: usize = 16;

/// A server that expects a request.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// The server.
    pub member: &'a Member,
    /// The client has a cookie that leads here and is good for a while.
    pub bonded: bool,
    /// The permission of the breaker.
    pub permit: Option<Permit<'a>>,
    /// The request counts as under way until its response has been passed on.
    _slot: Slot<'a>,
    /// Dropped after the slot: whoever waits must find it free.
    _freed: Freed<'a>,
}

/// A reason for choosing no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unchosen {
    /// All that could take the request have as many as they may have.
    Full,
    /// The servers that could take it already failed it.
    Tried,
    /// The upstream cannot be used.
    Refused(Refusal),
    /// The client left while the request waited.
    Gone,
}

/// Finds a server for a request's first attempt. None is free for a request that comes while others
/// wait.
///
/// # Errors
/// [`Unchosen`].
#[inline]
pub fn choose_first<'a>(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'a>,
    progress: &mut AttemptProgress<'_, '_>,
) -> Result<Chosen<'a>, Unchosen> {
    if target.upstream.state.queue.depth() == 0 {
        at_once(job, target, progress, &mut None, clock::now())
    } else {
        Err(Unchosen::Full)
    }
}

/// Counts a request whose session leads nowhere. Asked once for each request, not for each look at
/// the servers.
pub fn note_unbound(job: &ForwardRequest<'_>, target: TargetMembers<'_>) {
    let Some(learned) = target.members.sticky.as_ref().and_then(Affinity::as_learned) else {
        return;
    };
    let session = target
        .key
        .as_ref()
        .and_then(|key| job.requester.balance_key(key))
        .and_then(|key| key.as_whole());
    if let Some(session) = session.filter(|session| !session.is_empty()) {
        learned.note_unbound(session);
    }
}

/// A client that waits for something else than its own connection, with the timer that ends the
/// wait.
pub struct WaitingClient<'c, C> {
    /// The client; it may leave meanwhile.
    pub client: &'c mut C,
    /// The timer of its connection.
    pub timer: &'c mut Timer,
}

/// Waits for a server to be free. `carried` is as for [`at_once`].
///
/// # Errors
/// [`Unchosen`], but not [`Unchosen::Full`].
pub async fn in_turn<'a, C: Client>(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'a>,
    progress: &mut AttemptProgress<'_, '_>,
    carried: &mut Option<Permit<'a>>,
    caller: WaitingClient<'_, C>,
) -> Result<Chosen<'a>, Unchosen> {
    let WaitingClient { client, timer } = caller;
    let Upstream { limits, state, .. } = &*target.upstream;
    let queue = &state.queue;
    let waits = clock::now();
    let until = clock::deadline(waits, Some(limits.pending_timeout));
    let end = job.request.end(target.timeouts.total).0;
    let bounds = (limits.pending, crate::net::timer::earlier_of(until, end));
    let served = queue.wait_for_turn(client, timer, bounds, || {
        match at_once(job, target, progress, carried, clock::now()) {
            Err(Unchosen::Full) => None,
            other => Some(other),
        }
    });
    let served = served.await;
    progress.trail.queue += clock::now().saturating_duration_since(waits);
    match served {
        Ok(result) => result,
        Err(Unserved::Full) => Err(Unchosen::Refused(Refusal::QueueFull)),
        Err(Unserved::TimedOut) => Err(Unchosen::Refused(Refusal::QueueTimeout)),
        Err(Unserved::Gone) => Err(Unchosen::Gone),
    }
}

/// Finds a server without waiting. A permit of the upstream's breaker that is `carried` from an
/// attempt which came to nothing is used up instead of another one.
///
/// # Errors
/// [`Unchosen`].
pub fn at_once<'a>(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'a>,
    progress: &AttemptProgress<'_, '_>,
    carried: &mut Option<Permit<'a>>,
    now: Instant,
) -> Result<Chosen<'a>, Unchosen> {
    let upstream = &*target.target.upstream;
    let permit = match &upstream.breaker {
        Some(breaking) if !breaking.per_server && carried.is_none() => {
            let admitted = upstream.state.breaker.admit_request(&breaking.settings, now);
            Some(admitted.map_err(|OpenBreaker| Unchosen::Refused(Refusal::BreakerOpen))?)
        }
        _ => None,
    };
    let key = target.key.as_ref().and_then(|key| job.requester.balance_key(key));
    let mut chosen = job.worker.draw_random(|random| {
        let mut search = ServerSearch { target, key, now, random, rules: upstream.rules };
        search.find_server(progress)
    })?;
    if let Some(permit) = permit.or_else(|| carried.take()) {
        chosen.permit = Some(permit);
    }
    Ok(chosen)
}

/// The search for one server.
struct ServerSearch<'a, 's> {
    target: TargetMembers<'a>,
    key: Option<BalanceKey<'s>>,
    now: Instant,
    random: &'s mut Random,
    rules: BalanceRules,
}

impl<'a> ServerSearch<'a, '_> {
    fn find_server(&mut self, progress: &AttemptProgress<'_, '_>) -> Result<Chosen<'a>, Unchosen> {
        if let Some(chosen) = self.bonded_server(progress) {
            return Ok(chosen);
        }
        // Servers whose breaker is open are left out like those that failed this request.
        let mut passed_over = PassedOver::default();
        for _ in 0..ROUNDS {
            let tried = passed_over.all_ids(progress.tried());
            let Some(member) = self.target.pool.pick_server(&mut self.pick_context(tried)) else {
                if passed_over.has_any() {
                    return Err(Unchosen::Refused(Refusal::BreakerOpen));
                }
                return self.bend_rules(progress);
            };
            match self.take_server(member) {
                Ok(chosen) => {
                    if self.target.upstream.state.failing_open.load(Ordering::Relaxed) {
                        note_recovered(&self.target.upstream);
                    }
                    return Ok(chosen);
                }
                Err(PassedBreaker::Full) => {}
                Err(PassedBreaker::Open) => {
                    passed_over.add_id(member.endpoint.id, progress.tried())
                }
            }
        }
        Err(if passed_over.has_any() {
            Unchosen::Refused(Refusal::BreakerOpen)
        } else {
            Unchosen::Full
        })
    }

    fn pick_context<'t>(&'t mut self, tried: &'t [u32]) -> PickContext<'t> {
        PickContext { tried, key: self.key, now: self.now, random: self.random, rules: self.rules }
    }

    /// The server that the client's cookie leads to, if it can take the request.
    fn bonded_server(&mut self, progress: &AttemptProgress<'_, '_>) -> Option<Chosen<'a>> {
        let sticky = self.target.members.sticky.as_ref()?;
        let bond = sticky.read_bond(self.key?.as_whole()?)?;
        let mut members = self.target.pool.members().iter();
        let member = members.find(|m| m.endpoint.id == bond.id)?;
        // A server that drains keeps the clients it has.
        let rules = BalanceRules { reasons: !standing::DRAINING, ..self.rules };
        if !(PickContext { rules, ..self.pick_context(progress.tried()) }).accepts(member) {
            return None;
        }
        let chosen = self.take_server(member).ok()?;
        Some(Chosen { bonded: bond.fresh, ..chosen })
    }

    /// No server can be chosen by the rules: perhaps they may be bent.
    #[cold]
    fn bend_rules(&mut self, progress: &AttemptProgress<'_, '_>) -> Result<Chosen<'a>, Unchosen> {
        let (upstream, fallback) = (&self.target.target.upstream, &self.target.target.fallback);
        let pool = self.target.pool;
        let keyed = self.target.key.is_some();
        let mut miss = pool.explain_miss(&self.pick_context(progress.tried()), keyed);
        if miss == NoServerReason::Bound {
            // The key's server may have been full, and not be so any more.
            if let Some(member) = pool.pick_server(&mut self.pick_context(progress.tried())) {
                return self.take_server(member).map_err(|passed| match passed {
                    PassedBreaker::Full => Unchosen::Full,
                    PassedBreaker::Open => Unchosen::Refused(Refusal::BreakerOpen),
                });
            }
        }
        let unhealthy = matches!(miss, NoServerReason::Unhealthy | NoServerReason::Ejected);
        // All that are thought to be well did not even take the request: it can only gain.
        let nothing_to_lose = miss == NoServerReason::Tried && progress.unprocessed;
        // Who has a fallback would rather use that than servers that are probably broken.
        if (unhealthy || nothing_to_lose) && upstream.fail_open && fallback.is_none() {
            self.rules.reasons = !standing::OPINIONS;
            let picked = pool.pick_server(&mut self.pick_context(progress.tried()));
            if let Some(Ok(chosen)) = picked.map(|member| self.take_server(member)) {
                if unhealthy {
                    failing_open(upstream);
                }
                return Ok(chosen);
            }
            miss = pool.explain_miss(&self.pick_context(progress.tried()), keyed);
        }
        Err(match miss {
            NoServerReason::Full => Unchosen::Full,
            NoServerReason::Tried => Unchosen::Tried,
            NoServerReason::Nobody
            | NoServerReason::Bound
            | NoServerReason::Unhealthy
            | NoServerReason::Unresolved
            | NoServerReason::Ejected
            | NoServerReason::Draining => Unchosen::Refused(Refusal::NoServer(miss)),
        })
    }

    fn take_server(&self, member: &'a Member) -> Result<Chosen<'a>, PassedBreaker> {
        let upstream = &*self.target.target.upstream;
        let permit = match &upstream.breaker {
            Some(breaking) if breaking.per_server => {
                let admitted = member.endpoint.breaker.admit_request(&breaking.settings, self.now);
                Some(admitted.map_err(|OpenBreaker| PassedBreaker::Open)?)
            }
            _ => None,
        };
        if self.rules.cap == u32::MAX {
            let slot = member.endpoint.begin_request();
            return Ok(Chosen { member, bonded: false, permit, _slot: slot, _freed: Freed(None) });
        }
        let slot = member.endpoint.try_begin(self.rules.cap).ok_or(PassedBreaker::Full)?;
        let freed = Freed(Some(&upstream.state.queue));
        Ok(Chosen { member, bonded: false, permit, _slot: slot, _freed: freed })
    }
}

/// A reason not to use a server that was picked.
enum PassedBreaker {
    /// Another worker took the last place.
    Full,
    /// The server's breaker is open.
    Open,
}

/// The servers that one search leaves out, once there is one that had not been tried before.
#[derive(Default)]
struct PassedOver(SmallVec<[u32; 64]>);

/// No search allocates.
const _: () = assert!(MAX_TRIED + ROUNDS <= 64);

impl PassedOver {
    fn has_any(&self) -> bool {
        !self.0.is_empty()
    }

    #[cold]
    fn add_id(&mut self, id: u32, tried: &[u32]) {
        if !self.has_any() {
            self.0.extend_from_slice(tried);
        }
        self.0.push(id);
    }

    /// All ids to leave out.
    fn all_ids<'t>(&'t self, tried: &'t [u32]) -> &'t [u32] {
        if self.has_any() { &self.0 } else { tried }
    }
}

fn failing_open(upstream: &Upstream) {
    upstream.state.failed_open.fetch_add(1, Ordering::Relaxed);
    if !upstream.state.failing_open.swap(true, Ordering::Relaxed) {
        tracing::error!(
            upstream = %upstream.name,
            key = "upstream.fail_open",
            "no server is healthy: requests go to all of them"
        );
    }
}

#[cold]
fn note_recovered(upstream: &Upstream) {
    if upstream.state.failing_open.swap(false, Ordering::Relaxed) {
        tracing::info!(upstream = %upstream.name, "a server is healthy again");
    }
}
