//! Pages of other origins.

use crate::proxy;
use support::{Origin, Response, Step, Tidegate};

const ROUTE: &str = "method = ['GET', 'PUT']
    cors = { origins = ['https://shop.example'], methods = ['GET', 'PUT'], headers = ['content-type', 'x-token'], credentials = true, max_age = '10m' }";

fn ask(proxy: &Tidegate, method: &str, fields: &str) -> Response {
    proxy.client().exchange(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"))
}

#[test]
fn a_preflight_is_answered_here_even_if_the_route_has_no_options() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, ROUTE, "");
    let preflight = ask(
        &proxy,
        "OPTIONS",
        "Origin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token\r\n",
    );
    assert_eq!(preflight.status, 204);
    for (name, value) in [
        ("access-control-allow-origin", "https://shop.example"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "content-type, x-token"),
        ("access-control-max-age", "600"),
        ("vary", "origin"),
    ] {
        assert_eq!(preflight.header(name), Some(value), "{name}");
    }
    let stranger = ask(
        &proxy,
        "OPTIONS",
        "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n",
    );
    assert_eq!(stranger.status, 204);
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    assert_eq!(stranger.header("access-control-allow-methods"), None);
    // A method that no route has.
    let delete = "Origin: https://shop.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    assert_eq!(ask(&proxy, "OPTIONS", delete).status, 404);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn answers_may_be_read_by_those_who_are_listed_whatever_the_server_says() {
    let origin = Origin::start(|_| {
        let answer =
            b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 4\r\n\r\nfine";
        vec![Step::Send(answer.to_vec())]
    });
    let proxy = proxy(&origin, ROUTE, "");
    let read = ask(&proxy, "GET", "Origin: https://shop.example\r\n");
    assert_eq!(read.all("access-control-allow-origin"), ["https://shop.example"]);
    assert_eq!(read.header("vary"), Some("origin"));
    let stranger = ask(&proxy, "GET", "Origin: https://evil.example\r\n");
    assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (200, None));
    let same = ask(&proxy, "GET", "");
    assert_eq!((same.status, same.header("vary")), (200, Some("origin")));
}

#[test]
fn refusals_may_be_read_as_well() {
    let origin = Origin::ok("fine");
    let route = format!("{ROUTE}\n limit = {{ rate = '1/h' }}");
    let proxy = proxy(&origin, &route, "");
    let fields = "Origin: https://shop.example\r\n";
    assert_eq!(ask(&proxy, "GET", fields).status, 200);
    let refused = ask(&proxy, "GET", fields);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://shop.example"));
    assert!(refused.header("ratelimit").is_some());
}
