//! Table G: nobody but the proxy says who the client is, and nothing a client sends can forge a
//! log line.

use std::net::SocketAddr;

use crate::row::{Expect, Row, get_with, passes, row, run};
use support::{Configuration, Origin, RawClient, SOON, escape, holds_within};

pub fn rows() -> Vec<Row> {
    let of = |id, name, line: &str, expect: Expect| row(id, name, &get_with(line), expect);
    vec![
        of(
            "G1",
            "X-Forwarded-For",
            "X-Forwarded-For: 6.6.6.6",
            passes().field("x-forwarded-for", "127.0.0.1").into(),
        ),
        of(
            "G1",
            "X-Forwarded-For on two lines",
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7",
            passes().field("x-forwarded-for", "127.0.0.1").into(),
        ),
        of(
            "G1",
            "X-Forwarded-Proto",
            "X-Forwarded-Proto: https",
            passes().field("x-forwarded-proto", "http").into(),
        ),
        of(
            "G1",
            "X-Forwarded-Host",
            "X-Forwarded-Host: evil.test",
            passes().unlike("x-forwarded-host", "evil").into(),
        ),
        of(
            "G1",
            "X-Forwarded-Port",
            "X-Forwarded-Port: 6666",
            passes().unlike("x-forwarded-port", "6666").into(),
        ),
        of(
            "G1",
            "Forwarded",
            "Forwarded: for=6.6.6.6",
            passes().unlike("forwarded", "6.6.6.6").into(),
        ),
        of(
            "G1",
            "X-Real-IP",
            "X-Real-IP: 6.6.6.6",
            passes().field("x-real-ip", "127.0.0.1").into(),
        ),
        of(
            "G1",
            "X-Client-Cert",
            "X-Client-Cert: forged",
            passes().without(&["x-client-cert"]).into(),
        ),
        of(
            "G1",
            "X-Client-Cert-Subject",
            "X-Client-Cert-Subject: CN=root",
            passes().without(&["x-client-cert-subject"]).into(),
        ),
        of(
            "G2",
            "X_Forwarded_For",
            "X_Forwarded_For: 6.6.6.6",
            passes().without(&["x_forwarded_for"]).field("x-forwarded-for", "127.0.0.1").into(),
        ),
        of("G2", "X_Real_IP", "X_Real_IP: 6.6.6.6", passes().without(&["x_real_ip"]).into()),
    ]
}

#[test]
fn identity_fields_of_clients_are_replaced() {
    run(&rows());
}

#[test]
fn the_client_is_the_first_untrusted_address_from_the_right() {
    let origin = Origin::ok("ok");
    let proxy = Configuration::of(&origin).listen("trusted_proxies = ['127.0.0.0/8']").start();
    let answer = proxy
        .client()
        .exchange(get_with("X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Forwarded-For: 127.0.0.9"));
    assert_eq!(answer.status, 200);
    let seen = origin.only_request();
    assert_eq!(seen.header("x-real-ip"), Some("203.0.113.7"), "{}", escape(&seen.head));
    let chain = seen.all("x-forwarded-for").join(", ");
    assert!(chain.ends_with("203.0.113.7, 127.0.0.9, 127.0.0.1"), "the chain is {chain}");
}

/// Sends a request that is refused, with hostile bytes wherever they may stand, and returns what
/// the proxy logs about it.
fn log_of_hostile_request(format: &str) -> String {
    let logging = Configuration::default().log(&format!("format = '{format}'\nlevel = 'debug'"));
    let proxy = logging.route("path = '/only'\nrespond = { status = 200 }").start();
    // U+202E turns the rest of a line around in a terminal; the quote ends a JSON string.
    let hostile = b"\xe2\x80\xae\xff\x9b31m\" forged=\"1";
    let mut request =
        b"GET /log?q=%0d%0a%1b[31m%22,%22status%22:999&end HTTP/1.1\r\nHost: a.test\r\n".to_vec();
    for name in ["User-Agent", "Referer", "X-Request-Id"] {
        request.extend_from_slice(&[name.as_bytes(), b": ", hostile, b"\r\n"].concat());
    }
    request.extend_from_slice(b"\r\n");
    assert_eq!(send(proxy.address(), &request), 404);
    let refused = |log: String| -> Vec<String> {
        log.lines().filter(|l| l.contains("request refused")).map(str::to_owned).collect()
    };
    let written = holds_within(SOON, &mut || !refused(proxy.log()).is_empty());
    assert!(written, "nothing about the refusal in the log: {}", proxy.log());
    let lines = refused(proxy.log());
    assert_eq!(lines.len(), 1, "one refusal, one line: {lines:?}");
    let line = lines[0].clone();
    let raw = line.bytes().find(|b| *b < b' ' || *b == 0x7f || *b == 0x9b || *b == 0xff);
    assert_eq!(raw, None, "raw byte in {}", line.escape_default());
    assert!(!line.contains("forged"), "{line}");
    assert!(line.contains("no_route"), "{line}");
    assert!(line.len() <= 8192, "{} bytes in one line", line.len());
    line
}

fn send(address: SocketAddr, request: &[u8]) -> u16 {
    RawClient::connect(address).exchange(request).status
}

#[test]
fn hostile_bytes_stay_escaped_in_a_json_log_line() {
    let line = log_of_hostile_request("json");
    let parsed: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
    assert_eq!(parsed["status"], 404);
}

#[test]
fn hostile_bytes_stay_escaped_in_a_text_log_line() {
    log_of_hostile_request("text");
}
