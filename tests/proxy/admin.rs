//! The operator's side: alive, ready, and what is going on.

use support::{
    Configuration, Gate, Origin, RawClient, Response, SOON, Step, Tidegate, assert_problem, ok,
    wait_until,
};

fn with_admin(origin: &Origin) -> Tidegate {
    Configuration::of(origin).listen("name = 'public'").route("name = 'everything'").start()
}

fn ask(proxy: &Tidegate, path: &str) -> Response {
    RawClient::connect(proxy.admin())
        .exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

#[test]
fn a_running_proxy_is_alive_and_ready() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    assert_eq!(ask(&proxy, "/live").status, 200);
    assert_eq!(ask(&proxy, "/ready").status, 200);
}

#[test]
fn stats_are_json_and_name_what_the_file_names() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    for _ in 0..3 {
        assert_eq!(proxy.client().get("/").status, 200);
    }
    let stats = ask(&proxy, "/stats");
    assert_eq!(stats.status, 200);
    assert_eq!(stats.header("content-type"), Some("application/json"));
    let json: serde_json::Value = serde_json::from_slice(&stats.body).unwrap();
    for key in ["routes", "upstreams"] {
        assert!(json.get(key).is_some(), "no {key} in {json}");
    }
    let text = stats.text();
    for name in ["everything", "app", origin.server().as_str(), "connections"] {
        assert!(text.contains(name), "no {name} in {text}");
    }
}

#[test]
fn the_admin_side_is_not_reachable_through_a_listener() {
    let origin = Origin::ok("from the origin");
    let proxy = with_admin(&origin);
    assert_eq!(proxy.client().get("/stats").text(), "from the origin");
    assert_eq!(proxy.client().get("/live").text(), "from the origin");
}

#[test]
fn an_unknown_admin_path_is_not_found() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    assert_eq!(ask(&proxy, "/nothing").status, 404);
}

fn order(proxy: &Tidegate, what: &str, fields: &str) -> Response {
    RawClient::connect(proxy.admin()).exchange(format!(
        "POST {what} HTTP/1.1\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

const LOCAL: &str = "Host: localhost\r\n";

#[test]
fn a_drained_server_finishes_what_it_has_and_gets_nothing_new() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(held.clone()), Step::Send(ok("done"))]);
    let proxy = with_admin(&origin);
    let mut under_way = proxy.client();
    under_way.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_until(SOON, "the request arrives", || origin.requests().len() == 1);
    let call = |order: &str| format!("/upstreams/app/servers/{}/{order}", origin.server());
    let answer = order(&proxy, &call("drain"), LOCAL);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"state\":\"draining\""), "{}", answer.text());
    assert_problem(&proxy.client().get("/"), 503, "servers_draining");
    gate.open();
    assert_eq!(under_way.response().text(), "done");
    assert_eq!(order(&proxy, &call("enable"), LOCAL).status, 200);
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(order(&proxy, &call("disable"), LOCAL).status, 200);
    assert!(ask(&proxy, "/upstreams/app").text().contains("\"state\":\"disabled\""));
    for wrong in ["/upstreams/app/servers/x/drain", "/upstreams/x/servers/y/drain"] {
        assert_eq!(order(&proxy, wrong, LOCAL).status, 404);
    }
    assert_eq!(order(&proxy, &call("explode"), LOCAL).status, 404);
    assert_eq!(ask(&proxy, &call("enable")).status, 405);
}

#[test]
fn orders_from_elsewhere_are_refused() {
    let origin = Origin::ok("ok");
    let proxy = with_admin(&origin);
    let call = format!("/upstreams/app/servers/{}/drain", origin.server());
    for (fields, code) in [
        ("Host: evil.example\r\n", "foreign_host"),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", "foreign_origin"),
    ] {
        assert_problem_body(&order(&proxy, &call, fields), 403, code);
    }
    assert_eq!(proxy.client().get("/").status, 200);
}

fn assert_problem_body(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{}", response.text());
    assert!(response.text().contains(&format!("\"code\":\"{code}\"")), "{}", response.text());
}

#[test]
fn changes_need_the_token() {
    let origin = Origin::ok("ok");
    let proxy = Configuration::of(&origin).admin("token = 's3cret'").start();
    let call = format!("/upstreams/app/servers/{}/drain", origin.server());
    let refused = order(&proxy, &call, LOCAL);
    assert_problem_body(&refused, 401, "token_required");
    assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
    let with_token = format!("{LOCAL}Authorization: Bearer s3cret\r\n");
    assert_eq!(order(&proxy, &call, &with_token).status, 200);
    assert_eq!(ask(&proxy, "/stats").status, 200);
}
