//! Shared policies: authentication, Redis, cross-origin rules.

use crate::config::finding::Finding;
use crate::config::schema::Config;
use crate::config::schema::forms::{OneOrMany, Policy};
use crate::config::schema::policy::{Auth, Cache, Limit, Store, Tier};
use crate::config::schema::route::AuthRef;
use crate::config::schema::words::LimitKey;
use crate::policy::limit::{self, Pace};

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    for auth in config.auth.values() {
        check_auth(auth, findings);
    }
    let inline = config.route.iter().flat_map(|route| route.limit.iter());
    let inline = inline.filter_map(|it| match it {
        Policy::Inline(limit) => Some(limit),
        Policy::Named(_) | Policy::Off => None,
    });
    config.limit.values().chain(inline).for_each(|limit| check_limit(limit, findings));
    for cors in config.route.iter().filter_map(|route| route.cors.as_ref()) {
        // Fetch standard: a wildcard never goes with credentials.
        if let Some(star) = cors.origins.iter().find(|origin| origin.value == "*")
            && cors.credentials
        {
            let message = "credentials cannot be allowed to all origins";
            findings.push(Finding::error("bad_value", star.place, message));
        }
    }
    needs_tokens(config, findings);
    if config.redis.is_none() {
        needs_redis(config, findings);
    }
}

/// A burst that nobody lives to see come back is a mistake, and more than the arithmetic holds.
fn check_limit(limit: &Limit, findings: &mut Vec<Finding>) {
    let Limit { rate, burst, .. } = limit;
    let pace = Pace { count: rate.value.count(), period: rate.value.period(), burst: *burst };
    if pace.recovers_in() > limit::LONGEST {
        let message =
            format!("at {} a burst of {burst} takes more than 100 years to come back", rate.value);
        let most = limit::LONGEST.as_nanos() / (pace.period / pace.count.max(1)).as_nanos().max(1);
        findings.push(
            Finding::error("bad_value", rate.place, message)
                .help(format!("the largest burst at this rate is {most}")),
        );
    }
}

fn check_auth(auth: &Auth, findings: &mut Vec<Finding>) {
    let ways =
        [auth.jwt.is_some(), auth.api_key.is_some(), auth.basic.is_some(), auth.forward.is_some()];
    if ways.iter().filter(|way| **way).count() != 1 {
        findings.push(
            Finding::error(
                "bad_value",
                auth.place,
                "an [auth.NAME] is exactly one way to know a client",
            )
            .help("keep one of jwt, api_key, basic, forward"),
        );
    }
}

/// Only routes whose `auth` verifies tokens know the claims that a key may name.
fn needs_tokens(config: &Config, findings: &mut Vec<Finding>) {
    let by_claim = |key: &OneOrMany<LimitKey>| key.iter().any(|k| matches!(k, LimitKey::Jwt(_)));
    for route in &config.route {
        let verified = match &route.auth {
            Some(AuthRef::Named(name)) => {
                let mut all = config.auth.iter();
                all.any(|(known, auth)| known.value == name.value && auth.jwt.is_some())
            }
            Some(AuthRef::Off) | None => false,
        };
        let limits = route.limit.iter().any(|it| match it {
            Policy::Inline(limit) => by_claim(&limit.key),
            Policy::Named(name) => {
                let mut all = config.limit.iter();
                all.any(|(known, limit)| known.value == name.value && by_claim(&limit.key))
            }
            Policy::Off => false,
        });
        let places = route.concurrency.as_ref().is_some_and(|it| by_claim(&it.key));
        if (limits || places) && !verified {
            let message = "a key `jwt:CLAIM` needs a route whose `auth` verifies tokens";
            findings.push(Finding::error("bad_value", route.place, message));
        }
    }
}

fn needs_redis(config: &Config, findings: &mut Vec<Finding>) {
    let limit = |limit: &Limit| limit.store == Store::Redis;
    let cache = |cache: &Cache| cache.tier == Some(Tier::Redis);
    let inline_limits = config.route.iter().flat_map(|route| route.limit.iter());
    let mut places: Vec<_> =
        config.limit.values().filter(|it| limit(it)).map(|it| it.place).collect();
    places.extend(inline_limits.filter_map(|it| match it {
        Policy::Inline(it) if limit(it) => Some(it.place),
        Policy::Inline(_) | Policy::Named(_) | Policy::Off => None,
    }));
    places.extend(config.cache.iter().filter(|(_, it)| cache(it)).map(|(name, _)| name.place));
    places.extend(config.route.iter().filter_map(|route| match &route.cache {
        Some(Policy::Inline(it)) if cache(it) => Some(route.place),
        Some(Policy::Inline(_) | Policy::Named(_) | Policy::Off) | None => None,
    }));
    for place in places {
        let finding =
            Finding::error("missing_key", place, "this needs Redis, and there is no [redis]");
        findings.push(finding.help("add [redis] with url = \"redis://127.0.0.1:6379/0\""));
    }
}
