//! Table E: what belongs to one connection stays there (RFC 9110 §7.6.1, §7.8, §10.1.1).

use crate::row::{BAD, EXPECTATION, Expect, Row, UPGRADE, get_with, passes, post_with, row, run};

pub fn rows() -> Vec<Row> {
    let mut rows = connection_rows();
    rows.extend(upgrade_rows());
    rows.extend(expect_rows());
    rows
}

fn connection_rows() -> Vec<Row> {
    let protected = |name, lines: &str| row("E1", name, &get_with(lines), Expect::Refused(BAD));
    let removed = |name, lines: &str, gone: &'static str| {
        row("E3", name, &get_with(lines), passes().without(&[gone]).into())
    };
    vec![
        protected("Connection names Host", "Connection: close, Host"),
        protected("Connection names Cookie", "Cookie: a=1\r\nConnection: Cookie"),
        protected(
            "Connection names Authorization",
            "Authorization: x\r\nConnection: Authorization",
        ),
        row(
            "E1",
            "Connection names Content-Length",
            &post_with("Content-Length: 5\r\nConnection: Content-Length", "hello"),
            Expect::Refused(BAD),
        ),
        row(
            "E2",
            "Connection names X-Forwarded-For",
            &get_with("X-Forwarded-For: 6.6.6.6\r\nConnection: X-Forwarded-For"),
            passes().field("x-forwarded-for", "127.0.0.1").unlike("connection", "orwarded").into(),
        ),
        row(
            "E2",
            "a nominated field",
            &get_with("X-Hop: 1\r\nConnection: X-Hop"),
            passes().without(&["x-hop"]).unlike("connection", "op").into(),
        ),
        removed("Keep-Alive", "Keep-Alive: timeout=5", "keep-alive"),
        removed("Proxy-Connection", "Proxy-Connection: keep-alive", "proxy-connection"),
        removed("TE: gzip", "TE: gzip", "te"),
        removed("TE: gzip, nominated", "TE: gzip\r\nConnection: TE", "te"),
        removed("Upgrade without Connection", "Upgrade: foo/2", "upgrade"),
    ]
}

fn upgrade_rows() -> Vec<Row> {
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let plain = || Expect::from(passes().without(&["upgrade"]));
    vec![
        row(
            "E4",
            "h2c",
            &get_with(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
            ),
            passes().without(&["upgrade", "http2-settings"]).into(),
        ),
        row(
            "E6",
            "WebSocket version 777",
            &get_with(&format!(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n{key}"
            )),
            Expect::Answered(UPGRADE),
        ),
        row(
            "E6",
            "a short WebSocket key",
            &get_with(
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: abc",
            ),
            Expect::Answered(UPGRADE),
        ),
        row(
            "E6",
            "WebSocket without Connection: upgrade",
            &get_with(&format!("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{key}")),
            Expect::OneOf(vec![plain(), Expect::Answered(UPGRADE)]),
        ),
        row(
            "E7",
            "an upgrade on HTTP/1.0",
            &format!(
                "GET /row HTTP/1.0\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\n{key}\r\n\r\n"
            ),
            plain(),
        ),
        row(
            "E7",
            "an upgrade on POST with a body",
            &post_with(
                &format!(
                    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     {key}\r\nContent-Length: 5"
                ),
                "hello",
            ),
            passes().without(&["upgrade"]).body("hello").into(),
        ),
    ]
}

fn expect_rows() -> Vec<Row> {
    vec![
        row(
            "E10",
            "an unknown expectation",
            &get_with("Expect: 200-ok"),
            Expect::Answered(EXPECTATION),
        ),
        row(
            "E10",
            "an expectation that only ends like the known one",
            &get_with("Expect: y 100-continue"),
            Expect::Answered(EXPECTATION),
        ),
        row(
            "E11",
            "an expectation on HTTP/1.0",
            "POST /row HTTP/1.0\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
            passes().without(&["expect"]).body("hello").into(),
        ),
    ]
}

#[test]
fn connection_fields_and_expectations_do_not_travel() {
    run(&rows());
}
