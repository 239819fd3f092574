use super::{PathEncoding, pattern};

#[test]
fn whole_segments_are_text_or_captures_or_a_last_star() {
    for path in ["/", "/a", "/a/", "/a/*", "/*", "/a/{id}/b", "/{a}/{b}/*", "/a//b"] {
        assert!(pattern(path, PathEncoding::Strict).is_ok(), "{path}");
    }
    for path in [
        "", "a", "*", "/a*", "/*/a", "/{}", "/{a}/{a}", "/a{b}", "/{a", "/a}", "/a?b", "/a b",
        "/../a", "/{a-b}", "/\n",
    ] {
        assert!(pattern(path, PathEncoding::Raw).is_err(), "{path}");
    }
}

/// Returns what is found about these routes, each with a line for its match.
fn findings(routes: &[&str]) -> Vec<String> {
    let head = "[[listen]]\naddress = '127.0.0.1:0'\n".to_owned();
    let routes = routes.iter().map(|lines| format!("[[route]]\n{lines}\nrespond = {{}}\n"));
    let text = head + &routes.collect::<String>();
    match crate::load_str("t.toml", &text) {
        Ok(loaded) => loaded.findings.into_iter().map(|finding| finding.message).collect(),
        Err(failed) => failed.findings.into_iter().map(|finding| finding.message).collect(),
    }
}

#[test]
fn paths_of_an_array_are_compared_with_those_of_other_routes_only() {
    assert_eq!(findings(&["path = ['/a/*', '/{x}/b', '/c/{y}']", "path = '/d'"]), [""; 0]);
    let tie = "the routes `/a,/b` and `/b,/a` tie: some requests match both";
    assert_eq!(findings(&["path = ['/a', '/b']", "path = ['/b', '/a']"]), [tie]);
    let shadowed = "the path `/c/{y}` of the route `/a,/c/{y}` can never match";
    assert_eq!(findings(&["path = ['/a', '/c/{y}']", "path = '/c/*'"]), [shadowed]);
    let twice = "`/a` stands twice in this array";
    assert_eq!(findings(&["path = ['/a', '/a']"]), [twice]);
}

#[test]
fn a_capture_that_not_all_paths_have_is_unknown() {
    let route = "path = ['/a/{x}', '/b/{x}/{y}']\nredirect = { to = '/{y}' }";
    let text = format!("[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\n{route}\n");
    let failed = crate::load_str("t.toml", &text).unwrap_err();
    assert_eq!(failed.findings[0].message, "`{y}` is not known here");
}

#[test]
fn a_group_that_the_expression_has_not_is_unknown() {
    let found = |to: &str| {
        let route = format!("path_regex = '^/a/(x)/(?<id>y)$'\nredirect = {{ to = '{to}' }}");
        let text = format!("[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\n{route}\n");
        let failed = crate::load_str("t.toml", &text).err()?;
        failed.findings.into_iter().next().map(|first| first.message)
    };
    for (to, name) in
        [("/$3", "3"), ("/{3}", "3"), ("/$ix", "ix"), ("/{ix}", "ix"), ("/$1x", "1x"), ("/$", "")]
    {
        let message = found(to).unwrap_or_else(|| panic!("{to} is taken"));
        assert_eq!(message, format!("`{{{name}}}` is not known here"), "{to}");
    }
    for to in ["/$1", "/{1}", "/$${1}x", "/$id", "/{id}", "/$2", "/$$1", "/{path}"] {
        assert_eq!(found(to), None, "{to}");
    }
}

#[test]
fn a_redirect_has_a_rest_of_the_path_only_where_the_path_has_one() {
    let found = |path: &str| {
        let route = format!("path = {path}\nredirect = {{ to = 'https://b.test/*' }}");
        let text = format!("[[listen]]\naddress = '127.0.0.1:0'\n[[route]]\n{route}\n");
        crate::load_str("t.toml", &text).err().map(|f| f.findings[0].message.clone())
    };
    let said = "`*` is the rest of a path, and this route's path does not end with `/*`";
    assert_eq!(found("'/a'").as_deref(), Some(said));
    assert_eq!(found("['/a/*', '/b']").as_deref(), Some(said));
    assert_eq!(found("['/a/*', '/{b}/*']"), None);
}

#[test]
fn p2_raw_paths_may_have_empty_segments_and_encoded_slashes() {
    let raw = "path_encoding = 'raw'";
    assert_eq!(findings(&[&format!("path = '/b//%2F/*'\n{raw}")]), [""; 0]);
    assert_eq!(findings(&["path = '/b%2Fx'"]).len(), 1);
    assert_eq!(findings(&[&format!("path = '/a%2f..'\n{raw}")]).len(), 1);
}
