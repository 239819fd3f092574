//! Shared policies: authentication, Redis, cross-origin rules.

mod caches;
mod needs;

use route::authority::is_host;

use self::caches::{caches, check_cache, tiers};
use self::needs::{needs_addresses, needs_redis, needs_tokens};
use crate::check::route::check_framing;
use crate::finding::Finding;
use crate::schema::forms::PolicyUse;
use crate::schema::policy::{AuthConfig, LimitConfig};
use crate::schema::units::Rate;
use crate::schema::words::{HeaderName, LogField, TokenPlace};
use crate::schema::{Config, defaults};
use crate::source::{Place, Spanned};

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    for auth in config.auth.values() {
        check_auth(auth, findings);
    }
    let inline = config.route.iter().flat_map(|route| route.policies.limit.iter());
    let inline = inline.filter_map(|it| match it {
        PolicyUse::Inline(limit) => Some(limit),
        PolicyUse::Named(_) | PolicyUse::Off => None,
    });
    config.limit.values().chain(inline).for_each(|limit| check_limit(limit, findings));
    for cors in config.route.iter().filter_map(|route| route.policies.cors.as_ref()) {
        cors.headers.iter().for_each(|name| check_framing(name, findings));
        // Fetch standard: a wildcard never goes with credentials.
        if let Some(star) = cors.origins.iter().find(|origin| origin.value == "*")
            && cors.credentials
        {
            let message = "credentials cannot be allowed to all origins";
            findings.push(Finding::error("bad_value", star.place, message));
        }
        // With credentials, `*` is nothing but a name that looks odd (Fetch, "CORS protocol and
        // credentials").
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

/// Fields by which servers are told who a client is. What an authentication says beside them would
/// be a second field of the name, and a server could believe either.
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

/// The further fields of the access log: a bounded number of things, each once, and no keys of
/// clients.
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
        // Schemes are written in either case (RFC 3986 §3.1).
        let secure = forward.url.value.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("https://"));
        if let Some(ca) = forward.ca.as_ref().filter(|_| !secure) {
            let finding = Finding::error("bad_value", ca.place, "this is for TLS");
            findings.push(finding.help("TLS is spoken where the URL begins with https://"));
        }
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
