use super::*;

fn named(routes: &[&str]) -> Vec<String> {
    let routes: String = routes
        .iter()
        .map(|route| format!("[[route]]\n{route}\nrespond = {{ status = 200 }}\n"))
        .collect();
    let text = format!(
        "[[listen]]\nname = 'in'\naddress = '127.0.0.1:1'\n\
             [[listen]]\nname = 'out'\naddress = '127.0.0.1:2'\n{routes}"
    );
    names(&crate::load_str("t.toml", &text).unwrap().config.route)
}

#[test]
fn i8_a_derived_name_is_all_of_the_match() {
    let routes = [
        "path = '/a'",
        "path = '/a'\nlisten = 'in'",
        "path = '/a'\nlisten = 'out'",
        "path = '/a'\nheaders = { x = '1' }",
        "path = '/a'\nheaders = { x = '2' }",
        "path = '/a'\nheaders = { x = true, y = false }",
        "path = '/a'\nquery = { x = '1' }",
        "path = '/a'\ncookies = { x = { regex = '^1' } }",
        "path = '/a'\nclient = ['10.0.0.0/8']\ntls = true",
        "path = '/a'\nclient_cert = { san = 'a' }",
        "path = '/a'\nhost = ['a.test', 'b.test']",
        "path = '/a'\nhost = ['a.test', 'c.test']",
        "path = '/a'\nmethod = ['GET', 'PUT']\nhost = 'd.test'",
    ];
    let expected = [
        "/a",
        "/a listen=\"in\"",
        "/a listen=\"out\"",
        "/a header:x=6b86b273",
        "/a header:x=d4735e3a",
        "/a header:x=true header:y=false",
        "/a query:\"x\"=6b86b273",
        "/a cookie:\"x\"~29a5cd36",
        "/a tls=true client=10.0.0.0/8",
        "/a client_cert.san=ca978112",
        "a.test,b.test/a",
        "a.test,c.test/a",
        "GET,PUT d.test/a",
    ];
    // One at a time: routes of such kinds may tie, and a name does not depend on other routes.
    let each: Vec<String> = routes.iter().flat_map(|route| named(&[route])).collect();
    assert_eq!(each, expected);
}

#[test]
fn i8_names_that_would_be_equal_are_told_apart() {
    let routes = ["name = '/a'\npath = '/b'", "path = '/a'"];
    assert_eq!(named(&routes), ["/a", "/a (2)"]);
}
