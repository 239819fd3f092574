//! Routes that change the target, answer by themselves, or share their traffic.

use crate::setup::one;
use support::{Configuration, Origin, Request, assert_problem};

/// What the origin sees of a request for `target` under this route.
fn rewritten(route: &str, target: &str) -> Request {
    let origin = Origin::ok("ok");
    let proxy = one(&origin).route(route).start();
    assert_eq!(proxy.client().get(target).status, 200);
    origin.only_request()
}

#[test]
fn strip_prefix_removes_the_front_of_the_path() {
    let route = "path = \"/api/*\"\nrewrite = { strip_prefix = \"/api\" }";
    assert_eq!(rewritten(route, "/api/users?x=1").target, "/users?x=1");
    assert_eq!(rewritten(route, "/api/").target, "/");
}

#[test]
fn prefix_goes_before_what_is_left() {
    let route = "path = \"/api/*\"\nrewrite = { strip_prefix = \"/api\", prefix = \"/v2\" }";
    assert_eq!(rewritten(route, "/api/users").target, "/v2/users");
}

#[test]
fn path_is_built_from_captures() {
    let route = "path = \"/shop/{tenant}/orders/{id}\"\nrewrite = { path = \"/orders/{id}\" }";
    assert_eq!(rewritten(route, "/shop/acme/orders/17?full=1").target, "/orders/17?full=1");
}

#[test]
fn host_is_replaced_for_the_origin() {
    let seen = rewritten("rewrite = { host = \"orders.internal\" }", "/");
    assert_eq!(seen.all("host"), ["orders.internal"]);
    assert_eq!(seen.all("x-forwarded-host"), ["a.test"]);
}

