//! Header values with places in them, and sets of changes that routes share.

use support::{Configuration, Origin, Request, Step, Tidegate};

/// Changes of headers around one server.
fn proxy(origin: &Origin, route: &str) -> Tidegate {
    let shared = r#"
        [headers.security]
        set = { x-frame-options = "DENY", x-who = "{client_ip}" }
        remove = ["server"]
        [headers.later]
        set = { x-frame-options = "SAMEORIGIN" }
        add = { x-more = "{route}" }
        remove = ["x-who"]
        [[route]]
        path = "/closed"
        response_headers = { set = { x-id = "{request_id}", x-server = "s-{server}" } }
        respond = { status = 204 }
        [[route]]
        path = "/small"
        body_limit = "1B"
        response_headers = { set = { x-id = "{request_id}" } }
    "#;
    Configuration::default()
        .listen("trusted_proxies = ['127.0.0.2']")
        .upstream_with("app", &format!("servers = [{{ address = '{origin}', name = 'one' }}]"))
        .route(&format!(
            "name = 'users'\npath = ['/u/{{id}}/{{kind}}', '/v/{{kind}}/{{id}}']\n{route}"
        ))
        .toml(shared)
        .start()
}

fn seen(route: &str, request: &str) -> Request {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, route);
    assert_eq!(proxy.client().exchange(request).status, 200);
    origin.only_request()
}

#[test]
fn c9_every_placeholder_is_filled_in_for_the_server() {
    let route = r#"request_headers = { set = { x-a = "{client_ip}|{request_id}|{host}|{path}|{query}|{scheme}|{port}", x-b = "{route}|{upstream}|{server}|{id}|{kind}|{header.x-in}|{{id}", x-none = "{client_cert.subject}", x-forwarded-for = "{client_ip}" }, add = { x-in = "{header.X-In}2" } }"#;
    let request = "GET /u/7/blue%2d?q=1&r HTTP/1.1\r\nHost: A.test:8080\r\nX-Request-Id: r-1\r\nX-In: in\r\nX-None: forged\r\n\r\n";
    let seen = seen(route, request);
    assert_eq!(seen.all("x-a"), ["127.0.0.1|r-1|a.test|/u/7/blue-|q=1&r|http|8080"]);
    assert_eq!(seen.all("x-b"), ["users|app|one|7|blue-|in|{id}"]);
    // A value that is empty is not written, and the client's own is gone all the same.
    assert_eq!(seen.all("x-none"), [""; 0]);
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-in"), ["in", "in2"]);
}

#[test]
fn c9_captures_are_those_of_the_path_that_matched() {
    let route = r#"request_headers = { set = { x-a = "{id}/{kind}" } }"#;
    let request = "GET /v/blue/7 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(seen(route, request).all("x-a"), ["7/blue"]);
}

#[test]
fn c9_clients_are_told_the_server_too_and_refusals_the_rest() {
    let origin = Origin::start(|_| {
        vec![Step::Send(b"HTTP/1.1 200 OK\r\nX-S: own\r\nContent-Length: 2\r\n\r\nok".to_vec())]
    });
    let route =
        r#"response_headers = { set = { x-s = "{upstream}/{server}", x-id = "{request_id}" } }"#;
    let proxy = proxy(&origin, route);
    let get = |path: &str| {
        let id = "X-Request-Id: r-2\r\n";
        proxy.client().exchange(format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{id}\r\n"))
    };
    let answer = get("/u/7/blue");
    assert_eq!((answer.all("x-s"), answer.all("x-id")), (vec!["app/one"], vec!["r-2"]));
    let own = get("/closed");
    assert_eq!((own.status, own.all("x-id")), (204, vec!["r-2"]));
    // No server was asked.
    assert_eq!(own.all("x-server"), [""; 0]);
}

#[test]
fn sets_of_header_changes_are_merged_in_their_order() {
    let origin = Origin::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nServer: s\r\nX-More: 1\r\nContent-Length: 2\r\n\r\nok";
        vec![Step::Send(head.as_bytes().to_vec())]
    });
    let one = proxy(&origin, "response_headers = \"security\"");
    let answer = one.client().get("/u/7/blue");
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.all("x-who"), ["127.0.0.1"]);
    assert_eq!(answer.all("server"), [""; 0]);
    let route = r#"response_headers = ["security", "later", { set = { x-last = "{id}" }, remove = ["x-frame-options"] }]"#;
    let all = proxy(&origin, route);
    let answer = all.client().get("/u/7/blue");
    for (name, expected) in [
        ("x-frame-options", vec![]),
        ("x-who", vec![]),
        ("server", vec![]),
        ("x-more", vec!["1", "users"]),
        ("x-last", vec!["7"]),
    ] {
        assert_eq!(answer.all(name), expected, "{name}");
    }
}
