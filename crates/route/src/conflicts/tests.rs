use super::*;

fn spec(path: &str) -> RouteSpec {
    RouteSpec {
        path: PathPattern::parse_pattern(path).unwrap(),
        ..RouteSpec::match_everything(path)
    }
}

fn header(spec: RouteSpec, name: &str, value: ValueMatch) -> RouteSpec {
    let condition = Condition { subject: ConditionSubject::Header(name.as_bytes().into()), value };
    RouteSpec { conditions: [condition].into(), ..spec }
}

fn method(spec: RouteSpec, method: &str) -> RouteSpec {
    RouteSpec { methods: [method.as_bytes().into()].into(), ..spec }
}

fn equals(text: &str) -> ValueMatch {
    ValueMatch::Equals(text.as_bytes().into())
}

#[test]
fn equal_matches_tie() {
    let tie = vec![Conflict::Tie { route: 1, with: 0 }];
    assert_eq!(find_conflicts(&[spec("/a/*"), spec("/a/*")]), tie);
    assert_eq!(find_conflicts(&[spec("/a/{x}"), spec("/a/{y}")]), tie);
    let pair = [
        header(spec("/a"), "x", ValueMatch::Present),
        header(spec("/a"), "y", ValueMatch::Present),
    ];
    assert_eq!(find_conflicts(&pair), tie);
}

#[test]
fn more_specific_or_exclusive_matches_do_not_tie() {
    assert_eq!(find_conflicts(&[spec("/a"), spec("/a/*"), spec("/*")]), []);
    assert_eq!(find_conflicts(&[spec("/a"), method(spec("/a"), "GET")]), []);
    assert_eq!(find_conflicts(&[method(spec("/a"), "POST"), method(spec("/a"), "GET")]), []);
    let values = [header(spec("/a"), "x", equals("1")), header(spec("/a"), "X", equals("2"))];
    assert_eq!(find_conflicts(&values), []);
    let absent =
        [header(spec("/a"), "x", ValueMatch::Absent), header(spec("/a"), "x", ValueMatch::Present)];
    assert_eq!(find_conflicts(&absent), []);
}

#[test]
fn a_pattern_below_a_prefix_is_shadowed() {
    let shadowed = vec![Conflict::Shadowed { route: 0, by: 1 }];
    assert_eq!(find_conflicts(&[spec("/api/{id}"), spec("/api/*")]), shadowed);
    let regex = PathPattern::Regex(regex::Regex::new("^/api/v[0-9]+/").unwrap());
    let regex = RouteSpec { path: regex, ..RouteSpec::match_everything("r") };
    assert_eq!(find_conflicts(&[regex, spec("/api/*")]), shadowed);
    assert_eq!(find_conflicts(&[spec("/api/{id}"), method(spec("/api/*"), "GET")]), []);
    assert_eq!(find_conflicts(&[spec("/api/{id}"), spec("/apix/*")]), []);
    assert_eq!(find_conflicts(&[spec("/api/{id}"), spec("/*")]), []);
}

#[test]
fn hosts_are_kept_apart() {
    let on = |host: &str, path: &str| RouteSpec {
        hosts: [HostPattern::Exact(host.into())].into(),
        ..spec(path)
    };
    assert_eq!(find_conflicts(&[on("a", "/x"), on("b", "/x"), spec("/x")]), []);
    assert_eq!(find_conflicts(&[on("a", "/x"), on("a", "/x")]).len(), 1);
}

#[test]
fn patterns_that_capture_in_different_places_tie_where_they_overlap() {
    let tie = vec![Conflict::Tie { route: 1, with: 0 }];
    assert_eq!(find_conflicts(&[spec("/{a}/x"), spec("/x/{b}")]), tie);
    assert_eq!(find_conflicts(&[spec("/{a}/x"), spec("/yy/{b}")]), []);
    assert_eq!(find_conflicts(&[spec("/{a}/x/p"), spec("/x/{b}/q")]), []);
    assert_eq!(find_conflicts(&[spec("/a/{x}"), spec("/a/{x}/*")]), []);
    assert_eq!(find_conflicts(&[method(spec("/{a}/x"), "GET"), spec("/x/{b}")]), []);
}

#[test]
fn a_route_does_not_tie_with_itself() {
    let a = || HostPattern::Exact("a".into());
    let twice = RouteSpec { hosts: [a(), a()].into(), ..spec("/x") };
    assert_eq!(find_conflicts(&[twice]), []);
}

#[test]
fn a_value_and_an_expression_that_does_not_match_it_do_not_tie() {
    let regex = || ValueMatch::Regex(regex::Regex::new("^2").unwrap());
    let on = |value| header(spec("/a"), "version", value);
    assert_eq!(find_conflicts(&[on(equals("1")), on(regex())]), []);
    assert_eq!(find_conflicts(&[on(equals("21")), on(regex())]).len(), 1);
}
