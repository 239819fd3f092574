//! The table against its definition.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::condition::{Condition, Subject, ValueMatch};
use super::*;

struct Request {
    host: String,
    path: String,
    query: Option<String>,
    method: String,
    fields: Fields,
    client: IpAddr,
}

impl Request {
    fn new(method: &str, host: &str, path: &str) -> Self {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (path, None),
        };
        Self {
            host: host.into(),
            path: path.into(),
            query,
            method: method.into(),
            fields: Fields::default(),
            client: Ipv4Addr::LOCALHOST.into(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push(name.as_bytes(), value.as_bytes());
        self
    }
}

impl Ask for Request {
    fn listener(&self) -> u16 {
        0
    }
    fn host(&self) -> &str {
        &self.host
    }
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn fields(&self) -> &Fields {
        &self.fields
    }
    fn client(&self) -> IpAddr {
        self.client
    }
}

fn route(name: &str, host: &str, path: &str) -> RouteSpec {
    let hosts = match (host, host.strip_prefix("*.")) {
        ("", _) => vec![],
        (_, Some(below)) => vec![HostPattern::Below(below.into())],
        (exact, None) => vec![HostPattern::Exact(exact.into())],
    };
    let path = match path.strip_prefix('~') {
        Some(regex) => PathPattern::Regex(regex::Regex::new(regex).unwrap()),
        None if path.is_empty() => PathPattern::Any,
        None => PathPattern::parse(path).unwrap(),
    };
    RouteSpec { hosts: hosts.into(), path, ..RouteSpec::everything(name) }
}

fn table(routes: &[RouteSpec]) -> RouteTable<String> {
    RouteTable::new(routes.iter().map(|r| (r.clone(), r.name.to_string())).collect())
}

fn find(table: &RouteTable<String>, request: &Request) -> Result<String, Miss> {
    table.find(request).map(|found| found.route.clone())
}

#[test]
fn the_most_specific_host_wins() {
    let table = table(&[
        route("any", "", "/*"),
        route("short", "*.test", "/*"),
        route("long", "*.a.test", "/*"),
        route("exact", "b.a.test", "/*"),
    ]);
    for (host, expected) in [
        ("b.a.test", "exact"),
        ("c.a.test", "long"),
        ("x.c.a.test", "long"),
        ("a.test", "short"),
        ("test", "any"),
        ("", "any"),
    ] {
        assert_eq!(
            find(&table, &Request::new("GET", host, "/")).as_deref(),
            Ok(expected),
            "{host}"
        );
    }
}

#[test]
fn the_most_specific_path_wins() {
    let table = table(&[
        route("any", "", ""),
        route("regex", "", "~^/r/[0-9]+$"),
        route("capture", "", "/c/{x}"),
        route("longer", "", "/c/{x}/details"),
        route("short", "", "/p/*"),
        route("long", "", "/p/q/*"),
        route("exact", "", "/p/q/r"),
    ]);
    for (path, expected) in [
        ("/p/q/r", "exact"),
        ("/p/q/s", "long"),
        ("/p/q", "long"),
        ("/p/x", "short"),
        ("/p", "short"),
        ("/px", "any"),
        ("/c/1", "capture"),
        ("/c/1/details", "longer"),
        ("/c/1/other", "any"),
        ("/r/12", "regex"),
        ("/r/x", "any"),
    ] {
        assert_eq!(
            find(&table, &Request::new("GET", "h", path)).as_deref(),
            Ok(expected),
            "{path}"
        );
    }
}

#[test]
fn a_failed_condition_falls_through_to_less_specific_routes() {
    let condition =
        |name: &str, value| Condition { subject: Subject::Header(name.as_bytes().into()), value };
    let premium = RouteSpec {
        conditions: [condition("user-type", ValueMatch::Equals(b"premium"[..].into()))].into(),
        ..route("premium", "a.test", "/p/q")
    };
    let table = table(&[premium, route("prefix", "a.test", "/p/*"), route("any", "", "/p/q")]);
    let request = || Request::new("GET", "a.test", "/p/q");
    assert_eq!(find(&table, &request().with("User-Type", "premium")).as_deref(), Ok("premium"));
    assert_eq!(find(&table, &request().with("User-Type", "basic")).as_deref(), Ok("prefix"));
    assert_eq!(find(&table, &Request::new("GET", "b.test", "/p/q")).as_deref(), Ok("any"));
}

#[test]
fn a_wrong_method_is_told_apart_from_no_route() {
    let only_get = RouteSpec { methods: [b"GET"[..].into()].into(), ..route("get", "", "/a") };
    let table = table(&[only_get]);
    assert_eq!(find(&table, &Request::new("POST", "", "/a")), Err(Miss::Method));
    assert_eq!(find(&table, &Request::new("POST", "", "/b")), Err(Miss::NoRoute));
}

#[test]
fn query_cookie_and_client_conditions_are_looked_at() {
    let with = |subject, value| RouteSpec {
        conditions: [Condition { subject, value }].into(),
        ..route("hit", "", "/a")
    };
    let beta =
        table(&[with(Subject::Query(b"beta"[..].into()), ValueMatch::Equals(b"a b"[..].into()))]);
    assert!(beta.find(&Request::new("GET", "", "/a?x=1&beta=a%20b")).is_ok());
    assert!(beta.find(&Request::new("GET", "", "/a?beta=ab")).is_err());
    let plan = table(&[with(Subject::Cookie(b"plan"[..].into()), ValueMatch::Present)]);
    assert!(plan.find(&Request::new("GET", "", "/a").with("Cookie", "x=1; plan=gold")).is_ok());
    assert!(plan.find(&Request::new("GET", "", "/a").with("Cookie", "plans=gold")).is_err());
    let inside =
        RouteSpec { clients: ["10.0.0.0/8".parse().unwrap()].into(), ..route("in", "", "/a") };
    let inside = table(&[inside]);
    let mut request = Request::new("GET", "", "/a");
    assert!(inside.find(&request).is_err());
    request.client = "::ffff:10.1.2.3".parse().unwrap();
    assert!(inside.find(&request).is_ok());
}

/// The definition: every route is tried, and the best by the documented order is taken.
fn naive<'r>(routes: &'r [RouteSpec], request: &Request) -> Option<&'r str> {
    let host_rank = |spec: &RouteSpec| -> Option<(u8, usize)> {
        if spec.hosts.is_empty() {
            return Some((0, 0));
        }
        let rank = |host: &HostPattern| match host {
            HostPattern::Exact(name) => (**name == *request.host).then_some((2, 0)),
            HostPattern::Below(name) => {
                request.host.strip_suffix(&**name)?.strip_suffix('.').map(|_| (1, name.len()))
            }
        };
        spec.hosts.iter().filter_map(rank).max()
    };
    let path_rank = |path: &PathPattern| match path {
        PathPattern::Exact(_) => (4, 0),
        PathPattern::Prefix(prefix) => (3, prefix.len()),
        PathPattern::Segments(segments) => (2, segments.literal),
        PathPattern::Regex(_) => (1, 0),
        PathPattern::Any => (0, 0),
    };
    routes
        .iter()
        .filter(|r| {
            r.path.matches(request.path.as_bytes()) && r.admits_method(request.method.as_bytes())
        })
        .filter_map(|r| Some((host_rank(r)?, path_rank(&r.path), r.rank(), r)))
        .max_by_key(|(host, path, rank, _)| (*host, *path, *rank))
        .map(|(.., r)| &*r.name)
}

