//! A route's policies, asked one after the other before its action.
//!
//! The order: cross-origin preflights are answered; during maintenance nobody else is served but
//! those who are excepted; limits that count `before` authentication; who is not known is refused;
//! then the other rate limits, so that only clients that may use the route use theirs up; then
//! concurrency, which holds a place until the response has been passed on; then faults, which stand
//! for a server that fails.

mod answers;
mod limits;

use self::answers::{respond_with, show_page};
use self::limits::{LimitPhase, RequestClaims, count_on_limits, hash_key};
use crate::exchange::{Client, Refusal, pause_for};
use crate::net::Timer;
use crate::policy::Policies;
use crate::policy::concurrency::KeptOut;
use crate::policy::cors::Cors;
use crate::policy::effects::PolicyEffects;
use crate::policy::forward_auth::JudgePage;
use crate::policy::limit::LimitReport;
use crate::proxy::{MatchedRoute, WalkEnd, entry};
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

/// Asks the policies of a route, and answers where one of them says so; `None` when the action
/// follows.
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
