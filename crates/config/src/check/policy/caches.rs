//! Checks `[cache.NAME]` and caches of routes.

use crate::finding::Finding;
use crate::schema::Config;
use crate::schema::cache::{Cache, WebhookConfig, secret_bytes};
use crate::schema::forms::PolicyUse;
use crate::schema::words::LimitKey;

/// All caches, shared ones and those of one route.
pub(super) fn caches(config: &Config) -> impl Iterator<Item = &Cache> {
    let inline = config.route.iter().filter_map(|route| match &route.cache {
        Some(PolicyUse::Inline(cache)) => Some(cache),
        Some(PolicyUse::Named(_) | PolicyUse::Off) | None => None,
    });
    config.cache.values().chain(inline)
}

pub(super) fn check_cache(cache: &Cache, has_admin: bool, findings: &mut Vec<Finding>) {
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

/// A time for a tier that is not there.
pub(super) fn tiers(config: &Config, findings: &mut Vec<Finding>) {
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
