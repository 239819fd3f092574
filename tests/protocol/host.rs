//! Table D: who is being asked (RFC 9112 §3.2, RFC 9110 §4.2, §7.2).

use crate::row::{BAD, Expect, Row, passes, row, run};

pub fn rows() -> Vec<Row> {
    let bad = |id, name, lines: &str| {
        row(id, name, &format!("GET /row HTTP/1.1\r\n{lines}\r\n\r\n"), Expect::Refused(BAD))
    };
    let bad_target = |id, name, target: &str| {
        let input = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        row(id, name, &input, Expect::Refused(BAD))
    };
    let canonical = |name, host: &str| {
        let input = format!("GET /canon HTTP/1.1\r\nHost: {host}\r\n\r\n");
        row("D12", name, &input, Expect::Here(200, "canon"))
    };
    vec![
        bad("D1", "no Host", "X-A: 1"),
        bad("D2", "two different Host lines", "Host: a.test\r\nHost: b.test"),
        bad("D3", "two equal Host lines", "Host: a.test\r\nHost: a.test"),
        bad("D4", "two hosts on one line", "Host: a.test, b.test"),
        bad("D5", "userinfo", "Host: u:p@a.test"),
        bad("D6", "a slash", "Host: a.test/x"),
        bad("D6", "a space", "Host: a.test b.test"),
        bad("D6", "markup", "Host: <script>"),
        bad("D6", "non-ASCII", "Host: caf\u{e9}.test"),
        bad("D7", "port 99999", "Host: a.test:99999"),
        bad("D7", "a port that is not a number", "Host: a.test:x"),
        bad("D7", "userinfo after a colon", "Host: a.test:x@evil"),
        bad("D8", "an unclosed bracket", "Host: [::1"),
        bad("D8", "brackets around no address", "Host: [zz]"),
        bad("D9", "an empty Host", "Host:"),
        bad_target("D10", "an absolute target that differs from Host", "http://b.test/row"),
        row(
            "D10",
            "an absolute target that equals Host",
            "GET http://a.test/row?x=1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
            passes().target("/row?x=1").field("host", "a.test").into(),
        ),
        bad_target("D11", "an absolute target with userinfo", "http://u:p@a.test/row"),
        canonical("as configured", "canon.test"),
        canonical("upper case", "CANON.Test"),
        canonical("a trailing dot", "canon.test."),
        canonical("the default port", "canon.test:80"),
        canonical("another port", "canon.test:8080"),
    ]
}

#[test]
fn exactly_one_sound_host_is_needed() {
    run(&rows());
}
