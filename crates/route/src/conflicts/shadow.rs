//! Routes that another one leaves nothing.

use std::collections::HashMap;

use super::{ConflictKey, PathKey, condition_implies, host_patterns};
use crate::path::PathPattern;
use crate::spec::RouteSpec;

/// A route that takes all requests of `spec`: one with a more specific kind of path that covers it
/// for every one of its hosts, and that asks for no more.
pub(super) fn find_shadowing(
    specs: &[RouteSpec],
    groups: &HashMap<ConflictKey<'_>, Vec<usize>>,
    spec: &RouteSpec,
) -> Option<usize> {
    let covering = covering_prefixes(&spec.path);
    let mut by = None;
    for host in host_patterns(spec) {
        let taker = covering.iter().find_map(|prefix| {
            let ids = groups.get(&(host, PathKey::Prefix(prefix)))?;
            ids.iter().copied().find(|id| specs.get(*id).is_some_and(|s| asks_no_more(s, spec)))
        });
        by = Some(taker?);
    }
    by
}

/// Returns whether every request that meets `b` beyond host and path meets `a` too.
fn asks_no_more(a: &RouteSpec, b: &RouteSpec) -> bool {
    fn set_covers<T: PartialEq>(a: &[T], b: &[T]) -> bool {
        a.is_empty() || !b.is_empty() && b.iter().all(|item| a.contains(item))
    }
    let clients = a.clients.is_empty()
        || !b.clients.is_empty()
            && b.clients.iter().all(|inner| a.clients.iter().any(|outer| outer.contains(inner)));
    set_covers(&a.methods, &b.methods)
        && set_covers(&a.listeners, &b.listeners)
        && clients
        && a.conditions
            .iter()
            .all(|asked| b.conditions.iter().any(|given| condition_implies(given, asked)))
}

/// Prefixes that, if they are routes, come before this path and match everything it matches.
fn covering_prefixes(path: &PathPattern) -> Vec<Vec<u8>> {
    let literal: Vec<u8> = match path {
        PathPattern::Segments(segments) => segments
            .parts
            .iter()
            .map_while(Option::as_deref)
            .flat_map(|part| [b"/", part].concat())
            .collect(),
        PathPattern::Regex(regex) => literal_start(regex.as_str()),
        // Exact paths come before prefixes, longer prefixes before shorter ones.
        PathPattern::Any | PathPattern::Exact(_) | PathPattern::Prefix(_) => Vec::new(),
    };
    let ends = literal.iter().enumerate().skip(1).filter(|(_, b)| **b == b'/').map(|(at, _)| at);
    let whole = matches!(path, PathPattern::Segments(_)).then_some(literal.len());
    ends.chain(whole)
        .filter_map(|end| literal.get(..end).map(<[u8]>::to_vec))
        .filter(|prefix| !prefix.is_empty())
        .collect()
}

/// Returns the plain text that every match of an anchored expression starts with.
fn literal_start(regex: &str) -> Vec<u8> {
    let Some(rest) = regex.strip_prefix('^') else { return Vec::new() };
    if rest.contains('|') {
        return Vec::new();
    }
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_');
    let mut literal: Vec<u8> = rest.bytes().take_while(|b| plain(b)).collect();
    // A repetition that follows may make the last character optional.
    if literal.len() < rest.len() {
        literal.pop();
    }
    literal
}
