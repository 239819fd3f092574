//! Names that lead nowhere, names that lead in a circle, and upstreams that no name leads to.

use std::collections::BTreeSet;

use super::{ReadExtent, SeenNames};
use crate::finding::Finding;
use crate::schema::Config;
use crate::schema::auth_ref::AuthRef;
use crate::schema::balance::{BalanceConfig, ShardBy};
use crate::schema::cache::TierConfig;
use crate::schema::forms::PolicyUse;
use crate::schema::policy::LimitStore;
use crate::schema::route::{ActionConfig, RouteConfig};
use crate::schema::upstream::{ServerConfig, Servers, UpstreamConfig};
use crate::source::Spanned;
use crate::suggest::did_you_mean;
use machine::pace;

pub(super) fn check(
    config: &Config,
    names: &SeenNames,
    read: ReadExtent,
    findings: &mut Vec<Finding>,
) {
    let before = findings.len();
    for route in &config.route {
        pace::step();
        route_references(route, names, findings);
    }
    for (name, upstream) in &config.upstream {
        if let Some(fallback) = &upstream.fallback {
            resolve("unknown_upstream", "upstream", fallback, &names.upstream, findings);
        }
        fallback_circle(config, name, upstream, findings);
        shard_servers(upstream, findings);
    }
    // Who is named wrongly is not unused besides.
    if read == ReadExtent::Whole && findings.len() == before {
        unused(config, findings);
    }
}

fn route_references(route: &RouteConfig, names: &SeenNames, findings: &mut Vec<Finding>) {
    for listen in route.listen.iter() {
        resolve("unknown_listen", "listener", listen, &names.listen, findings);
    }
    if let ActionConfig::Upstream(split) = &route.action {
        for target in &split.targets {
            resolve("unknown_upstream", "upstream", &target.upstream, &names.upstream, findings);
        }
    }
    if let Some(mirror) = &route.mirror {
        resolve("unknown_upstream", "upstream", &mirror.upstream, &names.upstream, findings);
    }
    for limit in route.policies.limit.iter() {
        if let PolicyUse::Named(name) = limit {
            resolve("unknown_limit", "limit", name, &names.limit, findings);
        }
    }
    for headers in route.request_headers.iter().chain(route.response_headers.iter()) {
        if let PolicyUse::Named(name) = headers {
            resolve("unknown_headers", "headers", name, &names.headers, findings);
        }
    }
    for name in route.policies.auth.iter().flat_map(AuthRef::names) {
        resolve("unknown_auth", "auth", name, &names.auth, findings);
    }
    if let Some(PolicyUse::Named(name)) = &route.cache {
        resolve("unknown_cache", "cache", name, &names.cache, findings);
    }
}

fn resolve(
    code: &'static str,
    what: &str,
    name: &Spanned<String>,
    names: &BTreeSet<String>,
    findings: &mut Vec<Finding>,
) {
    if names.contains(&name.value) {
        return;
    }
    let table = if what == "listener" { "listen" } else { what };
    let help = did_you_mean(&name.value, names.iter().map(String::as_str)).or_else(|| {
        let few: Vec<_> = names.iter().take(8).map(|name| format!("`{name}`")).collect();
        Some(match few.len() {
            0 if table == "listen" => "no listener has a name".to_owned(),
            0 => format!("there is no [{table}.NAME] at all"),
            _ => format!("there is {}", few.join(", ")),
        })
    });
    let message = format!("unknown {what} `{}`", name.value);
    findings.push(Finding::error(code, name.place, message).maybe_help(help));
}

/// Reported once per circle, at its alphabetically first member.
fn fallback_circle(
    config: &Config,
    name: &Spanned<String>,
    upstream: &UpstreamConfig,
    findings: &mut Vec<Finding>,
) {
    let mut path = vec![name.value.as_str()];
    let mut next = upstream.fallback.as_ref();
    while let Some(fallback) = next {
        if fallback.value == name.value {
            if path.iter().min() == Some(&name.value.as_str()) {
                path.push(&name.value);
                let message = format!("fallbacks lead in a circle: {}", path.join(" → "));
                let place = upstream.fallback.as_ref().map_or(name.place, |first| first.place);
                findings.push(Finding::error("fallback_cycle", place, message));
            }
            return;
        }
        if path.contains(&fallback.value.as_str()) || path.len() > 64 {
            return;
        }
        path.push(&fallback.value);
        next = config.upstream.get(fallback.value.as_str()).and_then(|up| up.fallback.as_ref());
    }
}

fn shard_servers(upstream: &UpstreamConfig, findings: &mut Vec<Finding>) {
    let (BalanceConfig::Shard { by, .. }, Servers::List(servers)) =
        (&upstream.balance, &upstream.servers)
    else {
        return;
    };
    let ids: BTreeSet<String> = servers.iter().map(ServerConfig::id).collect();
    let named: Vec<_> = match by {
        ShardBy::Ranges(ranges) => ranges.iter().map(|range| &range.server).collect(),
        ShardBy::Prefixes(prefixes) => prefixes.values().collect(),
        ShardBy::RangeSize(_) => Vec::new(),
    };
    for name in named {
        resolve("unknown_server", "server", name, &ids, findings);
    }
}

