//! Shared policies: authentication, Redis, cross-origin rules.

use super::route::check_framing;
use crate::finding::Finding;
use crate::schema::forms::{OneOrMany, PolicyUse};
use crate::schema::listen::Listen;
use crate::schema::policy::{
    AuthConfig, Cache, LimitConfig, LimitStore, TierConfig, WebhookConfig, secret_bytes,
};
use crate::schema::units::Rate;
use crate::schema::words::{
    HeaderName, LimitKey, ListenAddress, LogField, TokenPlace, TrustedProxy,
};
use crate::schema::{Config, defaults};
use crate::source::{Place, Spanned};
use route::authority::is_host;

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    for auth in config.auth.values() {
        check_auth(auth, findings);
    }
    let inline = config.route.iter().flat_map(|route| route.limit.iter());
    let inline = inline.filter_map(|it| match it {
        PolicyUse::Inline(limit) => Some(limit),
        PolicyUse::Named(_) | PolicyUse::Off => None,
    });
    config.limit.values().chain(inline).for_each(|limit| check_limit(limit, findings));
    for cors in config.route.iter().filter_map(|route| route.cors.as_ref()) {
        cors.headers.iter().for_each(|name| check_framing(name, findings));
        // Fetch standard: a wildcard never goes with credentials.
        if let Some(star) = cors.origins.iter().find(|origin| origin.value == "*")
            && cors.credentials
        {
            let message = "credentials cannot be allowed to all origins";
            findings.push(Finding::error("bad_value", star.place, message));
        }
        // With credentials, `*` is nothing but a name that looks odd (Fetch, "CORS protocol and credentials").
        let star = cors.headers.iter().any(|name| name.value.get().as_str() == "*")
            || cors.methods.iter().any(|method| method.get().as_str() == "*");
        if star && cors.credentials {
            let message =
                "with `credentials`, browsers take `*` for the name of a method or header";
            let finding = Finding::error("bad_value", cors.place, message);
            findings.push(finding.help("name the methods and headers one by one"));
        }
    }
    for health in config.upstream.values().filter_map(|upstream| upstream.health.as_ref()) {
        for (name, value) in &health.headers {
            check_framing(name, findings);
            if name.value.get() == http::header::HOST && !is_host(value.get().as_bytes()) {
                let message = format!("`{value}` is no host with an optional port");
                findings.push(Finding::error("bad_value", name.place, message));
            }
        }
    }
    check_log(config, findings);
    needs_tokens(config, findings);
    needs_addresses(config, findings);
    for cache in caches(config) {
        check_cache(cache, config.admin.is_some(), findings);
    }
    tiers(config, findings);
    match &config.redis {
        Some(redis) => super::redis::check(redis, findings),
        None => needs_redis(config, findings),
    }
}

/// A burst that nobody lives to see come back is a mistake, and more than the arithmetic holds.
fn check_limit(limit: &LimitConfig, findings: &mut Vec<Finding>) {
    let LimitConfig { rate, burst, .. } = limit;
    if rate.value.recovers_in(*burst) > Rate::LONGEST_RECOVERY {
        let message =
            format!("at {} a burst of {burst} takes more than 100 years to come back", rate.value);
        let most = Rate::LONGEST_RECOVERY.as_nanos() / rate.value.recovers_in(1).as_nanos().max(1);
        findings.push(
            Finding::error("bad_value", rate.place, message)
                .help(format!("the largest burst at this rate is {most}")),
        );
    }
}

/// Fields by which servers are told who a client is. What an authentication says beside them would be a second field
/// of the name, and a server could believe either.
const IDENTITY: [&str; 9] = [
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "x-request-id",
    "x-tidegate-attempt",
    "traceparent",
];

/// A field that an authentication hands to servers.
fn check_handed_on(name: &Spanned<HeaderName>, findings: &mut Vec<Finding>) {
    check_framing(name, findings);
    let text = name.value.get().as_str();
    if IDENTITY.contains(&text) || text.starts_with("x-client-cert") {
        let message = format!("`{text}` is written by the proxy itself");
        let finding = Finding::error("framing_header", name.place, message);
        findings.push(finding.help("choose a name of your own, such as x-user"));
    }
}

