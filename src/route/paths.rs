//! The second step of a lookup: from the path to the routes of one host that may match, in order.

use std::collections::HashMap;

use regex::{Regex, RegexSet, RegexSetBuilder};

use super::path::{MAX_SEGMENTS, PathPattern, Segments};
use super::spec::RouteSpec;

/// Patterns with captures that may match one path at once; a table with more would need more than
/// this many patterns that differ only in where they capture.
const MAX_PATTERNS: usize = 64;

/// Segments and whether more may follow: what makes two patterns the same.
type Shape<'a> = (Vec<Option<&'a [u8]>>, bool);

/// Routes that share host and path, most specific first.
type Ranked = Box<[u32]>;

/// The routes of one host by path.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<Box<[u8]>, Ranked>,
    prefixes: HashMap<Box<[u8]>, Ranked>,
    /// Segments of the deepest prefix: a request's path is not looked into further.
    deepest: usize,
    tree: Node,
    /// What the tree's leaves stand for.
    patterns: Box<[(usize, Ranked)]>,
    regexes: Regexes,
    any: Ranked,
}

/// One level of the tree of patterns with captures.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<[u8]>, Node>,
    capture: Option<Box<Node>>,
    /// The pattern that ends here.
    closed: Option<u32>,
    /// The pattern that ends here and allows more to follow.
    open: Option<u32>,
}

impl Paths {
    pub(super) fn new(specs: &[&RouteSpec], ids: &[u32]) -> Self {
        let mut exact: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        let mut prefixes: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        let mut patterns: Vec<(&Segments, Vec<u32>)> = Vec::new();
        let mut known: HashMap<Shape<'_>, usize> = HashMap::new();
        let mut regexes: Vec<(&Regex, Vec<u32>)> = Vec::new();
        let mut any = Vec::new();
        for id in ids {
            let Some(spec) = specs.get(*id as usize) else { continue };
            match &spec.path {
                PathPattern::Any => any.push(*id),
                PathPattern::Exact(path) => exact.entry(path.clone()).or_default().push(*id),
                PathPattern::Prefix(path) => prefixes.entry(path.clone()).or_default().push(*id),
                PathPattern::Segments(segments) => {
                    let key =
                        (segments.parts.iter().map(Option::as_deref).collect(), segments.open);
                    let at = *known.entry(key).or_insert_with(|| {
                        patterns.push((segments, Vec::new()));
                        patterns.len() - 1
                    });
                    if let Some((_, ids)) = patterns.get_mut(at) {
                        ids.push(*id);
                    }
                }
                PathPattern::Regex(regex) => {
                    let same = regexes.iter_mut().find(|(r, _)| r.as_str() == regex.as_str());
                    match same {
                        Some((_, ids)) => ids.push(*id),
                        None => regexes.push((regex, vec![*id])),
                    }
                }
            }
        }
        let rank = |ids: Vec<u32>| ranked(specs, ids);
        let depth = |path: &[u8]| path.iter().filter(|b| **b == b'/').count();
        let deepest = prefixes.keys().map(|p| depth(p)).max().unwrap_or(0).min(MAX_SEGMENTS);
        Self {
            deepest,
            tree: Node::of(&patterns),
            exact: exact.into_iter().map(|(path, ids)| (path, rank(ids))).collect(),
            prefixes: prefixes.into_iter().map(|(path, ids)| (path, rank(ids))).collect(),
            patterns: patterns.into_iter().map(|(s, ids)| (s.literal, rank(ids))).collect(),
            regexes: Regexes::new(regexes, rank),
            any: rank(any),
        }
    }

    /// Offers routes to `accept`, most specific first, until it takes one.
    pub(super) fn search(&self, path: &[u8], accept: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let mut first = |ids: &[u32]| ids.iter().copied().find(|id| accept(*id));
        if let Some(id) = self.exact.get(path).and_then(|ids| first(ids)) {
            return Some(id);
        }
        if let Some(id) = self.search_prefixes(path, &mut first) {
            return Some(id);
        }
        if let Some(id) = self.search_patterns(path, &mut first) {
            return Some(id);
        }
        self.regexes.search(path, &mut first).or_else(|| first(&self.any))
    }

    fn search_prefixes(
        &self,
        path: &[u8],
        first: &mut impl FnMut(&[u32]) -> Option<u32>,
    ) -> Option<u32> {
        if self.prefixes.is_empty() {
            return None;
        }
        // Where the first segments end: each is a prefix that may be in the table.
        let mut ends = [0_usize; MAX_SEGMENTS];
        let mut count = 0;
        let tail = path.get(1..).unwrap_or_default();
        let slashes = memchr::memchr_iter(b'/', tail).map(|at| at + 1);
        let candidates = slashes.chain(std::iter::once(path.len())).take(self.deepest);
        for (slot, end) in ends.iter_mut().zip(candidates) {
            *slot = end;
            count += 1;
        }
        for end in ends.get(..count)?.iter().rev() {
            if let Some(ids) = path.get(..*end).and_then(|prefix| self.prefixes.get(prefix))
                && let Some(id) = first(ids)
            {
                return Some(id);
            }
        }
        None
    }

