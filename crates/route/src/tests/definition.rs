//! The table finds what a search by the definition finds.

use proptest::prelude::*;

use super::super::*;
use super::{Request, find, route, table};
use crate::condition::{Condition, ConditionSubject, ValueMatch};

/// How specific a route is for a request's host, by its path, and beyond.
type Specificity = ((u8, usize), (u8, path::PatternRank), spec::Rank);

/// The definition: how specifically a route matches a request, if it does.
fn specificity(route: &RouteSpec, request: &Request) -> Option<Specificity> {
    let host = |host: &HostPattern| match host {
        HostPattern::Exact(name) => (**name == *request.host).then_some((2, 0)),
        HostPattern::Below(name) => {
            request.host.strip_suffix(&**name)?.strip_suffix('.').map(|_| (1, name.len()))
        }
    };
    let host = match &*route.hosts {
        [] => (0, 0),
        hosts => hosts.iter().filter_map(host).max()?,
    };
    let none = (0, 0, false);
    let path = match &route.path {
        PathPattern::Exact(_) => (4, none),
        PathPattern::Prefix(prefix) => (3, (prefix.len(), 0, false)),
        PathPattern::Segments(segments) => (2, segments.segment_rank()),
        PathPattern::Regex(_) => (1, none),
        PathPattern::Any => (0, none),
    };
    let matches = route.path.matches_path(request.path.as_bytes())
        && route.admits_method(request.method.as_bytes())
        && route.conditions_hold(request);
    matches.then(|| (host, path, route.route_rank()))
}

const HOSTS: [&[&str]; 6] =
    [&[], &["*.test"], &["*.a.test"], &["a.test"], &["b.a.test"], &["a.test", "*.a.test"]];
const PATHS: [&str; 17] = [
    "",
    "/",
    "/a",
    "/a/*",
    "/a/b/*",
    "/a/b/c",
    "/{x}",
    "/{x}/b",
    "/a/{x}",
    "/a/{x}/*",
    "/a/{x}/c",
    "/a/{x}/{y}",
    "/{x}/b/c",
    "/{x}/*",
    "/{x}/{y}/*",
    "~^/a/.",
    "~^/.*b",
];
const METHODS: [&[&str]; 4] = [&[], &["GET"], &["POST"], &["GET", "POST"]];

/// A route from places in the lists above and a number that stands for its conditions.
fn picked((h, p, m, c): (usize, usize, usize, usize)) -> RouteSpec {
    let header = |name: &str, value| Condition {
        subject: ConditionSubject::Header(name.as_bytes().into()),
        value,
    };
    let equals = |text: &str| ValueMatch::Equals(text.as_bytes().into());
    let conditions = match c {
        0 => vec![],
        1 => vec![header("x", equals("1"))],
        2 => vec![header("x", ValueMatch::Present)],
        3 => vec![header("x", ValueMatch::Absent)],
        4 => vec![header("y", ValueMatch::Present)],
        _ => vec![header("x", equals("1")), header("y", ValueMatch::Present)],
    };
    let hosts = HOSTS[h].iter().flat_map(|host| route("", host, "").hosts.into_vec()).collect();
    RouteSpec {
        hosts,
        methods: METHODS[m].iter().map(|m| m.as_bytes().into()).collect(),
        conditions: conditions.into(),
        ..route(&format!("{h}-{p}-{m}-{c}"), "", PATHS[p])
    }
}

pub(super) fn routes() -> impl Strategy<Value = Vec<RouteSpec>> {
    let pick = (0..HOSTS.len(), 0..PATHS.len(), 0..METHODS.len(), 0_usize..6);
    // Few hosts and paths at a time, or routes would hardly ever meet.
    let some = prop::collection::btree_set(pick, 1..24);
    (some, 1..=HOSTS.len(), 1..=PATHS.len(), 0..PATHS.len()).prop_map(|(picks, h, p, from)| {
        let narrowed: std::collections::BTreeSet<_> = picks
            .into_iter()
            .map(|(host, path, m, c)| (host % h, (path % p + from) % PATHS.len(), m, c))
            .collect();
        narrowed.into_iter().map(picked).collect()
    })
}

fn requests() -> Vec<Request> {
    let mut requests = Vec::new();
    for host in ["a.test", "b.a.test", "c.b.a.test", "x", ""] {
        for path in ["/", "/a", "/a/", "/a/b", "/a/b/c", "/x/b", "/x/b/c", "/a/x/c", "/a/x/", "/ab"]
        {
            for (method, x, y) in [
                ("GET", None, false),
                ("POST", Some("1"), true),
                ("GET", Some("2"), false),
                ("PUT", Some("1"), false),
                ("GET", None, true),
            ] {
                let mut request = Request::new(method, host, path);
                if let Some(x) = x {
                    request = request.with("X", x);
                }
                requests.push(if y { request.with("Y", "") } else { request });
            }
        }
    }
    requests
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_table_agrees_with_its_definition(routes in routes()) {
        let mut reversed = routes.clone();
        reversed.reverse();
        let (forth, back) = (table(&routes), table(&reversed));
        for request in requests() {
            let found = find(&forth, &request).ok();
            let best = routes.iter().filter_map(|r| specificity(r, &request)).max();
            let taken = routes.iter().find(|r| Some(&*r.name) == found.as_deref());
            prop_assert_eq!(taken.and_then(|r| specificity(r, &request)), best);
            prop_assert_eq!(find(&back, &request).ok(), found);
        }
    }

    #[test]
    fn what_is_reported_shadowed_never_matches_and_what_ties_is_reported(routes in routes()) {
        let conflicts = conflicts::find_conflicts(&routes);
        let table = table(&routes);
        for request in requests() {
            let found = find(&table, &request).ok();
            for conflict in &conflicts {
                if let conflicts::Conflict::Shadowed { route, .. } = conflict {
                    prop_assert_ne!(Some(&*routes[*route].name), found.as_deref());
                }
            }
            let Some(best) = routes.iter().filter_map(|r| specificity(r, &request)).max() else {
                continue;
            };
            let is_best = |r: &RouteSpec| specificity(r, &request) == Some(best);
            let tied: Vec<usize> = (0..routes.len())
                .filter(|at| is_best(&routes[*at]))
                .filter(|at| !matches!(routes[*at].path, PathPattern::Regex(_)))
                .collect();
            // Each route but the first one has a tie reported with some other one.
            for at in tied.iter().skip(1) {
                let reported = conflicts.iter().any(|conflict| {
                    matches!(conflict, conflicts::Conflict::Tie { route, with } if route == at || with == at)
                });
                prop_assert!(reported, "{} for {} {}", routes[*at].name, request.host, request.path);
            }
        }
    }
}
