//! The second step of a lookup: from the path to the routes of one host that may match, in order.

use std::cmp::Reverse;
use std::collections::HashMap;

use regex::{Regex, RegexSet, RegexSetBuilder};

use super::path::{MAX_SEGMENTS, PathPattern, PathSegments, PatternRank};
use super::spec::RouteSpec;

/// Patterns with captures that may match one path at once without an allocation. More need patterns
/// that differ only in where they capture, many times over.
const FEW_PATTERNS: usize = 64;

/// Segments and whether more may follow: what makes two patterns the same.
type PathShape<'a> = (Vec<Option<&'a [u8]>>, bool);

/// Routes that share host and path, ascending, which is most specific first.
type Ranked = Box<[u32]>;

/// The routes of one host by path.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: HashMap<Box<[u8]>, Ranked>,
    prefixes: HashMap<Box<[u8]>, Ranked>,
    /// Segments of the deepest prefix: a request's path is not looked into further.
    deepest: usize,
    tree: PathNode,
    /// The patterns that the tree's leaves stand for, most specific first.
    patterns: Box<[(PatternRank, Ranked)]>,
    regexes: Regexes,
    any: Ranked,
}

/// One level of the tree of patterns with captures.
#[derive(Debug, Default)]
struct PathNode {
    literal: HashMap<Box<[u8]>, PathNode>,
    capture: Option<Box<PathNode>>,
    /// The pattern that ends here.
    closed: Option<u32>,
    /// The pattern that ends here and allows more to follow.
    open: Option<u32>,
}

impl PathIndex {
    /// `ids` are places in `specs`, ascending.
    pub(super) fn new(specs: &[&RouteSpec], ids: &[u32]) -> Self {
        let mut exact: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        let mut prefixes: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
        let mut patterns: Vec<(&PathSegments, Vec<u32>)> = Vec::new();
        let mut known: HashMap<PathShape<'_>, usize> = HashMap::new();
        let mut regexes: Vec<(&Regex, u32)> = Vec::new();
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
                PathPattern::Regex(regex) => regexes.push((regex, *id)),
            }
        }
        patterns.sort_by_key(|(segments, _)| Reverse(segments.segment_rank()));
        let depth = |path: &[u8]| path.iter().filter(|b| **b == b'/').count();
        let deepest = prefixes.keys().map(|p| depth(p)).max().unwrap_or(0).min(MAX_SEGMENTS);
        Self {
            deepest,
            tree: PathNode::from_patterns(&patterns),
            exact: exact.into_iter().map(|(path, ids)| (path, ids.into())).collect(),
            prefixes: prefixes.into_iter().map(|(path, ids)| (path, ids.into())).collect(),
            patterns: patterns.into_iter().map(|(s, ids)| (s.segment_rank(), ids.into())).collect(),
            regexes: Regexes::new(specs, &regexes),
            any: any.into(),
        }
    }

    /// Offers routes to `accept`, most specific first, until it takes one.
    pub(super) fn search_paths(
        &self,
        path: &[u8],
        accept: &mut impl FnMut(u32) -> bool,
    ) -> Option<u32> {
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
        self.regexes.search_regexes(path, &mut first).or_else(|| first(&self.any))
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
        let mut hits = PathHits { few: [0; FEW_PATTERNS], count: 0, more: Vec::new() };
        self.tree.collect_hits(path.strip_prefix(b"/"), &mut hits);
        let hits = hits.sorted_hits();
        let pattern = |hit: &u32| self.patterns.get(*hit as usize);
        let rank = |hit: &u32| pattern(hit).map(|(rank, _)| *rank);
        hits.chunk_by(|a, b| rank(a) == rank(b)).find_map(|alike| {
            let routes = || alike.iter().filter_map(|hit| pattern(hit).map(|(_, ids)| &**ids));
            match alike {
                [_] => routes().find_map(&mut *first),
                _ => search_merged(routes, first),
            }
        })
    }
}