/// The further fields of the access log: a bounded number of things, each once, and no keys of clients.
fn check_log(config: &Config, findings: &mut Vec<Finding>) {
    const MOST: usize = 32;
    let fields = config.log.access.fields();
    if let Some(beyond) = fields.get(MOST) {
        let message = format!("more than {MOST} fields are too many for a line");
        findings.push(Finding::error("bad_value", beyond.place, message));
    }
    let keys = config.auth.values().filter_map(|auth| auth.api_key.as_ref());
    let keys: Vec<&str> = keys.map(|key| key.header.value.get().as_str()).collect();
    for (at, field) in fields.iter().enumerate() {
        if let Some(first) = fields.iter().take(at).find(|first| *first == field) {
            let finding =
                Finding::error("duplicate_name", field.place, format!("`{field}` is given twice"));
            findings.push(finding.related(first.place, "first given here"));
        }
        if matches!(&field.value, LogField::Header(name) if keys.contains(&name.as_str())) {
            let message =
                format!("`{field}` holds the keys of an [auth.NAME], which are not written down");
            findings.push(Finding::error("bad_value", field.place, message));
        }
    }
}

/// The places in which tokens are looked for: at least in one place, and in none of them twice.
fn check_places(from: &[Spanned<TokenPlace>], place: Place, findings: &mut Vec<Finding>) {
    if from.is_empty() {
        let finding = Finding::error("bad_value", place, "`from` names no place of a token");
        findings.push(finding.help("leave it out for \"header\""));
    }
    for (at, place) in from.iter().enumerate() {
        if let Some(first) = from.iter().take(at).find(|first| *first == place) {
            let message = format!("`{place}` is given twice");
            let finding = Finding::error("duplicate_name", place.place, message);
            findings.push(finding.related(first.place, "first given here"));
        }
    }
}

fn check_auth(auth: &AuthConfig, findings: &mut Vec<Finding>) {
    if let Some(jwt) = &auth.jwt {
        check_places(&jwt.from, auth.place, findings);
        jwt.forward.values().for_each(|name| check_handed_on(name, findings));
    }
    if let Some(forward) = &auth.forward {
        forward.copy.iter().for_each(|name| check_handed_on(name, findings));
    }
    if let Some(api_key) = &auth.api_key {
        check_framing(&api_key.header, findings);
    }
    check_realm(auth, findings);
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

/// A realm is text that any client can show, in one line: it is told with every refusal.
fn check_realm(auth: &AuthConfig, findings: &mut Vec<Finding>) {
    const LONGEST: usize = 256;
    let realm = &auth.realm;
    if realm.value.len() > LONGEST {
        let message = format!("a realm of {} bytes is longer than clients show", realm.value.len());
        let finding = Finding::error("bad_value", realm.place, message);
        findings.push(finding.help(format!("write at most {LONGEST}")));
    }
    if realm.value.is_empty() || !realm.value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let message = "a realm is one or more letters, digits, spaces and signs of ASCII";
        findings.push(Finding::error("bad_value", realm.place, message));
    }
    if auth.forward.is_some() && realm.value != defaults::REALM {
        let message =
            "the server that is asked says itself how to get in: `realm` would not be told";
        findings.push(Finding::error("bad_value", realm.place, message));
    }
}

/// All caches, shared ones and those of one route.
fn caches(config: &Config) -> impl Iterator<Item = &Cache> {
    let inline = config.route.iter().filter_map(|route| match &route.cache {
        Some(PolicyUse::Inline(cache)) => Some(cache),
        Some(PolicyUse::Named(_) | PolicyUse::Off) | None => None,
    });
    config.cache.values().chain(inline)
}

fn check_cache(cache: &Cache, has_admin: bool, findings: &mut Vec<Finding>) {
    for key in cache.vary_on.iter() {
        if matches!(key.value, LimitKey::ClientIp | LimitKey::Route) {
            let message = format!("a cache cannot vary on `{}`", key.value);
            findings.push(
                Finding::error("bad_value", key.place, message)
                    .help("name \"header:NAME\", \"cookie:NAME\" or \"jwt:CLAIM\""),
            );
        }
    }
    cache.webhook.iter().for_each(|webhook| check_webhook(webhook, has_admin, findings));
    for status in cache.negative.keys() {
        if !matches!(status.value.parse::<u16>(), Ok(200..=599)) || status.value.len() != 3 {
            let message = format!("`{}` is not a status from 200 to 599", status.value);
            findings.push(
                Finding::error("bad_value", status.place, message)
                    .help("write negative = { 404 = \"10s\" }"),
            );
        }
    }
}

