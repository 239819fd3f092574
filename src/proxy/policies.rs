//! A route's policies, asked one after the other before its action.
//!
//! The order: cross-origin preflights are answered; during maintenance nobody else is served but those who are
//! excepted; limits that count `before` authentication;
//! who is not known is refused; then the other rate limits, so that only clients that may use the route use theirs up; then concurrency, which holds a place until the
//! response has been passed on; then faults, which stand for a server that fails.

use std::sync::atomic::Ordering;

use super::{MatchedRoute, WalkEnd, answer, entry};
use crate::exchange::identity::client_network;
use crate::exchange::{Client, Outcome, Refusal, pause_for};
use crate::net::Timer;
use crate::policy::Policies;
use crate::policy::concurrency::KeptOut;
use crate::policy::cors::Cors;
use crate::policy::effects::PolicyEffects;
use crate::policy::forward_auth::JudgePage;
use crate::policy::jwt::Verified;
use crate::policy::limit::{KeyPart, Limit, LimitPass, LimitReport, LimitWait};
use crate::policy::shared::{OnError, Unanswered};
use crate::policy::table::HashedKey;
use crate::route::condition::cookies;
use crate::wire::Known;
use crate::wire::head::Fields;

/// The verdict of the policies about a request.
pub(super) enum PolicyVerdict {
    /// The action follows.
    Pass,
    /// The answer with this status.
    Answer(u16),
    /// The answer of a server that was asked.
    Page(Box<JudgePage>),
    /// The client has gone.
    Gone,
}

/// Asks the policies of a route, and answers where one of them says so; `None` when the action follows.
pub(super) async fn pass_policies<'a, C: Client>(
    matched: &MatchedRoute<'a, '_>,
    policies: &'a Policies,
    effects: &mut PolicyEffects<'a>,
    client: &mut C,
    timer: &mut Timer,
) -> Result<Option<WalkEnd>, Refusal> {
    let verdict = run_policies(matched, policies, effects, client, timer).await;
    matched.fill_response(effects);
    let end = match verdict? {
        PolicyVerdict::Pass => return Ok(None),
        PolicyVerdict::Answer(status) => WalkEnd::from_outcome(
            respond_with(matched, status, effects, client, timer).await,
            status,
        ),
        PolicyVerdict::Page(page) => {
            let outcome = show_page(matched, &page, effects, client, timer).await;
            WalkEnd::from_outcome(outcome, page.status)
        }
        PolicyVerdict::Gone => {
            client.cut_response();
            WalkEnd::client_gone()
        }
    };
    Ok(Some(end))
}

/// The origin of a cross-origin preflight and the method that it asks for.
pub(super) fn read_preflight<'h>(
    method: &[u8],
    fields: &'h Fields,
) -> Option<(&'h [u8], &'h [u8])> {
    if method != b"OPTIONS" {
        return None;
    }
    let origin = fields.named(b"origin").next()?;
    Some((origin, fields.named(b"access-control-request-method").next()?))
}

/// Asks all of them, and tells the client what is left of its limits.
async fn run_policies<'a, C: Client>(
    matched: &MatchedRoute<'a, '_>,
    policies: &'a Policies,
    effects: &mut PolicyEffects<'a>,
    client: &mut C,
    timer: &mut Timer,
) -> Result<PolicyVerdict, Refusal> {
    let verdict = ask_each(matched, policies, effects, client, timer).await;
    let LimitReport(report) = std::mem::take(&mut effects.report);
    if !report.is_empty() {
        effects.made.push((b"ratelimit", report));
        effects.fields.push((b"ratelimit-policy", &policies.limit_policies));
    }
    verdict
}