#[test]
fn respond_answers_without_an_origin() {
    let route = r#"
        path = "/healthz"
        respond = { status = 200, body = "healthy\n", headers = { content-type = "text/plain" } }
    "#;
    let proxy = Configuration::default().route(route).start();
    let mut client = proxy.client();
    let answer = client.get("/healthz");
    assert_eq!((answer.status, answer.text().as_str()), (200, "healthy\n"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_problem(&client.get("/other"), 404, "no_route");
    client.send("HEAD /healthz HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!((head.status, head.header("content-length")), (200, Some("8")));
}

#[test]
fn redirect_fills_in_host_and_path() {
    let routes = r#"
        [[route]]
        path = "/old/*"
        redirect = { to = "https://{host}{path}", status = 307 }
        [[route]]
        path = "/moved"
        redirect = { to = "/here" }
    "#;
    let proxy = Configuration::default().toml(routes).start();
    let mut client = proxy.client();
    let answer = client.get("/old/page");
    assert_eq!(answer.status, 307);
    assert_eq!(answer.header("location"), Some("https://a.test/old/page"));
    let moved = client.get("/moved");
    assert!((301..=308).contains(&moved.status), "{}", moved.status);
    assert_eq!(moved.header("location"), Some("/here"));
}

#[test]
fn a_redirect_takes_the_rest_of_the_path_along() {
    let routes = r#"
        [[route]]
        path = ["/blog/*", "/blog/{year}/more/*"]
        redirect = { to = "https://blog.test/posts/*" }
        [[route]]
        path = "/raw/*"
        path_encoding = "raw"
        redirect = { to = "/*" }
        [[route]]
        path = "/users/{id}/*"
        redirect = { to = "/u/{id}/*" }
    "#;
    let proxy = Configuration::default().toml(routes).start();
    for (path, to) in [
        ("/blog/2026/tide?a=1", "https://blog.test/posts/2026/tide?a=1"),
        ("/blog/2026/more/x", "https://blog.test/posts/x"),
        ("/blog/", "https://blog.test/posts/"),
        ("/blog", "https://blog.test/posts"),
        ("/raw/x%2Fy", "/x%2Fy"),
        ("/raw//evil.test", "/.//evil.test"),
        ("/raw", "/"),
        ("/users/7/a/b", "/u/7/a/b"),
    ] {
        let answer = proxy.client().get(path);
        assert_eq!((answer.status, answer.header("location")), (308, Some(to)), "{path}");
    }
}

#[test]
fn a_redirect_to_a_path_leads_to_no_other_host() {
    let routes = r#"
        [[route]]
        path = "/raw/{x}"
        path_encoding = "raw"
        redirect = { to = "/{x}" }
        [[route]]
        path = "/*"
        redirect = { to = "/{path}" }
        [[route]]
        path = "/away/{x}"
        redirect = { to = "//b.test/{x}" }
    "#;
    let proxy = Configuration::default().toml(routes).start();
    for (path, to) in [
        ("/raw/evil.test", "/evil.test"),
        ("/raw/\\evil.test", "/./\\evil.test"),
        ("/evil.test", "/.//evil.test"),
        ("/away/x", "//b.test/x"),
    ] {
        assert_eq!(proxy.client().get(path).header("location"), Some(to), "{path}");
    }
}

#[test]
fn a_listener_can_send_everyone_to_https() {
    let redirecting = Configuration::default().listen("redirect = 'https'");
    let proxy = redirecting.route("respond = { status = 200, body = 'never' }").start();
    let answer = proxy.client().get("/a/b?c=d");
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), Some("https://a.test/a/b?c=d"));
}

#[test]
fn a_split_follows_its_weights_roughly() {
    let (main, canary) = (Origin::ok("main"), Origin::ok("canary"));
    let split = Configuration::default().route("upstream = { main = 80, canary = 20 }");
    let proxy = split.upstream("main", [&main], "").upstream("canary", [&canary], "").start();
    let mut client = proxy.client();
    for _ in 0..500 {
        assert_eq!(client.get("/").status, 200);
    }
    // 100 expected; five standard deviations are 45.
    let share = canary.requests().len();
    assert!((55..=145).contains(&share), "{share} of 500 went to the canary");
    assert_eq!(main.requests().len() + share, 500);
}

#[test]
fn the_path_that_was_matched_is_the_path_that_is_forwarded() {
    let (public, admin) = (Origin::ok("public"), Origin::ok("admin"));
    let proxy = Configuration::default()
        .upstream("public", [&public], "")
        .upstream("admin", [&admin], "")
        .route("path = '/pub/*'\nupstream = 'public'")
        .route("path = '/admin/*'\nupstream = 'admin'")
        .start();
    assert_eq!(proxy.client().get("/pub/../admin/x").text(), "admin");
    assert_eq!(admin.only_request().target, "/admin/x");
    assert!(public.requests().is_empty());
}

#[test]
fn a_redirect_has_the_groups_of_the_expression() {
    let origin = Origin::ok("fine");
    let routes = r#"
        [[route]]
        path_regex = '^/old/(\d+)(?:/(?<page>[^/]+))?$'
        redirect = { to = "/new/$1?page=$page&dollar=$$1" }
        [[route]]
        path_regex = '^/named/(?<id>\d+)/(x|y)$'
        redirect = { to = "/n/{id}/{2}z", status = 301 }
        [[route]]
        path_regex = '^/legacy(.*)$'
        redirect = { to = "https://b.test$1" }
        [[route]]
        path_regex = "^/moved(.*)$"
        redirect = { to = "https://{host}$1" }
        [[route]]
        path_regex = '^/raw(/.*)$'
        path_encoding = "raw"
        redirect = { to = "/$1" }
        [[route]]
        path_regex = '^/u/(?<id>\d+)$'
        rewrite = { path = "/users/{id}" }
        request_headers = { set = { x-id = "{id}" } }
    "#;
    let proxy = Configuration::of(&origin).toml(routes).start();
    let mut client = proxy.client();
    for (target, status, location) in [
        ("/old/17", 308, "/new/17?page=&dollar=$1"),
        ("/old/17/edit?a=1", 308, "/new/17?page=edit&dollar=$1"),
        ("/old/17/%0d%0aset-cookie:%20a=1", 308, "/new/17?page=%0D%0Aset-cookie:%20a=1&dollar=$1"),
        ("/named/5/y?x=1", 301, "/n/5/yz?x=1"),
        ("/legacy/x", 308, "https://b.test/x"),
        ("/legacy", 308, "https://b.test"),
        // What was captured is no part of the host.
        ("/legacy.evil.test/x", 308, "https://b.test/.evil.test/x"),
        ("/legacy@evil.test", 308, "https://b.test/@evil.test"),
        ("/legacy:81", 308, "https://b.test/:81"),
        ("/moved/x", 308, "https://a.test/x"),
        ("/moved", 308, "https://a.test"),
        ("/moved.evil.test/x", 308, "https://a.test/.evil.test/x"),
        ("/moved@evil.test", 308, "https://a.test/@evil.test"),
        ("/raw//evil.test", 308, "/.///evil.test"),
        ("/raw/%0d%0ax", 308, "/.//%0d%0ax"),
    ] {
        let answer = client.get(target);
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, Some(location)),
            "{target}"
        );
        assert_eq!(answer.header("set-cookie"), None);
    }
    assert_eq!(client.get("/u/7").status, 200);
    let seen = origin.only_request();
    assert_eq!((&*seen.target, seen.header("x-id")), ("/users/7", Some("7")));
}
