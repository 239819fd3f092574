//! Paths: several on one route, and paths that servers want as clients wrote them.

use std::time::Duration;

use support::{Configuration, Origin, Response, Tidegate, assert_problem, wait_until};

/// A raw route for packages, with another server for everything else.
fn raw(app: &Origin, rest: &Origin) -> Tidegate {
    let routes = r#"
        [[route]]
        host = "raw.test"
        path_encoding = "raw"
        upstream = "app"
        [[route]]
        host = "raw.test"
        path = "/admin/*"
        upstream = "rest"
        [[route]]
        host = "strip.test"
        path = "/%2F/{name}"
        path_encoding = "raw"
        upstream = "app"
        rewrite = { path = "/v/{name}" }
        [[route]]
        upstream = "rest"
    "#;
    Configuration::of(app).upstream("rest", [rest], "").toml(routes).start()
}

fn ask(proxy: &Tidegate, host: &str, target: &str) -> Response {
    proxy.client().exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

fn get(proxy: &Tidegate, host: &str, target: &str) -> u16 {
    ask(proxy, host, target).status
}

#[test]
fn one_route_can_have_several_paths() {
    let origin = Origin::ok("ok");
    let routes = r#"
        [[route]]
        path = ["/api/*", "/v2/{id}/{kind}", "/{kind}/old/{id}"]
        upstream = "app"
        [[route]]
        path = ["/x/{id}/{kind}", "/y/{kind}/{id}"]
        redirect = { to = "/{id}/{kind}" }
        [[route]]
        path = "/v2/*"
        method = "POST"
        respond = { status = 204 }
    "#;
    let proxy = Configuration::of(&origin).toml(routes).start();
    let mut client = proxy.client();
    for target in ["/api", "/api/1", "/v2/1/2", "/a/old/b"] {
        assert_eq!(client.get(target).status, 200, "{target}");
    }
    let seen: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/api", "/api/1", "/v2/1/2", "/a/old/b"]);
    assert_problem(&client.get("/v3"), 404, "no_route");
    assert_eq!(client.get("/x/7/blue").header("location"), Some("/7/blue"));
    assert_eq!(client.get("/y/blue/7").header("location"), Some("/7/blue"));
}

#[test]
fn p2_a_raw_route_forwards_every_byte_as_it_was_sent() {
    let (app, rest) = (Origin::ok("app"), Origin::ok("rest"));
    let proxy = raw(&app, &rest);
    let targets = [
        "/@scope%2fpkg",
        "/api/queues/%2F/q?x=%2f",
        "/projects/group%2Fproj",
        "/bucket//key//",
        "//",
        "/a%5cb\\c",
        "/%41%7e|^x",
        "/...",
        "/.well-known/x",
    ];
    for target in targets {
        assert_eq!(get(&proxy, "raw.test", target), 200, "{target}");
    }
    let seen: Vec<String> = app.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, targets);
    assert_eq!(rest.requests().len(), 0);
}

#[test]
fn p2_dot_segments_are_refused_on_a_raw_route() {
    let (app, rest) = (Origin::ok("app"), Origin::ok("rest"));
    let proxy = raw(&app, &rest);
    let targets =
        ["/a/../b", "/a/%2e%2e/b", "/a/.%2E", "/a%2f..%2fb", "/a/..%5Cb", "/./a", "/a/.", "/..;/a"];
    for target in targets {
        assert_eq!(get(&proxy, "raw.test", target), 400, "{target}");
    }
    assert_eq!((app.requests().len(), rest.requests().len()), (0, 0));
}

#[test]
fn p2_a_more_specific_route_keeps_what_would_get_past_it_by_another_spelling() {
    let (app, rest) = (Origin::ok("app"), Origin::ok("rest"));
    let proxy = raw(&app, &rest);
    for target in ["//admin/x", "/%61dmin/x", "/admin//x"] {
        assert_eq!(get(&proxy, "raw.test", target), 200, "{target}");
    }
    let seen: Vec<String> = rest.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(seen, ["/admin/x"; 3]);
    assert_eq!(app.requests().len(), 0);
}

#[test]
fn p2_encoded_slashes_do_not_lead_around_a_more_specific_route() {
    let (app, rest) = (Origin::ok("app"), Origin::ok("rest"));
    let proxy = raw(&app, &rest);
    // A server that decodes slashes would take these for what the other route is there for.
    for target in ["/admin%2fx", "/admin%2Fx%2fy?a", "/%2fadmin%5cx", "/%61dmin\\x", "/admin%2f"] {
        let answer = ask(&proxy, "raw.test", target);
        assert_problem(&answer, 400, "bad_request");
        assert!(answer.text().contains("ambiguous"), "{target}: {}", answer.text());
    }
    // Nobody's but this route's.
    for target in ["/administrator%2fx", "/x%2fadmin%2fx"] {
        assert_eq!(get(&proxy, "raw.test", target), 200, "{target}");
    }
    assert_eq!((app.requests().len(), rest.requests().len()), (2, 0));
}

/// What SECURITY.md says of servers that cut parameters off before they map a path.
#[test]
fn parameters_belong_to_their_segment_and_can_be_refused() {
    let origin = Origin::ok("ok");
    let routes = r#"
        [[route]]
        path = "/admin/*"
        respond = { status = 403 }
        [[route]]
        host = "servlets.test"
        path_regex = '^/admin(;|%3B)'
        respond = { status = 403 }
        [[route]]
        upstream = "app"
    "#;
    let proxy = Configuration::of(&origin).toml(routes).start();
    for target in ["/admin;a/x", "/admin%3ba/x", "/%61dmin;/x", "//admin;a"] {
        assert_eq!(get(&proxy, "servlets.test", target), 403, "{target}");
    }
    assert_eq!(get(&proxy, "a.test", "/admin/x;a"), 403);
    assert_eq!(origin.accepts(), 0);
    assert_eq!(get(&proxy, "a.test", "/admin;a/x"), 200);
    assert_eq!(origin.only_request().target, "/admin;a/x");
}

#[test]
fn p2_other_routes_stay_strict_and_the_log_names_the_key() {
    let (app, rest) = (Origin::ok("app"), Origin::ok("rest"));
    let proxy = raw(&app, &rest);
    assert_eq!(get(&proxy, "other.test", "/a%2Fb"), 400);
    wait_until(Duration::from_secs(5), "a line that names the key", || {
        proxy.log().contains("route.path_encoding")
    });
    assert_eq!(get(&proxy, "other.test", "/a//b"), 200);
    assert_eq!(rest.only_request().target, "/a/b");
    assert_eq!(get(&proxy, "strip.test", "/%2F/q%2fr"), 200);
    assert_eq!(app.only_request().target, "/v/q%2fr");
}
