//! Table C: request line, target and field syntax (RFC 9112 §2–5, RFC 9110 §5.5).

use crate::row::{
    BAD, BAD_OR_UNIMPLEMENTED, Expect, NOT_ALLOWED, ODD_METHOD, Row, TOO_LARGE_HEAD, TOO_LONG,
    VERSION, get_with, passes, row, run,
};

pub fn syntax_rows() -> Vec<Row> {
    let bad = |id, name, input: &str| row(id, name, input, Expect::Refused(BAD));
    let field = |id, name, line: &str| row(id, name, &get_with(line), Expect::Refused(BAD));
    vec![
        bad("C1", "LF after the request line", "GET /row HTTP/1.1\nHost: a.test\r\n\r\n"),
        bad("C1", "LF after a field", "GET /row HTTP/1.1\r\nHost: a.test\nX-A: 1\r\n\r\n"),
        bad("C1", "LF for the blank line", "GET /row HTTP/1.1\r\nHost: a.test\r\n\n"),
        bad("C1", "LF everywhere", "GET /row HTTP/1.1\nHost: a.test\n\n"),
        field("C2", "bare CR in a value", "X-A: v\rContent-Length: 5"),
        field("C2", "bare CR at the end of a value", "X-A: v\r"),
        field("C3", "NUL in a value", "X-A: a\0b"),
        field("C3", "NUL as the value", "X-A: \0"),
        bad("C4", "NUL in the target", "GET /a\0b HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        field("C5", "ESC in a value", "X-A: \x1b[31m"),
        field("C5", "01 in a value", "X-A: a\x01"),
        field("C5", "VT in a value", "X-A: a\x0bb"),
        field("C5", "DEL in a value", "X-A: a\x7f"),
        row(
            "C6",
            "obs-text in a value",
            &get_with("X-A: caf\u{e9} \u{80}\u{ff}"),
            passes().field("x-a", "caf\u{e9} \u{80}\u{ff}").into(),
        ),
        bad("C7", "raw non-ASCII in the target", "GET /caf\u{e9} HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        field("C8", "non-ASCII in a name", "X-\u{e9}: 1"),
        field("C8", "an empty name", ": 1"),
        field("C8", "a name without a colon", "X-A"),
        field("C8", "a parenthesis in a name", "X-(A): 1"),
        field("C9", "a folded field", "X-A: 1\r\n 2"),
        field("C9", "a field folded with a tab", "X-A: 1\r\n\t2"),
        bad("C10", "space before the first field", "GET /row HTTP/1.1\r\n Host: a.test\r\n\r\n"),
        field("C10", "space before a colon", "X-A : 1"),
        field("C10", "tab before a colon", "X-A\t: 1"),
        bad("C11", "two spaces before the target", "GET  /row HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        bad("C11", "two spaces before the version", "GET /row  HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        bad("C11", "tab before the target", "GET\t/row HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        bad("C11", "CR before the version", "GET /row\rHTTP/1.1\r\nHost: a.test\r\n\r\n"),
        bad("C11", "space after the version", "GET /row HTTP/1.1 \r\nHost: a.test\r\n\r\n"),
        bad("C11", "space before the method", " GET /row HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        bad("C12", "space in the target", "GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        row("C13", "HTTP/0.9", "GET /p\r\n\r\n", Expect::Closed(&[400, 505])),
        row(
            "C13",
            "0.9 with a field",
            "GET /p\r\nHost: a.test\r\n\r\n",
            Expect::Closed(&[400, 505]),
        ),
        row(
            "C14",
            "HTTP/2.0 as text",
            "GET /row HTTP/2.0\r\nHost: a.test\r\n\r\n",
            Expect::Refused(VERSION),
        ),
        bad("C14", "HTTP/1.01", "GET /row HTTP/1.01\r\nHost: a.test\r\n\r\n"),
        bad("C14", "http/1.1", "GET /row http/1.1\r\nHost: a.test\r\n\r\n"),
    ]
}

pub fn target_rows() -> Vec<Row> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let bad = |id, name, target: &str| row(id, name, &get(target), Expect::Refused(BAD));
    let as_target =
        |id, name, target: &str, seen| row(id, name, &get(target), passes().target(seen).into());
    vec![
        bad("C16", "a fragment", "/p#frag"),
        bad("C16", "only a fragment", "#frag"),
        bad("C17", "no slash", "admin"),
        bad("C17", "an at-sign first", "@evil/p"),
        bad("C18", "an asterisk", "*"),
        bad("C19", "%zz", "/a%zz"),
        bad("C19", "% at the end", "/a%"),
        bad("C19", "half an escape at the end", "/a%2"),
        bad("C19", "%00", "/a%00b"),
        bad("C20", "%2f", "/pub%2fadmin"),
        bad("C20", "%2F in dot segments", "/pub/..%2Fadmin"),
        bad("C20", "%5c", "/pub%5cadmin"),
        bad("C20", "a backslash", "/pub\\..\\admin"),
        bad("C20", "..;/", "/pub/..;/admin"),
        bad("C20", "climbs above the root", "/../admin"),
        bad("C20", "climbs above the root, encoded", "/%2e%2e/admin"),
        as_target("C20", "dot segments", "/pub/../admin", "/admin"),
        as_target("C20", "encoded dot segments", "/pub/%2e%2e/admin", "/admin"),
        as_target("C20", "mixed dot segments", "/pub/.%2E/./admin", "/admin"),
        as_target("C20", "two slashes first", "//evil", "/evil"),
        as_target("C20", "a query is left alone", "/a/../b?x=../y//z", "/b?x=../y//z"),
    ]
}

pub fn size_rows() -> Vec<Row> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let fields = |n: usize| (0..n).map(|i| format!("X-{i}: 1\r\n")).collect::<String>();
    let with = |lines: &str| format!("GET /row HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
    vec![
        row("C21", "a target of 10 KB", &get(&format!("/{}", "a".repeat(10_000))), passes().into()),
        row(
            "C21",
            "a target of 70 KB",
            &get(&format!("/{}", "a".repeat(70_000))),
            Expect::Refused(TOO_LONG),
        ),
        row("C22", "90 fields", &with(&fields(90)), passes().field("x-89", "1").into()),
        row("C22", "150 fields", &with(&fields(150)), Expect::Refused(TOO_LARGE_HEAD)),
        row("C22", "3 000 fields", &with(&fields(3_000)), Expect::Refused(TOO_LARGE_HEAD)),
        row(
            "C22",
            "a field of 100 KB",
            &with(&format!("X-A: {}\r\n", "a".repeat(100_000))),
            Expect::Refused(TOO_LARGE_HEAD),
        ),
        row(
            "C23",
            "a method of 10 KB",
            &format!("{} /row HTTP/1.1\r\nHost: a.test\r\n\r\n", "A".repeat(10_000)),
            Expect::Refused(BAD_OR_UNIMPLEMENTED),
        ),
        row(
            "C23",
            "a method of 33 bytes",
            &format!("{} /row HTTP/1.1\r\nHost: a.test\r\n\r\n", "A".repeat(33)),
            Expect::OneOf(vec![
                Expect::Refused(BAD_OR_UNIMPLEMENTED),
                Expect::Answered(BAD_OR_UNIMPLEMENTED),
            ]),
        ),
    ]
}

pub fn method_rows() -> Vec<Row> {
    let line = |start: &str| format!("{start} HTTP/1.1\r\nHost: a.test\r\n\r\n");
    vec![
        row("C15", "a method in lower case", &line("get /row"), Expect::Answered(ODD_METHOD)),
        row("C24", "TRACE", &line("TRACE /row"), Expect::Answered(NOT_ALLOWED)),
        row(
            "C24",
            "TRACE with a body",
            "TRACE /row HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
            Expect::Answered(&[400, 405]),
        ),
        row(
            "C25",
            "CONNECT",
            "CONNECT evil:443 HTTP/1.1\r\nHost: evil:443\r\n\r\n",
            Expect::Answered(ODD_METHOD),
        ),
        row(
            "C26",
            "OPTIONS that may not be forwarded",
            "OPTIONS /row HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n",
            Expect::Here(200, ""),
        ),
        row(
            "C26",
            "OPTIONS that may be forwarded is counted down",
            "OPTIONS /row HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 5\r\n\r\n",
            passes().field("max-forwards", "4").into(),
        ),
        row(
            "C26",
            "TRACE that may not be forwarded",
            "TRACE /row HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n",
            Expect::Answered(NOT_ALLOWED),
        ),
        row(
            "C27",
            "a TLS ClientHello",
            "\x16\x03\x01\x00\u{a5}\x01\x00\x00\u{a1}\x03\x03random bytes of a hello\x00\x20",
            Expect::Closed(BAD),
        ),
        // What HTTP/2 begins with is tried in tests/http2: it is spoken. Anything else of that
        // version is not.
        row(
            "C27",
            "a request line of HTTP/2",
            "GET / HTTP/2.0\r\n\r\n",
            Expect::Closed(&[400, 505]),
        ),
        row("C27", "noise", "\0\x01\x02\u{fe}\u{ff}\u{80}\0\0\0\0", Expect::Closed(BAD)),
        row("C28", "one CRLF first", &format!("\r\n{}", get_with("X-A: 1")), passes().into()),
        row(
            "C28",
            "two CRLF first",
            &format!("\r\n\r\n{}", get_with("X-A: 1")),
            Expect::OneOf(vec![passes().into(), Expect::Closed(BAD)]),
        ),
        row("C28", "2 MB of CRLF first", &"\r\n".repeat(1 << 20), Expect::Closed(BAD)),
    ]
}

#[test]
fn field_and_line_syntax_is_exact() {
    run(&syntax_rows());
}

#[test]
fn a_target_has_one_form_or_is_refused() {
    run(&target_rows());
}

#[test]
fn heads_are_bounded() {
    run(&size_rows());
}

#[test]
fn odd_methods_and_foreign_protocols_do_not_pass() {
    run(&method_rows());
}
