//! What a route would do, in words: its limits, policies, cache and shares.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::told::{CandidateServer, CountedLimit, ExplainedCache, Explanation, ServerShare};
use crate::cache::route::{KeyInput, RouteCache};
use crate::clock;
use crate::config::schema::units::Rate;
use crate::endpoint::standing;
use crate::policy::limit::{Limit, Pace};
use crate::proxy::admit::Admitted;
use crate::proxy::keyed;
use crate::snapshot::Route;
use crate::snapshot::route::Split;
use crate::upstream::Pool;
use crate::wire::RequestHead;

/// What a route asks of a request before it acts.
pub(super) fn note_policies(route: &Route, client: Option<IpAddr>, said: &mut Explanation) {
    if let Some(policies) = &route.policies {
        said.auth = policies.ways.iter().map(|way| way.name.to_string()).collect();
        said.limits = policies.limits.iter().map(|limit| describe_limit(limit, client)).collect();
    }
    said.policies = describe_policies(route);
}

fn describe_limit(limit: &Limit, client: Option<IpAddr>) -> CountedLimit {
    let Pace { count, period, burst } = limit.state.pace;
    CountedLimit {
        limit: limit.name.to_string(),
        rate: Rate::new(count, period).to_string(),
        burst,
        before_auth: limit.before_auth,
        exempt: limit.exempts_client(client),
    }
}

/// What a request has to pass on a route, in the order in which it is asked.
fn describe_policies(route: &Route) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(policies) = &route.policies {
        policies.describe_steps(&mut said);
    }
    said.extend(route.cache.as_ref().map(|cache| format!("cache {}", cache.store.name)));
    said.extend(route.mirror.as_ref().map(|_| "mirror".to_owned()));
    said.extend(route.body_limit.map(|bytes| format!("body_limit {bytes} bytes")));
    said
}

pub(super) fn describe_cache(
    cache: &RouteCache,
    url: &keyed::Url<'_>,
    head: &RequestHead,
    admitted: Admitted<'_>,
) -> ExplainedCache {
    let input = |input: &KeyInput| match input {
        KeyInput::Header(name) => head.fields.named(name).next(),
        KeyInput::Cookie(name) => keyed::cookie_value(&head.fields, name),
        KeyInput::Claim(_) => None,
    };
    let key = keyed::write_key(&mut Vec::new(), cache, url, input).to_key();
    let mut shown = key.url();
    for added in &cache.vary_on {
        let value = input(added).map_or("(none)".into(), String::from_utf8_lossy);
        // Writing to a string cannot fail.
        let _ok = match added {
            KeyInput::Header(name) => write!(shown, " header:{}={value}", lossy_text(name)),
            KeyInput::Cookie(name) => write!(shown, " cookie:{}={value}", lossy_text(name)),
            KeyInput::Claim(name) => write!(shown, " jwt:{name}"),
        };
    }
    let mut buffer = Vec::new();
    let exact = cache.store.find_stored(key.borrowed(), &head.fields).object;
    let found = exact.or_else(|| {
        let other = cache.store.find_equivalent(key.borrowed(), &head.fields, &mut buffer);
        other.and_then(|(_, found)| found.object)
    });
    let now = clock::unix_millis();
    ExplainedCache {
        cache: cache.store.name.to_string(),
        bypass: keyed::bypass_reason(head, admitted).map(|why| why.told().to_owned()),
        key: shown,
        stored: found.is_some(),
        ttl: found.map(|object| object.timing().fresh_for(now).div_euclid(1000)),
    }
}

pub(super) fn describe_shares(split: &Split) -> Vec<ServerShare> {
    let total = split.targets.last().map_or(1, |(upto, _)| *upto);
    let mut before = 0;
    let mut all = Vec::new();
    for (upto, target) in split.targets.iter() {
        let members = target.upstream.members();
        let servers = members.pool(target.view).into_iter().flat_map(Pool::members);
        let servers = servers.map(|member| CandidateServer {
            server: member.endpoint.name.to_string(),
            weight: member.weight,
            state: standing::standing_word(member.endpoint.standing.reason_bits()).to_owned(),
        });
        all.push(ServerShare {
            upstream: target.upstream.name.to_string(),
            share: (upto - before) as f64 / total as f64,
            servers: servers.collect(),
            fallback: target.fallback.as_ref().map(|f| f.upstream.name.to_string()),
        });
        before = *upto;
    }
    all
}

pub(super) fn lossy_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