fn unused(config: &Config, findings: &mut Vec<Finding>) {
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for route in &config.route {
        pace::step();
        if let ActionConfig::Upstream(split) = &route.action {
            used.extend(split.targets.iter().map(|target| target.upstream.value.as_str()));
        }
        used.extend(route.mirror.iter().map(|mirror| mirror.upstream.value.as_str()));
    }
    let fallbacks = config.upstream.values().filter_map(|upstream| upstream.fallback.as_ref());
    used.extend(fallbacks.map(|name| name.value.as_str()));
    for name in config.upstream.keys().filter(|name| !used.contains(name.value.as_str())) {
        let message = format!("upstream `{}` is not used by any route", name.value);
        findings.push(Finding::warning("unused_upstream", name.place, message));
    }
    unused_policies(config, findings);
    unreachable(config, findings);
}

fn unused_policies(config: &Config, findings: &mut Vec<Finding>) {
    let (mut auths, mut limits) = (BTreeSet::new(), BTreeSet::new());
    let mut redis = false;
    for route in &config.route {
        let named = route.policies.auth.iter().flat_map(AuthRef::names);
        auths.extend(named.map(|name| name.value.as_str()));
        for limit in route.policies.limit.iter() {
            match limit {
                PolicyUse::Named(name) => {
                    limits.insert(name.value.as_str());
                }
                PolicyUse::Inline(limit) => redis |= limit.store == LimitStore::Redis,
                PolicyUse::Off => {}
            }
        }
    }
    for name in config.auth.keys().filter(|name| !auths.contains(name.value.as_str())) {
        let message = format!("auth `{}` is not used by any route", name.value);
        findings.push(Finding::warning("unused_auth", name.place, message));
    }
    for (name, limit) in &config.limit {
        redis |= limit.store == LimitStore::Redis;
        if !limits.contains(name.value.as_str()) {
            let message = format!("limit `{}` is not used by any route", name.value);
            findings.push(Finding::warning("unused_limit", name.place, message));
        }
    }
    let sets =
        config.route.iter().flat_map(|r| r.request_headers.iter().chain(&r.response_headers.0));
    let sets = sets.filter_map(|set| match set {
        PolicyUse::Named(name) => Some(name.value.as_str()),
        PolicyUse::Inline(_) | PolicyUse::Off => None,
    });
    let sets: BTreeSet<&str> = sets.collect();
    for name in config.headers.keys().filter(|name| !sets.contains(name.value.as_str())) {
        let message = format!("headers `{}` are not used by any route", name.value);
        findings.push(Finding::warning("unused_headers", name.place, message));
    }
    let caches = config.route.iter().filter_map(|route| match &route.cache {
        Some(PolicyUse::Named(name)) => Some(name.value.as_str()),
        Some(PolicyUse::Inline(_) | PolicyUse::Off) | None => None,
    });
    let caches: BTreeSet<&str> = caches.collect();
    for name in config.cache.keys().filter(|name| !caches.contains(name.value.as_str())) {
        let message = format!("cache `{}` is not used by any route", name.value);
        findings.push(Finding::warning("unused_cache", name.place, message));
    }
    redis |= config.cache.values().any(|cache| cache.tier == Some(TierConfig::Redis));
    redis |= config.route.iter().any(|route| {
        matches!(&route.cache, Some(PolicyUse::Inline(cache)) if cache.tier == Some(TierConfig::Redis))
    });
    redis |=
        config.upstream.values().filter_map(|it| it.servers.registry()).any(|it| it.redis.value);
    if let Some(written) = config.redis.as_ref().filter(|_| !redis) {
        let finding = Finding::warning("unused_redis", written.place, "nothing is kept in Redis");
        findings.push(
            finding
                .help("a limit with store = \"redis\" or a cache with tier = \"redis\" would be"),
        );
    }
}

/// Listeners whose every request is answered with 404.
fn unreachable(config: &Config, findings: &mut Vec<Finding>) {
    let any = |route: &RouteConfig| route.listen.is_empty();
    if config.route.is_empty() || config.route.iter().any(any) {
        return;
    }
    let named = config.route.iter().flat_map(|route| route.listen.iter());
    let named: BTreeSet<&str> = named.map(|name| name.value.as_str()).collect();
    for listen in config.listen.iter().filter(|listen| listen.redirect.is_none()) {
        let name = listen.name.as_ref();
        if name.is_some_and(|name| named.contains(name.value.as_str())) {
            continue;
        }
        let place = name.map_or(listen.place, |name| name.place);
        let message = format!("no route belongs to the listener `{}`", listen.shown_name());
        let finding = Finding::warning("unreachable_listener", place, message);
        findings.push(finding.label("every request that comes in here is answered with 404"));
    }
}