proptest! {
    #[test]
    fn the_table_agrees_with_its_definition(
        picks in prop::collection::btree_set((0_usize..5, 0_usize..9, 0_usize..3), 1..20),
        host in prop::sample::select(vec!["a.test", "b.a.test", "c.b.a.test", "x", ""]),
        path in prop::sample::select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "/x/b", "/a/x/c", "/ab"]),
        method in prop::sample::select(vec!["GET", "POST"]),
    ) {
        let hosts = ["", "*.test", "*.a.test", "a.test", "b.a.test"];
        let paths = ["", "/a", "/a/*", "/a/b/*", "/a/b/c", "/{x}/b", "/a/{x}/c", "/{x}/*", "~^/a/."];
        let methods: [&[&str]; 3] = [&[], &["GET"], &["POST"]];
        let routes: Vec<RouteSpec> = picks
            .iter()
            .map(|(h, p, m)| RouteSpec {
                methods: methods[*m].iter().map(|m| m.as_bytes().into()).collect(),
                ..route(&format!("{h}-{p}-{m}"), hosts[*h], paths[*p])
            })
            .collect();
        let request = Request::new(method, host, path);
        let found = find(&table(&routes), &request).ok();
        prop_assert_eq!(found.as_deref(), naive(&routes, &request));
        let mut reversed = routes.clone();
        reversed.reverse();
        prop_assert_eq!(find(&table(&reversed), &request).ok(), found);
    }
}