/// Events need a place where they are taken, and a secret that cannot be guessed.
fn check_webhook(webhook: &WebhookConfig, has_admin: bool, findings: &mut Vec<Finding>) {
    if !has_admin {
        let message = "events are taken by the admin endpoint, and there is none";
        let finding = Finding::error("missing_key", webhook.place, message);
        findings.push(finding.help("add [admin] with address = \"127.0.0.1:9900\""));
    }
    if webhook.secret.iter().next().is_none() {
        let message = "a webhook without a secret takes no event";
        findings.push(Finding::error("bad_value", webhook.place, message));
    }
    for secret in webhook.secret.iter() {
        if secret_bytes(secret.value.expose()).is_none() {
            let message =
                "a webhook's secret has at least 24 bytes, or Base64 of them behind `whsec_`";
            findings.push(
                Finding::error("bad_value", secret.place, message)
                    .help("make one: echo whsec_$(head -c 32 /dev/urandom | base64)"),
            );
        }
    }
}

/// Only routes whose `auth` verifies tokens know the claims that a key may name.
fn needs_tokens(config: &Config, findings: &mut Vec<Finding>) {
    let by_claim = |key: &OneOrMany<LimitKey>| key.iter().any(|k| matches!(k, LimitKey::Jwt(_)));
    let inline = config.route.iter().flat_map(|route| route.limit.iter());
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
        let verified = super::literal::verifies_tokens(route, config);
        let limits = route.limit.iter().any(|it| match it {
            PolicyUse::Inline(limit) => by_claim(&limit.key),
            PolicyUse::Named(name) => {
                let mut all = config.limit.iter();
                all.any(|(known, limit)| known.value == name.value && by_claim(&limit.key))
            }
            PolicyUse::Off => false,
        });
        let places = route.counted_by().is_some_and(by_claim);
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

/// Clients of a Unix socket have no address, unless who connects to it is trusted to tell one: counting by it would
/// count all of them as one.
fn needs_addresses(config: &Config, findings: &mut Vec<Finding>) {
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
        let limits = route.limit.iter().filter_map(|it| match it {
            PolicyUse::Inline(limit) => Some(limit),
            PolicyUse::Named(name) => {
                let mut all = config.limit.iter();
                all.find(|(known, _)| known.value == name.value).map(|(_, limit)| limit)
            }
            PolicyUse::Off => None,
        });
        let mut places: Vec<Place> =
            limits.filter(|limit| by_address(&limit.key)).map(|limit| limit.place).collect();
        places.extend(route.counted_by().filter(|key| by_address(key)).map(|_| route.place));
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

/// A time for a tier that is not there.
fn tiers(config: &Config, findings: &mut Vec<Finding>) {
    let idle = |cache: &Cache| cache.tier.is_none() && cache.tier_ttl.is_some();
    let named = config.cache.iter().filter(|(_, cache)| idle(cache)).map(|(name, _)| name.place);
    let inline = config.route.iter().filter_map(|route| match &route.cache {
        Some(PolicyUse::Inline(cache)) if idle(cache) => Some(route.place),
        Some(PolicyUse::Inline(_) | PolicyUse::Named(_) | PolicyUse::Off) | None => None,
    });
    for place in named.chain(inline) {
        let finding = Finding::error("missing_key", place, "`tier_ttl` is for a `tier`");
        findings.push(finding.help("add tier = \"redis\""));
    }
}

fn needs_redis(config: &Config, findings: &mut Vec<Finding>) {
    let limit = |limit: &LimitConfig| limit.store == LimitStore::Redis;
    let cache = |cache: &Cache| cache.tier == Some(TierConfig::Redis);
    let inline_limits = config.route.iter().flat_map(|route| route.limit.iter());
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