/// Asks one after the other.
async fn ask_each<'a, C: Client>(
    matched: &MatchedRoute<'a, '_>,
    policies: &'a Policies,
    effects: &mut PolicyEffects<'a>,
    client: &mut C,
    timer: &mut Timer,
) -> Result<PolicyVerdict, Refusal> {
    if let Some(cors) = &policies.cors
        && cross_origin(cors, matched, effects)
    {
        return Ok(PolicyVerdict::Answer(204));
    }
    if let Some(maintenance) = &policies.maintenance
        && !maintenance.excepts_client(matched.identity.client)
    {
        effects.made.push((b"retry-after", maintenance.retry_after.as_bytes().into()));
        return Err(Refusal::Maintenance);
    }
    let early = count_on_limits(matched, policies, LimitPhase::BeforeAuth, effects).await?;
    if !policies.ways.is_empty() {
        match entry::admit_client(matched, policies, effects, client).await? {
            PolicyVerdict::Pass => {}
            other => return Ok(other),
        }
    }
    let wait = count_on_limits(matched, policies, LimitPhase::AfterAuth, effects).await?.max(early);
    if let Some(concurrency) = &policies.concurrency
        && let Some(key) = hash_key(
            RequestClaims {
                matched,
                verified: effects.verified.as_deref(),
                member: effects.member.as_deref(),
            },
            &concurrency.key,
            |parts| concurrency.state.hash(parts),
        )
    {
        match concurrency.admit_request(key, client, timer).await {
            Ok(place) => effects.place = Some(place),
            Err(KeptOut::Out) => return Err(Refusal::ConcurrencyLimited),
            Err(KeptOut::Gone) => return Ok(PolicyVerdict::Gone),
        }
    }
    if !wait.is_zero() && pause_for(client, timer, Some(wait)).await.is_err() {
        return Ok(PolicyVerdict::Gone);
    }
    if let Some(fault) = &policies.fault
        && fault.happens_to(matched.id.as_str())
    {
        if pause_for(client, timer, fault.delay).await.is_err() {
            return Ok(PolicyVerdict::Gone);
        }
        if let Some(status) = fault.abort {
            return Ok(PolicyVerdict::Answer(status));
        }
    }
    Ok(PolicyVerdict::Pass)
}

/// Adds what pages of other origins need. `true` for a preflight, which is then complete.
fn cross_origin<'a>(
    cors: &'a Cors,
    matched: &MatchedRoute<'a, '_>,
    effects: &mut PolicyEffects<'a>,
) -> bool {
    let head = matched.ex.head;
    cors.answer_fields(head.fields.named(b"origin").next(), &mut effects.fields);
    let Some((origin, _)) = read_preflight(head.method(), &head.fields) else { return false };
    cors.preflight_fields(origin, &mut effects.fields);
    true
}

/// A part of the limits of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimitPhase {
    /// The limits that count before anybody asks who the client is.
    BeforeAuth,
    /// All others.
    AfterAuth,
}

/// Counts the request on all of these limits of the route, or on none of them. Returns how long it has to wait.
async fn count_on_limits<'a>(
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
        match (redis.check_limit(connections, named, parts, limit.delay).await, redis.on_error) {
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
struct RequestClaims<'w, 'a, 'i> {
    matched: &'w MatchedRoute<'a, 'i>,
    verified: Option<&'w Verified>,
    member: Option<&'w [u8]>,
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

/// The hash of what a policy counts by; `None` when the request lacks the only part of it, which as in nginx means that
/// it is not counted. A part that is missing beside others is an empty one: leaving it out gets nobody around a limit.
fn hash_key(
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

/// The answer of an authentication server, as it wrote it.
async fn show_page<C: Client>(
    matched: &MatchedRoute<'_, '_>,
    page: &JudgePage,
    effects: &PolicyEffects<'_>,
    client: &mut C,
    timer: &mut Timer,
) -> Outcome {
    let JudgePage { status, fields, body } = page;
    let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
    let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (&**n, &**v)).collect();
    let answer = answer::OwnAnswer {
        status: *status,
        fields: &fields,
        body,
        head_request: matched.ex.head.method() == b"HEAD",
        edits: Some(&matched.route.response_edits),
        added: &added,
        refusal: false,
    };
    answer::send_answer(client, timer, &answer, matched.ex.listener.write_gap).await
}

/// The answer that a policy gives, with all that was effects.
async fn respond_with<C: Client>(
    matched: &MatchedRoute<'_, '_>,
    status: u16,
    effects: &PolicyEffects<'_>,
    client: &mut C,
    timer: &mut Timer,
) -> Outcome {
    let added: Vec<(&[u8], &[u8])> = effects.response_fields().collect();
    if matched.admitted.grpc && status >= 300 {
        let edits = Some(&matched.route.response_edits);
        // Where a client is sent to get in is not known here.
        let status = if status < 400 { 401 } else { status };
        let message = format!("the proxy answers {status} ({})", matched.id.as_str());
        let gap = matched.ex.listener.write_gap;
        return answer::end_call(client, timer, (status, &message), (edits, &added), gap).await;
    }
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    let page = matched.wanted_page(status);
    if page.is_some() {
        fields.push((b"content-type", answer::HTML));
        fields.extend(answer::NEGOTIATED);
    }
    let answer = answer::OwnAnswer {
        status,
        fields: &fields,
        body: page.map_or(&[], |page| page),
        head_request: matched.ex.head.method() == b"HEAD",
        edits: Some(&matched.route.response_edits),
        added: &added,
        refusal: status >= 400,
    };
    answer::send_answer(client, timer, &answer, matched.ex.listener.write_gap).await
}