    fn search_patterns(
        &self,
        path: &[u8],
        first: &mut impl FnMut(&[u32]) -> Option<u32>,
    ) -> Option<u32> {
        if self.patterns.is_empty() {
            return None;
        }
        let mut hits = Hits { ids: [0; MAX_PATTERNS], count: 0 };
        self.tree.collect(path.strip_prefix(b"/"), &mut hits);
        let hits = hits.ids.get_mut(..hits.count)?;
        let pattern = |id: &u32| self.patterns.get(*id as usize);
        hits.sort_unstable_by_key(|id| std::cmp::Reverse(pattern(id).map_or(0, |p| p.0)));
        hits.iter().find_map(|id| pattern(id).and_then(|(_, ids)| first(ids)))
    }
}

/// Patterns that match a path, in no order.
struct Hits {
    ids: [u32; MAX_PATTERNS],
    count: usize,
}

impl Hits {
    fn push(&mut self, id: Option<u32>) {
        if let Some(id) = id
            && let Some(slot) = self.ids.get_mut(self.count)
        {
            *slot = id;
            self.count += 1;
        }
    }
}

impl Node {
    fn of(patterns: &[(&Segments, Vec<u32>)]) -> Self {
        let mut root = Self::default();
        for (id, (segments, _)) in patterns.iter().enumerate() {
            let id = u32::try_from(id).unwrap_or(u32::MAX);
            let mut node = &mut root;
            for part in &segments.parts {
                node = match part {
                    Some(literal) => node.literal.entry(literal.clone()).or_default(),
                    None => node.capture.get_or_insert_default(),
                };
            }
            let end = if segments.open { &mut node.open } else { &mut node.closed };
            *end = Some(id);
        }
        root
    }

    /// Collects the patterns that match the rest of a path; `None` once it is used up.
    fn collect(&self, rest: Option<&[u8]>, hits: &mut Hits) {
        hits.push(self.open);
        let Some(rest) = rest else {
            hits.push(self.closed);
            return;
        };
        let (segment, after) = match memchr::memchr(b'/', rest) {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
            None => (rest, None),
        };
        if let Some(node) = self.literal.get(segment) {
            node.collect(after, hits);
        }
        if let Some(node) = &self.capture
            && !segment.is_empty()
        {
            node.collect(after, hits);
        }
    }
}

/// Sorts routes with the same host and path, independently of the file's order.
fn ranked(specs: &[&RouteSpec], mut ids: Vec<u32>) -> Ranked {
    let spec = |id: &u32| specs.get(*id as usize);
    ids.sort_by(|a, b| match (spec(a), spec(b)) {
        (Some(a), Some(b)) => b.rank().cmp(&a.rank()).then_with(|| a.name.cmp(&b.name)),
        _ => std::cmp::Ordering::Equal,
    });
    ids.into_boxed_slice()
}

/// Regular expressions, tried together where that is possible.
#[derive(Debug, Default)]
struct Regexes {
    routes: Box<[(Regex, Ranked)]>,
    /// All of them in one automaton; `None` where that would grow too large.
    set: Option<RegexSet>,
}

/// The largest automaton for all expressions of a host, in bytes.
const SET_SIZE: usize = 64 << 20;

impl Regexes {
    fn new(mut regexes: Vec<(&Regex, Vec<u32>)>, rank: impl Fn(Vec<u32>) -> Ranked) -> Self {
        // Longer expressions first: between two that match, the longer one says more.
        let text = |regex: &Regex| (std::cmp::Reverse(regex.as_str().len()), regex.to_string());
        regexes.sort_by_cached_key(|(regex, _)| text(regex));
        let set = RegexSetBuilder::new(regexes.iter().map(|(regex, _)| regex.as_str()))
            .size_limit(SET_SIZE)
            .build()
            .ok();
        let routes = regexes.into_iter().map(|(regex, ids)| (regex.clone(), rank(ids))).collect();
        Self { routes, set }
    }

    fn search(&self, path: &[u8], first: &mut impl FnMut(&[u32]) -> Option<u32>) -> Option<u32> {
        if self.routes.is_empty() {
            return None;
        }
        let path = std::str::from_utf8(path).ok()?;
        match &self.set {
            Some(set) => set
                .matches(path)
                .into_iter()
                .find_map(|at| self.routes.get(at).and_then(|(_, ids)| first(ids))),
            None => self
                .routes
                .iter()
                .filter(|(regex, _)| regex.is_match(path))
                .find_map(|(_, ids)| first(ids)),
        }
    }
}
