//! Which route matches, rule by rule.

mod definition;

use std::net::{IpAddr, Ipv4Addr};

use super::condition::{Condition, ConditionSubject, ValueMatch};
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

impl RouteQuery for Request {
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
    fn client(&self) -> Option<IpAddr> {
        Some(self.client)
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
        None => PathPattern::parse_pattern(path).unwrap(),
    };
    RouteSpec { hosts: hosts.into(), path, ..RouteSpec::match_everything(name) }
}

fn table(routes: &[RouteSpec]) -> RouteTable<String> {
    RouteTable::new(routes.iter().map(|r| (r.clone(), r.name.to_string())).collect())
}

fn find(table: &RouteTable<String>, request: &Request) -> Result<String, RouteMiss> {
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
    let condition = |name: &str, value| Condition {
        subject: ConditionSubject::Header(name.as_bytes().into()),
        value,
    };
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
    assert_eq!(find(&table, &Request::new("POST", "", "/a")), Err(RouteMiss::Method));
    assert_eq!(find(&table, &Request::new("POST", "", "/b")), Err(RouteMiss::NoRoute));
}

#[test]
fn query_cookie_and_client_conditions_are_looked_at() {
    let with = |subject, value| RouteSpec {
        conditions: [Condition { subject, value }].into(),
        ..route("hit", "", "/a")
    };
    let beta = table(&[with(
        ConditionSubject::Query(b"beta"[..].into()),
        ValueMatch::Equals(b"a b"[..].into()),
    )]);
    assert!(beta.find(&Request::new("GET", "", "/a?x=1&beta=a%20b")).is_ok());
    assert!(beta.find(&Request::new("GET", "", "/a?beta=ab")).is_err());
    let plan = table(&[with(ConditionSubject::Cookie(b"plan"[..].into()), ValueMatch::Present)]);
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

/// `name host path`, with a method or a header condition.
fn get(spec: RouteSpec) -> RouteSpec {
    RouteSpec { methods: [b"GET"[..].into()].into(), ..spec }
}

#[test]
fn among_patterns_of_equal_length_more_segments_win_and_then_a_closed_end() {
    let table = table(&[
        route("below", "", "/users/{id}/*"),
        route("one", "", "/users/{id}"),
        route("action", "", "/users/{id}/{action}"),
    ]);
    for (path, expected) in [
        ("/users/7", "one"),
        ("/users/7/edit", "action"),
        ("/users/7/", "below"),
        ("/users/7/edit/x", "below"),
    ] {
        assert_eq!(
            find(&table, &Request::new("GET", "h", path)).as_deref(),
            Ok(expected),
            "{path}"
        );
    }
}

#[test]
fn the_method_decides_between_expressions_and_between_patterns_of_equal_length() {
    let table = table(&[
        route("long regex", "", "~^/v[0-9]+/x?.*$"),
        get(route("get regex", "", "~^/v")),
        route("literal first", "", "/a/{x}"),
        get(route("get literal last", "", "/{x}/a")),
    ]);
    for (method, path, expected) in [
        ("GET", "/v1/x", "get regex"),
        ("POST", "/v1/x", "long regex"),
        ("GET", "/a/a", "get literal last"),
        ("POST", "/a/a", "literal first"),
    ] {
        let found = find(&table, &Request::new(method, "h", path));
        assert_eq!(found.as_deref(), Ok(expected), "{method} {path}");
    }
}

#[test]
fn no_pattern_is_forgotten_where_very_many_match() {
    // All 128 ways to write seven segments as text or capture; only one of them takes POST.
    let routes: Vec<RouteSpec> = (0..128_u32)
        .map(|mask| {
            let part =
                |bit: u32| if mask >> bit & 1 == 1 { format!("/{{c{bit}}}") } else { "/x".into() };
            let path: String = (0..7).map(part).collect();
            let spec = route(&path, "", &path);
            if mask == 127 { spec } else { get(spec) }
        })
        .collect();
    let found = find(&table(&routes), &Request::new("POST", "h", "/x/x/x/x/x/x/x"));
    assert_eq!(found.as_deref(), Ok("/{c0}/{c1}/{c2}/{c3}/{c4}/{c5}/{c6}"));
}

#[test]
fn patterns_are_matched_as_requests_are_normalised() {
    for (pattern, path) in [("/caf\u{e9}/*", "/caf%C3%A9/x"), ("/%41", "/A"), ("/a%3ab", "/a%3Ab")]
    {
        let table = table(&[route("hit", "", pattern)]);
        assert!(table.find(&Request::new("GET", "h", path)).is_ok(), "{pattern}");
    }
}
