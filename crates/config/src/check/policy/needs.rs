//! What keys need elsewhere: tokens, addresses, Redis.

use crate::finding::Finding;
use crate::schema::Config;
use crate::schema::cache::{Cache, TierConfig};
use crate::schema::forms::{OneOrMany, PolicyUse};
use crate::schema::listen::Listen;
use crate::schema::policy::{LimitConfig, LimitStore};
use crate::schema::words::{LimitKey, ListenAddress, TrustedProxy};
use crate::source::{Place, Spanned};

/// Only routes whose `auth` verifies tokens know the claims that a key may name.
pub(super) fn needs_tokens(config: &Config, findings: &mut Vec<Finding>) {
    let by_claim = |key: &OneOrMany<LimitKey>| key.iter().any(|k| matches!(k, LimitKey::Jwt(_)));
    let inline = config.route.iter().flat_map(|route| route.policies.limit.iter());
    let inline = inline.filter_map(|it| match it {
        PolicyUse::Inline(limit) => Some(limit),
        PolicyUse::Named(_) | PolicyUse::Off => None,
    });
    for limit in config.limit.values().chain(inline) {
        if limit.before.is_some() && by_claim(&limit.key) {
            let message = "before authentication nobody knows what a token says";
            findings.push(Finding::error("bad_value", limit.place, message));
        }
    }
    for route in &config.route {
        let verified = crate::check::literal::verifies_tokens(route, config);
        let limits = route.policies.limit.iter().any(|it| match it {
            PolicyUse::Inline(limit) => by_claim(&limit.key),
            PolicyUse::Named(name) => {
                let mut all = config.limit.iter();
                all.any(|(known, limit)| known.value == name.value && by_claim(&limit.key))
            }
            PolicyUse::Off => false,
        });
        let places = route.policies.counted_by().is_some_and(by_claim);
        let claims =
            |cache: &Cache| cache.vary_on.iter().any(|key| matches!(key.value, LimitKey::Jwt(_)));
        let cached = match &route.cache {
            Some(PolicyUse::Inline(cache)) => claims(cache),
            Some(PolicyUse::Named(name)) => {
                let mut all = config.cache.iter();
                all.any(|(known, cache)| known.value == name.value && claims(cache))
            }
            Some(PolicyUse::Off) | None => false,
        };
        if (limits || places || cached) && !verified {
            let message = "a key `jwt:CLAIM` needs a route whose `auth` verifies tokens";
            findings.push(Finding::error("bad_value", route.place, message));
        }
    }
}

/// Clients of a Unix socket have no address, unless who connects to it is trusted to tell one:
/// counting by it would count all of them as one.
pub(super) fn needs_addresses(config: &Config, findings: &mut Vec<Finding>) {
    let unix = |listen: &&Listen| {
        let mut addresses = listen.address.iter();
        let socket = addresses.any(|address| matches!(address.value.at, ListenAddress::Unix(_)));
        socket && !listen.trusted_proxies.iter().any(|proxy| proxy.value == TrustedProxy::Unix)
    };
    let without: Vec<&Listen> = config.listen.iter().filter(unix).collect();
    let by_address = |key: &OneOrMany<LimitKey>| key.contains(&LimitKey::ClientIp);
    for route in &config.route {
        let reaches = |listen: &&&Listen| {
            let named = |name: &Spanned<String>| listen.name.as_ref() == Some(name);
            route.listen.is_empty() || route.listen.iter().any(named)
        };
        let Some(listen) = without.iter().find(reaches) else { continue };
        let limits = route.policies.limit.iter().filter_map(|it| match it {
            PolicyUse::Inline(limit) => Some(limit),
            PolicyUse::Named(name) => {
                let mut all = config.limit.iter();
                all.find(|(known, _)| known.value == name.value).map(|(_, limit)| limit)
            }
            PolicyUse::Off => None,
        });
        let mut places: Vec<Place> =
            limits.filter(|limit| by_address(&limit.key)).map(|limit| limit.place).collect();
        places
            .extend(route.policies.counted_by().filter(|key| by_address(key)).map(|_| route.place));
        places.extend((!route.client.is_empty()).then_some(route.place));
        for place in places {
            let message = "clients of a Unix socket have no address to be known by";
            let finding = Finding::error("no_address", place, message);
            let finding = finding.related(listen.place, "a listener on a Unix socket");
            findings.push(finding.help(
                "choose another key, say `listen`, or trust who connects: trusted_proxies = [\"unix:\"]",
            ));
        }
    }
}

pub(super) fn needs_redis(config: &Config, findings: &mut Vec<Finding>) {
    let limit = |limit: &LimitConfig| limit.store == LimitStore::Redis;
    let cache = |cache: &Cache| cache.tier == Some(TierConfig::Redis);
    let inline_limits = config.route.iter().flat_map(|route| route.policies.limit.iter());
    let mut places: Vec<_> =
        config.limit.values().filter(|it| limit(it)).map(|it| it.place).collect();
    places.extend(inline_limits.filter_map(|it| match it {
        PolicyUse::Inline(it) if limit(it) => Some(it.place),
        PolicyUse::Inline(_) | PolicyUse::Named(_) | PolicyUse::Off => None,
    }));
    places.extend(config.cache.iter().filter(|(_, it)| cache(it)).map(|(name, _)| name.place));
    places.extend(config.route.iter().filter_map(|route| match &route.cache {
        Some(PolicyUse::Inline(it)) if cache(it) => Some(route.place),
        Some(PolicyUse::Inline(_) | PolicyUse::Named(_) | PolicyUse::Off) | None => None,
    }));
    let registries = config.upstream.values().filter_map(|it| it.servers.registry());
    places.extend(registries.filter(|it| it.redis.value).map(|it| it.redis.place));
    for place in places {
        let finding =
            Finding::error("missing_key", place, "this needs Redis, and there is no [redis]");
        findings.push(finding.help("add [redis] with url = \"redis://127.0.0.1:6379/0\""));
    }
}
