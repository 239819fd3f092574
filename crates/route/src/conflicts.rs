//! Routes that get in each other's way: two that tie, and one that can never match.
//!
//! Only what is certain is reported. Two different expressions are not compared, nor is the text of
//! two expressions in conditions. A request that repeats a field with two values may meet
//! conditions that count as exclusive here. Routes are compared only with those that share their
//! host and an equally specific path, so the cost stays near linear.

mod shadow;

use std::collections::{BTreeMap, HashMap};

use self::shadow::find_shadowing;
use crate::condition::{Condition, ConditionSubject, ValueMatch};
use crate::path::{PathPattern, PathSegments, PatternRank};
use crate::spec::{HostPattern, RouteSpec};

/// One finding about two routes, as indices into what was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict {
    /// Some request matches both, and neither is more specific.
    Tie {
        /// The one further down in the file.
        route: usize,
        /// The one further up.
        with: usize,
    },
    /// Every request for `route` goes to `by`.
    Shadowed {
        /// The one that never matches.
        route: usize,
        /// The one that takes its requests.
        by: usize,
    },
}

/// Host and path as one key. Of routes with different keys, only patterns with captures can tie.
type ConflictKey<'a> = (Option<&'a HostPattern>, PathKey<'a>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum PathKey<'a> {
    Any,
    Exact(&'a [u8]),
    Prefix(&'a [u8]),
    Segments(Vec<Option<&'a [u8]>>, bool),
    Regex(&'a str),
}

/// Looks at all routes.
#[must_use]
pub fn find_conflicts(specs: &[RouteSpec]) -> Vec<Conflict> {
    let mut groups: HashMap<ConflictKey<'_>, Vec<usize>> = HashMap::new();
    for (id, spec) in specs.iter().enumerate() {
        for host in host_patterns(spec) {
            groups.entry((host, path_key(&spec.path))).or_default().push(id);
        }
    }
    let mut found = Vec::new();
    for ids in groups.values() {
        find_ties(specs, ids, &mut found);
    }
    find_overlaps(specs, &mut found);
    for (id, spec) in specs.iter().enumerate() {
        if let Some(by) = find_shadowing(specs, &groups, spec) {
            found.push(Conflict::Shadowed { route: id, by });
        }
    }
    found.sort_by_key(|conflict| match conflict {
        Conflict::Tie { route, with } => (*route, *with, 0),
        Conflict::Shadowed { route, by } => (*route, *by, 1),
    });
    found.dedup();
    found
}

fn host_patterns(spec: &RouteSpec) -> Vec<Option<&HostPattern>> {
    if spec.hosts.is_empty() { vec![None] } else { spec.hosts.iter().map(Some).collect() }
}

fn path_key(path: &PathPattern) -> PathKey<'_> {
    match path {
        PathPattern::Any => PathKey::Any,
        PathPattern::Exact(path) => PathKey::Exact(path),
        PathPattern::Prefix(path) => PathKey::Prefix(path),
        PathPattern::Segments(s) => {
            PathKey::Segments(s.parts.iter().map(Option::as_deref).collect(), s.open)
        }
        PathPattern::Regex(regex) => PathKey::Regex(regex.as_str()),
    }
}

/// The most routes with one host and path that are compared pair by pair.
const MAX_GROUP: usize = 500;

fn find_ties(specs: &[RouteSpec], ids: &[usize], found: &mut Vec<Conflict>) {
    for (at, b) in ids.iter().enumerate().take(MAX_GROUP) {
        let earlier = ids.get(..at).unwrap_or_default();
        let tie = earlier.iter().find(|a| match (specs.get(**a), specs.get(*b)) {
            // A route that names a host twice is in its group twice.
            (Some(x), Some(y)) => {
                *a != b && x.route_rank() == y.route_rank() && both_can_match(x, y)
            }
            _ => false,
        });
        if let Some(a) = tie {
            found.push(Conflict::Tie { route: *b, with: *a });
        }
    }
}

/// Patterns of one host that are equally specific.
type Alike<'a> = (Option<&'a HostPattern>, PatternRank);

/// A route and its pattern.
type ComparedPattern<'a> = (usize, &'a PathSegments);

/// Ties between patterns that capture in different places, like `/{a}/x` and `/x/{b}`.
fn find_overlaps(specs: &[RouteSpec], found: &mut Vec<Conflict>) {
    // By the places they capture, as bits: two patterns that capture in the same places overlap
    // only if they are the same, and then they have been compared.
    let mut alike: HashMap<Alike<'_>, BTreeMap<u64, Vec<ComparedPattern<'_>>>> = HashMap::new();
    for (id, spec) in specs.iter().enumerate() {
        let PathPattern::Segments(segments) = &spec.path else { continue };
        let places = capture_mask(segments);
        for host in host_patterns(spec) {
            let masks = alike.entry((host, segments.segment_rank())).or_default();
            masks.entry(places).or_default().push((id, segments));
        }
    }
    for masks in alike.values() {
        for (at, (mask, patterns)) in masks.iter().enumerate().take(MAX_MASKS) {
            for (other, others) in masks.iter().take(at) {
                // Both ways, so that each route that ties is named and not only each of one side.
                compare_pairs(specs, patterns, others, mask | other, found);
                compare_pairs(specs, others, patterns, mask | other, found);
            }
        }
    }
}

/// The most sets of places that are compared with each other.
const MAX_MASKS: usize = 64;

fn capture_mask(segments: &PathSegments) -> u64 {
    let captures = segments.parts.iter().enumerate().filter(|(_, part)| part.is_none());
    captures.fold(0, |mask, (at, _)| mask | 1 << at)
}

/// Compares those of two lists that have the same text wherever neither captures (outside `mask`).
fn compare_pairs(
    specs: &[RouteSpec],
    patterns: &[ComparedPattern<'_>],
    others: &[ComparedPattern<'_>],
    mask: u64,
    found: &mut Vec<Conflict>,
) {
    fn fixed_parts(segments: &PathSegments, mask: u64) -> Vec<&[u8]> {
        let parts = segments.parts.iter().enumerate();
        parts.filter(|(at, _)| mask >> at & 1 == 0).filter_map(|(_, p)| p.as_deref()).collect()
    }
    let mut by_text: HashMap<Vec<&[u8]>, Vec<ComparedPattern<'_>>> = HashMap::new();
    for (id, segments) in others {
        by_text.entry(fixed_parts(segments, mask)).or_default().push((*id, segments));
    }
    for (id, segments) in patterns {
        let candidates = by_text.get(&fixed_parts(segments, mask)).map_or(&[][..], Vec::as_slice);
        let tie = candidates.iter().take(MAX_GROUP).find(|(other, o)| {
            segments.overlaps_with(o)
                && match (specs.get(*id), specs.get(*other)) {
                    (Some(a), Some(b)) => a.route_rank() == b.route_rank() && both_can_match(a, b),
                    _ => false,
                }
        });
        if let Some((other, _)) = tie {
            found.push(Conflict::Tie { route: *id.max(other), with: *id.min(other) });
        }
    }
}

/// Returns whether one request can meet the methods, conditions, clients and listeners of both.
fn both_can_match(a: &RouteSpec, b: &RouteSpec) -> bool {
    fn sets_overlap<T: PartialEq>(a: &[T], b: &[T]) -> bool {
        a.is_empty() || b.is_empty() || a.iter().any(|item| b.contains(item))
    }
    let clients = a.clients.is_empty()
        || b.clients.is_empty()
        || a.clients.iter().any(|x| b.clients.iter().any(|y| x.contains(y) || y.contains(x)));
    sets_overlap(&a.methods, &b.methods)
        && sets_overlap(&a.listeners, &b.listeners)
        && clients
        && !a.conditions.iter().any(|x| b.conditions.iter().any(|y| conditions_exclude(x, y)))
}

/// Returns whether two conditions cannot both hold.
fn conditions_exclude(a: &Condition, b: &Condition) -> bool {
    if !same_subject(&a.subject, &b.subject) {
        return false;
    }
    match (&a.value, &b.value) {
        (ValueMatch::Equals(x), ValueMatch::Equals(y)) => x != y,
        (ValueMatch::Equals(text), ValueMatch::Regex(regex))
        | (ValueMatch::Regex(regex), ValueMatch::Equals(text)) => !is_match(regex, text),
        (ValueMatch::Absent, other) | (other, ValueMatch::Absent) => *other != ValueMatch::Absent,
        _ => false,
    }
}

fn is_match(regex: &regex::Regex, text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text))
}

/// Returns whether every request that meets `given` meets `asked`.
fn condition_implies(given: &Condition, asked: &Condition) -> bool {
    same_subject(&given.subject, &asked.subject)
        && match (&given.value, &asked.value) {
            (ValueMatch::Equals(_) | ValueMatch::Regex(_), ValueMatch::Present) => true,
            (ValueMatch::Equals(text), ValueMatch::Regex(regex)) => is_match(regex, text),
            (given, asked) => given == asked,
        }
}

fn same_subject(a: &ConditionSubject, b: &ConditionSubject) -> bool {
    match (a, b) {
        (ConditionSubject::Header(a), ConditionSubject::Header(b)) => a.eq_ignore_ascii_case(b),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests;
