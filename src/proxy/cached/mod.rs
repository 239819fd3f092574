//! A route's cache: asked before the action, filled by fetches that survive whoever caused them.
//!
//! What is decided is here, by the key that `keys` makes; what servers are asked is in `fetch`, how
//! somebody else's fetch is waited for in `join`, what clients get in `serve`, and what unsafe
//! requests make invalid in `invalidate`.

mod fetch;
mod invalidate;
mod join;
mod keys;
mod serve;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use self::fetch::{Attempts, Started};
use super::{MatchedRoute, WalkEnd, keyed};
use crate::cache::directives::RequestDirectives;
use crate::cache::fill::Answer;
use crate::cache::key::{KeyRef, StoreKey};
use crate::cache::lead::FlightLead;
use crate::cache::object::Object;
use crate::cache::policy::{CacheQuery, Usability};
use crate::cache::route::{CacheResult, RouteCache};
use crate::cache::status::{CacheStatus, Forwarded};
use crate::cache::store::CacheFound;
use crate::clock;
use crate::endpoint::Endpoint;
use crate::exchange::{Client, Refusal};
use crate::net::Timer;
use crate::policy::effects::PolicyEffects;
use crate::snapshot::route::Split;
use crate::upstream::Upstream;
use crate::wire::Known;

/// Fetches that a worker has under way; further requests are passed on without the cache.
const MOST_FETCHES: u32 = 4096;

/// The verdict of a cache about a request.
pub(super) enum CacheStep {
    /// The client has its answer, or has gone.
    Answered(WalkEnd),
    /// The action follows; this is what `Cache-Status` says of it.
    Forward(CacheStatus),
}

/// The source of the answer to a request.
struct Serving<'s, 'g> {
    status: CacheStatus,
    result: CacheResult,
    /// It comes out of the store, and no server was asked.
    unasked: bool,
    /// It was fetched for this client: who else gets it does without the fields that it withholds
    /// from a cache (RFC 9111 §5.2.2.4, §5.2.2.7).
    is_own: bool,
    effects: &'s PolicyEffects<'g>,
}

impl<'s, 'g> Serving<'s, 'g> {
    /// What was fetched for somebody else, or for an earlier request.
    fn of_others(
        status: CacheStatus,
        result: CacheResult,
        unasked: bool,
        effects: &'s PolicyEffects<'g>,
    ) -> Self {
        Self { status, result, unasked, is_own: false, effects }
    }
}

