//! Header fields: who the client is, what stays behind, and what the configuration changes.

use crate::setup::{one, plain};
use support::{Configuration, Origin, Request, Response, Step, Tidegate, ok};

fn asked(proxy: &Tidegate, origin: &Origin, fields: &str) -> (Response, Request) {
    let answer =
        proxy.client().exchange(format!("GET /x HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    assert_eq!(answer.status, 200);
    (answer, origin.requests().pop().unwrap())
}

#[test]
fn the_origin_learns_who_the_client_is() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let (_, seen) = asked(&proxy, &origin, "");
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["a.test"]);
    assert_eq!(seen.all("host"), ["a.test"]);
}

#[test]
fn strangers_cannot_say_who_they_are() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let (_, seen) = asked(
        &proxy,
        &origin,
        "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\n",
    );
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["a.test"]);
    assert!(!seen.all("forwarded").iter().any(|v| v.contains("6.6.6.6")));
}

#[test]
fn trusted_proxies_are_believed() {
    let origin = Origin::ok("ok");
    let listen = "trusted_proxies = [\"127.0.0.1/32\"]";
    let proxy = one(&origin).listen(listen).start();
    let (_, seen) = asked(
        &proxy,
        &origin,
        "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: shop.test\r\nX-Request-Id: from-outside-1\r\n",
    );
    assert_eq!(seen.all("x-forwarded-for").join(", "), "203.0.113.7, 127.0.0.1");
    assert_eq!(seen.all("x-real-ip"), ["203.0.113.7"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("x-forwarded-host"), ["shop.test"]);
    assert_eq!(seen.all("x-request-id"), ["from-outside-1"]);
}

#[test]
fn every_request_has_its_own_id() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let ids: Vec<String> = (0..3)
        .map(|_| {
            let (_, seen) = asked(&proxy, &origin, "");
            assert_eq!(seen.all("x-request-id").len(), 1);
            seen.header("x-request-id").unwrap().to_owned()
        })
        .collect();
    assert!(ids.iter().all(|id| id.len() >= 8), "{ids:?}");
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

#[test]
fn via_is_off_by_default() {
    let origin = Origin::ok("ok");
    let proxy = plain(&origin);
    let (answer, seen) = asked(&proxy, &origin, "");
    assert_eq!(answer.header("via"), None);
    assert_eq!(seen.header("via"), None);
}

#[test]
fn fields_of_one_connection_do_not_travel() {
    let origin = Origin::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                      Proxy-Authenticate: Basic\r\nX-End: 1\r\nContent-Length: 2\r\n\r\nok";
        vec![Step::Send(answer.into())]
    });
    let proxy = plain(&origin);
    let (answer, seen) = asked(
        &proxy,
        &origin,
        "Connection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nX-End: 1\r\n",
    );
    for name in ["x-mine", "keep-alive", "proxy-connection"] {
        assert_eq!(seen.header(name), None, "{name} reached the origin");
    }
    for name in ["x-hop", "keep-alive"] {
        assert_eq!(answer.header(name), None, "{name} reached the client");
    }
    assert_eq!((seen.header("x-end"), answer.header("x-end")), (Some("1"), Some("1")));
}

#[test]
fn repeated_fields_keep_their_order() {
    let origin = Origin::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-A: 1\r\nSet-Cookie: b=2\r\n\
                      Content-Length: 2\r\n\r\nok";
        vec![Step::Send(answer.into())]
    });
    let proxy = plain(&origin);
    let (answer, seen) = asked(&proxy, &origin, "Accept: a\r\nX-A: 1\r\nAccept: b\r\n");
    assert_eq!(seen.all("accept"), ["a", "b"]);
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn request_headers_are_set_added_and_removed() {
    let origin = Origin::ok("ok");
    let route = r#"request_headers = { set = { x-env = "prod" }, add = { x-tag = "new" }, remove = ["x-debug"] }"#;
    let proxy = one(&origin).route(route).start();
    let (_, seen) = asked(
        &proxy,
        &origin,
        "X-Env: dev\r\nX-Env: test\r\nX-Tag: old\r\nX-Debug: 1\r\nx-debug: 2\r\n",
    );
    assert_eq!(seen.all("x-env"), ["prod"]);
    assert_eq!(seen.all("x-tag"), ["old", "new"]);
    assert_eq!(seen.header("x-debug"), None);
}

#[test]
fn response_headers_are_set_added_and_removed() {
    let origin = Origin::start(|_| {
        let answer = "HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Frame-Options: ALLOW\r\n\
                      Vary: a\r\nContent-Length: 2\r\n\r\nok";
        vec![Step::Send(answer.into())]
    });
    let route = r#"response_headers = { set = { x-frame-options = "DENY" }, add = { vary = "b" }, remove = ["server"] }"#;
    let proxy = one(&origin).route(route).start();
    let (answer, _) = asked(&proxy, &origin, "");
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.all("vary"), ["a", "b"]);
    assert_eq!(answer.header("server"), None);
}

#[test]
fn security_fields_are_on_the_proxys_own_answers_too() {
    let route = r#"
        respond = { status = 200, body = "hi", headers = { content-type = "text/plain" } }
        response_headers = { set = { x-frame-options = "DENY" } }
    "#;
    let proxy = Configuration::default().route(route).start();
    let answer = proxy.client().get("/");
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
    assert_eq!(answer.all("content-type"), ["text/plain"]);
}

#[test]
fn a_large_head_within_the_limit_passes_unchanged() {
    let origin = Origin::start(|request| vec![Step::Send(ok(request.header("cookie").unwrap()))]);
    let proxy = plain(&origin);
    let cookie = "c=".to_owned() + &"x".repeat(20_000);
    let (answer, _) = asked(&proxy, &origin, &format!("Cookie: {cookie}\r\n"));
    assert_eq!(answer.text(), cookie);
}