/// Offers the routes of patterns that are equally specific as if they were one list.
fn search_merged<'a, I: Iterator<Item = &'a [u32]>>(
    lists: impl Fn() -> I,
    first: &mut impl FnMut(&[u32]) -> Option<u32>,
) -> Option<u32> {
    let mut done = None;
    loop {
        let after = |ids: &'a [u32]| ids.get(ids.partition_point(|id| Some(*id) <= done)).copied();
        let next = lists().filter_map(after).min()?;
        if let Some(id) = first(&[next]) {
            return Some(id);
        }
        done = Some(next);
    }
}

/// Patterns that match a path.
struct PathHits {
    few: [u32; FEW_PATTERNS],
    count: usize,
    /// The entries that did not fit; empty but for tables made to be slow.
    more: Vec<u32>,
}

impl PathHits {
    fn push_hit(&mut self, id: Option<u32>) {
        let Some(id) = id else { return };
        match self.few.get_mut(self.count) {
            Some(slot) => {
                *slot = id;
                self.count += 1;
            }
            None => self.more.push(id),
        }
    }

    /// Most specific first.
    fn sorted_hits(&mut self) -> &[u32] {
        let few = self.few.get_mut(..self.count).unwrap_or_default();
        let all = if self.more.is_empty() {
            few
        } else {
            self.more.extend_from_slice(few);
            &mut self.more[..]
        };
        all.sort_unstable();
        all
    }
}

impl PathNode {
    fn from_patterns(patterns: &[(&PathSegments, Vec<u32>)]) -> Self {
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
    fn collect_hits(&self, rest: Option<&[u8]>, hits: &mut PathHits) {
        hits.push_hit(self.open);
        let Some(rest) = rest else {
            hits.push_hit(self.closed);
            return;
        };
        let (segment, after) = match memchr::memchr(b'/', rest) {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
            None => (rest, None),
        };
        if let Some(node) = self.literal.get(segment) {
            node.collect_hits(after, hits);
        }
        if let Some(node) = &self.capture
            && !segment.is_empty()
        {
            node.collect_hits(after, hits);
        }
    }
}

/// Regular expressions, tried together where that is possible.
#[derive(Debug, Default)]
struct Regexes {
    expressions: Box<[Regex]>,
    /// All of them in one automaton; `None` where that would grow too large.
    set: Option<RegexSet>,
    /// Routes with the place of their expression, most specific first.
    routes: Box<[(usize, u32)]>,
}

/// The largest automaton for all expressions of a host, in bytes.
const SET_SIZE: usize = 64 << 20;

impl Regexes {
    fn new(specs: &[&RouteSpec], regexes: &[(&Regex, u32)]) -> Self {
        let mut expressions: Vec<Regex> = Vec::new();
        let mut known: HashMap<&str, usize> = HashMap::new();
        let mut routes = Vec::with_capacity(regexes.len());
        for (regex, id) in regexes {
            let at = *known.entry(regex.as_str()).or_insert_with(|| {
                expressions.push((*regex).clone());
                expressions.len() - 1
            });
            routes.push((at, *id));
        }
        // All expressions are equally specific. Between two routes that nothing else tells apart,
        // the longer expression says more.
        let rank = |id: u32| specs.get(id as usize).map(|spec| spec.route_rank());
        let length = |at: usize| expressions.get(at).map(|regex| regex.as_str().len());
        routes.sort_by_key(|(at, id)| (Reverse(rank(*id)), Reverse(length(*at)), *id));
        let set = RegexSetBuilder::new(expressions.iter().map(Regex::as_str))
            .size_limit(SET_SIZE)
            .build()
            .ok();
        Self { expressions: expressions.into(), set, routes: routes.into() }
    }

    fn search_regexes(
        &self,
        path: &[u8],
        first: &mut impl FnMut(&[u32]) -> Option<u32>,
    ) -> Option<u32> {
        if self.routes.is_empty() {
            return None;
        }
        let path = std::str::from_utf8(path).ok()?;
        let hits = self.set.as_ref().map(|set| set.matches(path));
        let matches = |at: usize| match &hits {
            Some(hits) => hits.matched(at),
            None => self.expressions.get(at).is_some_and(|regex| regex.is_match(path)),
        };
        self.routes.iter().filter(|(at, _)| matches(*at)).find_map(|(_, id)| first(&[*id]))
    }
}
