//! What routes do beside choosing servers.

use crate::scenario::scenario;
use support::{Origin, Step, refused_address};

#[test]
fn s2_3_a_client_gets_its_burst_and_others_do_not_notice() {
    let origin = Origin::ok("api");
    let proxy = scenario("s2.3-rate-limit").server("10.0.0.1:8080", &origin).start();
    let mut client = proxy.client();
    let passed = (0..60).filter(|_| client.get("/api/x").status == 200).count();
    // Twenty-one at once, and those that came due meanwhile.
    assert!((21..=27).contains(&passed), "{passed}");
    assert_eq!(client.get("/elsewhere").status, 200);
    let limit = proxy.stats()["limits"][0].take();
    assert_eq!(limit["refused"].as_u64(), Some(60 - passed as u64));
    assert_eq!(limit["keys"], 1);
    // Room for 160 000 clients.
    assert_eq!(limit["key_limit"], 200_000);
}

#[test]
fn s2_4_every_response_has_the_headers() {
    let origin = Origin::ok("site");
    let good = scenario("s2.4-security-headers").server("10.0.0.1:8080", &origin).start();
    let broken = scenario("s2.4-security-headers");
    let broken = broken.with("10.0.0.1:8080", &refused_address().to_string()).start();
    for (proxy, status) in [(good, 200), (broken, 502)] {
        let answer = proxy.client().get("/");
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("x-xss-protection"), Some("1; mode=block"));
    }
}

#[test]
fn s1_7_sessions_are_checked_and_the_identity_goes_on() {
    let identity = Origin::start(|request| {
        let known = request.header("cookie") == Some("session=anna");
        let answer: &[u8] = if known {
            b"HTTP/1.1 200 OK\r\nX-User: anna\r\nContent-Length: 0\r\n\r\n"
        } else {
            b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"
        };
        vec![Step::Send(answer.to_vec())]
    });
    let api = Origin::ok("api");
    let proxy = scenario("s1.7-auth");
    let proxy = proxy.server("10.0.0.1:8080", &api).server("10.0.0.9:9000", &identity).start();
    let ask = |cookie: &str| {
        let request = format!("GET /api/x HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\n\r\n");
        proxy.client().exchange(request)
    };
    assert_eq!(ask("session=nobody").status, 401);
    assert_eq!(ask("session=anna").text(), "api");
    assert_eq!(api.only_request().header("x-user"), Some("anna"));
    assert_eq!(proxy.client().get("/healthz").status, 200);
}