impl<'a> MatchedRoute<'a, '_> {
    /// Answers from the cache, or says that the action has to.
    pub(super) async fn answer_from_cache<C: Client>(
        &self,
        on: CacheScope<'_, 'a, '_>,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<CacheStep, Refusal> {
        match self.decide_step(on) {
            CacheDecision::Serve(object, status, result) => {
                let serving = Serving::of_others(status, result, true, on.effects);
                let end = self.serve_object(on, object, serving, client, timer).await;
                Ok(CacheStep::Answered(end))
            }
            CacheDecision::Forward(why) => {
                on.note_result(CacheResult::Bypass);
                Ok(CacheStep::Forward(CacheStatus::asked(why)))
            }
            CacheDecision::Refuse(refusal) => {
                on.note_result(CacheResult::Miss);
                Err(refusal)
            }
            CacheDecision::Fetch(wanted) => {
                let now = clock::unix_millis();
                let (store, place) = (&on.cache.store, wanted.fetch_place());
                match FlightLead::begin_fetch(store, &wanted.key, place, now) {
                    Ok(lead) => self.lead_fetch(on, wanted, lead, client, timer).await,
                    Err(other) => self.join_fetch(on, wanted, other, client, timer).await,
                }
            }
        }
    }

    /// Decides what is to be done, by what is stored now.
    fn decide_step(&self, on: CacheScope<'_, 'a, '_>) -> CacheDecision {
        if let Some(why) = keyed::bypass_reason(self.ex.head, self.admitted) {
            return CacheDecision::Forward(why);
        }
        if self.is_ambiguous(on.cache) {
            return CacheDecision::Forward(Forwarded::Bypass("repeated"));
        }
        let mut buffer = self.ex.worker.cache_key.take();
        let exact = self.write_key(&mut buffer, on.cache, on.effects);
        let fields = &self.ex.head.fields;
        let found = on.cache.store.find_stored(exact, fields);
        let mut other = Vec::new();
        let decision = match found.object {
            Some(_) => self.decide_by(on, (exact, exact), found),
            None => match on.cache.store.find_equivalent(exact, fields, &mut other) {
                Some((key, equivalent)) => self.decide_by(on, (key, exact), equivalent),
                None => self.decide_by(on, (exact, exact), found),
            },
        };
        self.ex.worker.cache_key.replace(buffer);
        decision
    }

    /// Decides what is to be done by what was found under a key, which is the request's own or one
    /// that a stored response says to be equivalent.
    fn decide_by(
        &self,
        on: CacheScope<'_, 'a, '_>,
        (key, exact): (KeyRef<'_>, KeyRef<'_>),
        found: CacheFound,
    ) -> CacheDecision {
        let cache = on.cache;
        let fields = &self.ex.head.fields;
        let authenticated = (cache.authenticates || fields.has(Known::Authorization))
            && !self.is_told_apart(cache, on.effects);
        let asked = CacheQuery { directives: RequestDirectives::read(fields), authenticated };
        let now = clock::unix_millis();
        let usability =
            found.object.as_ref().map(|object| object.timing().usability_for(&asked, now));
        // Purges may have been missed; in a moment they are known.
        let doubtful = cache.tier.as_ref().is_some_and(|tier| tier.tier.is_catching_up());
        let usability = usability.map(|usability| match usability {
            Usability::Fresh | Usability::StaleAccepted | Usability::StaleWhileRevalidate
                if doubtful =>
            {
                Usability::Validate { on_error: true }
            }
            other => other,
        });
        let (why, stale, on_error) = match (found.object, usability) {
            (Some(object), Some(Usability::Fresh)) => {
                return CacheDecision::Serve(object, CacheStatus::Hit(""), CacheResult::Hit);
            }
            (Some(object), Some(Usability::StaleAccepted)) => {
                return CacheDecision::Serve(object, CacheStatus::Hit("stale"), CacheResult::Stale);
            }
            (Some(object), Some(Usability::StaleWhileRevalidate)) => {
                // What a HEAD would bring cannot be stored.
                if self.ex.head.method() == b"GET" {
                    let stale = StaleServed { key, exact, object: &object, asked };
                    self.revalidate_behind(on, stale);
                }
                let status = CacheStatus::Hit("stale-while-revalidate");
                return CacheDecision::Serve(object, status, CacheResult::Stale);
            }
            (Some(object), Some(Usability::Validate { on_error })) => {
                let fresh = object.timing().fresh_for(now) > 0;
                let why = if fresh { Forwarded::Request } else { Forwarded::Stale };
                (why, Some(object), on_error)
            }
            (Some(_), Some(Usability::Forbidden) | None) => {
                (Forwarded::Bypass("authorization"), None, false)
            }
            (None, _) if cache.store.has_key(key) => (Forwarded::VaryMiss, None, false),
            (None, _) => (Forwarded::UriMiss, None, false),
        };
        if asked.directives.only_if_cached {
            return CacheDecision::Refuse(Refusal::NotCached);
        }
        // What a HEAD or a part would bring cannot be stored.
        if self.ex.head.method() == b"HEAD" {
            return CacheDecision::Forward(why);
        }
        if fields.named(b"range").next().is_some() {
            return CacheDecision::Forward(Forwarded::Bypass("range"));
        }
        if self.ex.worker.fetches.get() >= MOST_FETCHES {
            return CacheDecision::Forward(Forwarded::Bypass("busy"));
        }
        let (key, exact) = (Arc::new(key.to_key()), Arc::new(exact.to_key()));
        let variant = found.variant;
        CacheDecision::Fetch(WantedFetch { key, exact, variant, asked, stale, on_error, why })
    }

    /// Fetches, for itself and for whoever joins.
    async fn lead_fetch<C: Client>(
        &self,
        on: CacheScope<'_, 'a, '_>,
        wanted: WantedFetch,
        lead: FlightLead,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<CacheStep, Refusal> {
        let why = wanted.why;
        let had_stale = wanted.stale.is_some();
        let result = if had_stale { CacheResult::Expired } else { CacheResult::Miss };
        let Some(started) = self.start_fetch(on, (wanted, lead)) else {
            on.note_result(result);
            return Err(Refusal::NoServer(crate::exchange::NoServerReason::Nobody));
        };
        let Started { mut answer, mut interims, attempts } = started;
        let mut unsent = false;
        let answer = loop {
            tokio::select! {
                biased;
                Some(head) = interims.recv() => {
                    client.send_interim(&head);
                    unsent = true;
                }
                answer = &mut answer => break answer.unwrap_or(Answer::Refused(Refusal::Internal)),
                () = poll_fn(|cx| poll_left(cx, client, &mut unsent)) => {
                    on.note_result(result);
                    client.cut_response();
                    return Ok(CacheStep::Answered(WalkEnd::client_gone()));
                }
            }
        };
        on.told.asked.replace(attempts.get().and_then(|attempts| asked_server(on.split, attempts)));
        self.serve_answer(on, FetchedAnswer { answer, why, result }, client, timer).await
    }

    /// Sends what a fetch came to.
    async fn serve_answer<C: Client>(
        &self,
        on: CacheScope<'_, 'a, '_>,
        fetched: FetchedAnswer,
        client: &mut C,
        timer: &mut Timer,
    ) -> Result<CacheStep, Refusal> {
        let FetchedAnswer { answer, why, result } = fetched;
        let effects = on.effects;
        let asked = |status, stored| CacheStatus::Asked {
            why,
            status,
            stored,
            collapsed: false,
            unstorable: None,
        };
        let serving = |status, result| Serving::of_others(status, result, false, effects);
        let (object, serving) = match answer {
            Answer::Stored(object) => {
                (object, Serving { is_own: true, ..serving(asked(None, true), result) })
            }
            Answer::Confirmed(object) => {
                (object, serving(asked(Some(304), false), CacheResult::Revalidated))
            }
            Answer::Restored(object) => {
                let (status, result) = (CacheStatus::Hit("redis"), CacheResult::Hit);
                (object, Serving::of_others(status, result, true, effects))
            }
            Answer::Stale(object, status) => {
                (object, serving(asked(status, false), CacheResult::Stale))
            }
            Answer::Refused(refusal) => {
                on.note_result(result);
                return Err(refusal);
            }
            Answer::Own(own, unstorable) => {
                let status = CacheStatus::Asked {
                    why,
                    status: None,
                    stored: false,
                    collapsed: false,
                    unstorable: Some(unstorable),
                };
                let serving = serving(status, result);
                let end = self.serve_own(on, own, serving, client, timer).await;
                return Ok(CacheStep::Answered(end));
            }
        };
        Ok(CacheStep::Answered(self.serve_object(on, object, serving, client, timer).await))
    }
}

