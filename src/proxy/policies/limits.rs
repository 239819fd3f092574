//! Counts a request on the limits of its route, by keys made of its parts.

use std::sync::atomic::Ordering;

use crate::exchange::Refusal;
use crate::exchange::identity::client_network;
use crate::policy::Policies;
use crate::policy::effects::PolicyEffects;
use crate::policy::jwt::Verified;
use crate::policy::limit::{KeyPart, Limit, LimitPass, LimitWait};
use crate::policy::shared::{OnError, Unanswered};
use crate::policy::table::HashedKey;
use crate::proxy::MatchedRoute;
use crate::route::condition::cookies;
use crate::wire::Known;

/// A part of the limits of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitPhase {
    /// The limits that count before anybody asks who the client is.
    BeforeAuth,
    /// All others.
    AfterAuth,
}

/// Counts the request on all of these limits of the route, or on none of them. Returns how long it
/// has to wait.
pub(super) async fn count_on_limits<'a>(
    matched: &MatchedRoute<'a, '_>,
    policies: &'a Policies,
    counted: LimitPhase,
    effects: &mut PolicyEffects<'a>,
) -> Result<std::time::Duration, Refusal> {
    let mut wait = std::time::Duration::ZERO;
    let limits = &policies.limits;
    if limits.is_empty() {
        return Ok(wait);
    }
    let these = |limit: &&Limit| limit.before_auth == (counted == LimitPhase::BeforeAuth);
    let (verified, member) = (effects.verified.clone(), effects.member.clone());
    let who = RequestClaims { matched, verified: verified.as_deref(), member: member.as_deref() };
    for (at, limit) in limits.iter().enumerate().filter(|(_, limit)| these(limit)) {
        if limit.exempts_client(matched.identity.client) {
            limit.state.exempt.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let Some(checked) = check_limit(who, limit).await? else { continue };
        match checked {
            Ok(LimitPass { remaining, wait: own, reset }) => {
                wait = wait.max(own);
                effects.report.add_limit(limit, remaining, reset);
            }
            Err(LimitWait(own)) => {
                effects.report.add_limit(limit, 0, own);
                give_back(who, limits.iter().take(at).filter(these));
                let seconds = own.as_millis().div_ceil(1000).max(1).to_string();
                effects.made.push((b"retry-after", seconds.into_bytes().into()));
                return Err(Refusal::RateLimited);
            }
        }
    }
    Ok(wait)
}

/// Counts the request on one limit; `None` when it has no key.
async fn check_limit(
    who: RequestClaims<'_, '_, '_>,
    limit: &Limit,
) -> Result<Option<Result<LimitPass, LimitWait>>, Refusal> {
    if let Some(redis) = &limit.redis {
        let Some(parts) = key_values(who, &limit.key) else { return Ok(None) };
        let connections = &who.matched.ex.worker.redis;
        let named = (&*limit.name, limit.state.pace);
        let parts = parts.iter().map(|part| &**part);
        // Boxed, so that requests that are counted here do not hold the memory of those.
        let checked = Box::pin(redis.check_limit(connections, named, parts, limit.delay)).await;
        match (checked, redis.on_error) {
            (Ok(Err(wait)), _) => {
                limit.state.refused.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(Err(wait)));
            }
            (Ok(passed), _) => return Ok(Some(passed)),
            (Err(Unanswered), OnError::Allow) => return Ok(None),
            (Err(Unanswered), OnError::Deny) => return Err(Refusal::LimitUnavailable),
            (Err(Unanswered), OnError::Local) => {}
        }
    }
    let key = hash_key(who, &limit.key, |parts| limit.state.hash(parts));
    Ok(key.map(|key| limit.state.check_request(key, limit.delay, who.matched.ex.started)))
}

/// The parts of a key, for as long as somebody far away thinks about them.
fn key_values(who: RequestClaims<'_, '_, '_>, parts: &[KeyPart]) -> Option<Vec<Box<[u8]>>> {
    let client = who.matched.identity.client.map(client_network);
    let all = || parts.iter().map(|p| key_part(who, client.as_ref(), p));
    let counted = parts.len() > 1 || all().all(|part| part.is_some());
    counted.then(|| all().map(|part| part.unwrap_or_default().into()).collect())
}

/// A request, what its token says, and whose it is where another way than a token let it in.
#[derive(Clone, Copy)]
pub(super) struct RequestClaims<'w, 'a, 'i> {
    pub(super) matched: &'w MatchedRoute<'a, 'i>,
    pub(super) verified: Option<&'w Verified>,
    pub(super) member: Option<&'w [u8]>,
}

fn give_back<'l>(who: RequestClaims<'_, '_, '_>, limits: impl Iterator<Item = &'l Limit>) {
    // What Redis has counted stays counted: another round trip would cost more than it is worth.
    let client = who.matched.identity.client;
    for limit in limits.filter(|limit| limit.redis.is_none() && !limit.exempts_client(client)) {
        if let Some(key) = hash_key(who, &limit.key, |parts| limit.state.hash(parts)) {
            limit.state.give_back(key, who.matched.ex.started);
        }
    }
}

/// The hash of what a policy counts by; `None` when the request lacks the only part of it, which as
/// in nginx means that it is not counted. A part that is missing beside others is an empty one:
/// leaving it out gets nobody around a limit.
pub(super) fn hash_key(
    who: RequestClaims<'_, '_, '_>,
    parts: &[KeyPart],
    hash: impl FnOnce(&mut dyn Iterator<Item = &[u8]>) -> HashedKey,
) -> Option<HashedKey> {
    let client = who.matched.identity.client.map(client_network);
    let all = || parts.iter().map(|p| key_part(who, client.as_ref(), p));
    if parts.len() == 1 && all().any(|part| part.is_none()) {
        return None;
    }
    Some(hash(&mut all().map(Option::unwrap_or_default)))
}

/// One part of a key.
fn key_part<'w>(
    who: RequestClaims<'w, '_, '_>,
    client: Option<&'w [u8; 8]>,
    part: &KeyPart,
) -> Option<&'w [u8]> {
    let RequestClaims { matched, verified, member } = who;
    let fields = &matched.ex.head.fields;
    match part {
        // Those of whom nobody knows an address are one client.
        KeyPart::ClientIp => Some(client.map_or(&[], |client| &client[..])),
        KeyPart::Route => Some(matched.route.name.as_bytes()),
        KeyPart::Header(name) => matched.seen_header(name, verified),
        KeyPart::Cookie(name) => {
            let mut all = fields.values(Known::Cookie).flat_map(cookies);
            all.find(|(n, _)| **n == **name).map(|(_, value)| value)
        }
        // Whoever comes in without a token is counted, too: by who it is there.
        KeyPart::Claim(name) => member.or_else(|| {
            let mut all = verified?.claims.iter();
            all.find(|(claim, _)| claim == name).map(|(_, value)| value.as_bytes())
        }),
    }
}