/// The cache a request belongs to, who is asked when it has no answer, and what policies effects.
#[derive(Clone, Copy)]
pub(super) struct CacheScope<'l, 'a, 'g> {
    pub(super) cache: &'a RouteCache,
    pub(super) split: &'a Split,
    pub(super) effects: &'l PolicyEffects<'g>,
    pub(super) told: &'l CacheNote<'a>,
}

impl CacheScope<'_, '_, '_> {
    /// Counts what became of the request, for metrics and its line of the log.
    fn note_result(&self, result: CacheResult) {
        self.cache.counts.count_result(result);
        self.told.result.set(Some(result));
    }
}

/// What is written down about a request that a cache had to do with.
#[derive(Debug, Default)]
pub(super) struct CacheNote<'a> {
    /// What became of it.
    pub(super) result: Cell<Option<CacheResult>>,
    /// The upstream and the server that its fetch asked last, and how many attempts that took.
    pub(super) asked: RefCell<Option<(&'a Upstream, Arc<Endpoint>, u32)>>,
}

/// The server with this id, wherever a split may have sent a request.
fn asked_server(
    split: &Split,
    Attempts { server, number }: Attempts,
) -> Option<(&Upstream, Arc<Endpoint>, u32)> {
    let first = split.targets.iter().map(|(_, target)| target);
    let mut all = first.flat_map(|target| {
        std::iter::successors(Some(target), |target| target.fallback.as_deref())
    });
    all.find_map(|target| {
        let members = target.upstream.members();
        let member = members.members().iter().find(|member| member.endpoint.id == server)?;
        Some((&*target.upstream, member.endpoint.clone(), number))
    })
}

/// The next step of a request.
enum CacheDecision {
    /// Answered with this.
    Serve(Arc<Object>, CacheStatus, CacheResult),
    /// Passed on without the cache.
    Forward(Forwarded),
    /// Refused.
    Refuse(Refusal),
    /// Fetched.
    Fetch(WantedFetch),
}

/// The purpose of a fetch.
struct WantedFetch {
    /// The key that the fetch is known by.
    key: Arc<StoreKey>,
    /// The request's own.
    exact: Arc<StoreKey>,
    variant: u64,
    asked: CacheQuery,
    stale: Option<Arc<Object>>,
    on_error: bool,
    /// The reason for which a server is asked.
    why: Forwarded,
}

/// A stored response that is served although it is stale, and what was asked of it.
struct StaleServed<'s> {
    /// The key that it was found by.
    key: KeyRef<'s>,
    /// The request's own.
    exact: KeyRef<'s>,
    object: &'s Arc<Object>,
    asked: CacheQuery,
}

/// The answer of a fetch, for the request that caused it.
struct FetchedAnswer {
    answer: Answer,
    /// The reason for which a server was asked.
    why: Forwarded,
    /// The result that is counted, unless the answer says more.
    result: CacheResult,
}

impl WantedFetch {
    /// The place among the fetches under way: nobody who is known waits for what an unknown client
    /// asked for, nor the other way round.
    fn fetch_place(&self) -> u64 {
        if self.asked.authenticated { !self.variant } else { self.variant }
    }
}

/// Ready when a client has gone; sends what it has been told so far.
fn poll_left<C: Client>(cx: &mut Context<'_>, client: &mut C, unsent: &mut bool) -> Poll<()> {
    if *unsent {
        match client.poll_flush(cx) {
            Poll::Ready(Ok(())) => *unsent = false,
            Poll::Ready(Err(_)) => return Poll::Ready(()),
            Poll::Pending => {}
        }
    }
    client.poll_gone(cx)
}
