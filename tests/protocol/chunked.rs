//! Table B: chunked request bodies (RFC 9112 §7.1). The grammar is exact: no bare LF, no junk, no
//! sign, bounded extensions; a broken body ends both connections.

use crate::row::{Expect, Row, passes, post_with, row, run};

fn chunked(body: &str) -> String {
    post_with("Transfer-Encoding: chunked", body)
}

pub fn rows() -> Vec<Row> {
    let bad = |id, name, body: &str| row(id, name, &chunked(body), Expect::BrokenBody);
    let mut rows = vec![
        row(
            "B1",
            "an extension",
            &chunked("5;a=b\r\nhello\r\n0\r\n\r\n"),
            passes().body("hello").into(),
        ),
        row(
            "B1",
            "an extension on the last chunk",
            &chunked("5\r\nhello\r\n0;a=\"b c\"\r\n\r\n"),
            passes().body("hello").into(),
        ),
        bad("B2", "bare LF in an extension", "5;x\nhello\r\n0\r\n\r\n"),
        bad("B3", "bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        bad("B3", "two CR before an extension", "5\r\r;a\r\nhello\r\n0\r\n\r\n"),
        bad("B4", "CRLF in a quoted extension", "5;a=\"x\r\ny\"\r\nhello\r\n0\r\n\r\n"),
        bad(
            "B5",
            "20 KB of extension",
            &format!("5;a={}\r\nhello\r\n0\r\n\r\n", "b".repeat(20_000)),
        ),
        bad(
            "B5",
            "an extension on each of 200 one-byte chunks",
            &format!("{}0\r\n\r\n", format!("1;a={}\r\nx\r\n", "b".repeat(30)).repeat(200)),
        ),
        bad("B6", "LF after the size", "5\nhello\r\n0\r\n\r\n"),
        bad("B7", "LF after the data", "5\r\nhello\n0\r\n\r\n"),
        bad("B8", "LF LF after the last chunk", "5\r\nhello\r\n0\n\n"),
        bad("B8", "LF for the last blank line", "5\r\nhello\r\n0\r\n\n"),
        bad("B9", "junk after the data", "5\r\nhello!!\r\n0\r\n\r\n"),
        bad("B10", "two sizes", "5 5\r\nhello\r\n0\r\n\r\n"),
        bad("B10", "junk after the last size", "5\r\nhello\r\n0 junk\r\n\r\n"),
        bad("B10", "space after the size", "5 \r\nhello\r\n0\r\n\r\n"),
        bad("B11", "0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        bad("B11", "plus sign", "+5\r\nhello\r\n0\r\n\r\n"),
        bad("B11", "minus sign", "-1\r\nhello\r\n0\r\n\r\n"),
        bad("B11", "leading space", " 5\r\nhello\r\n0\r\n\r\n"),
        bad("B11", "17 digits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        bad("B12", "empty size line", "\r\nhello\r\n0\r\n\r\n"),
        bad("B13", "200 leading zeros", &format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(200))),
        bad("B13", "17 leading zeros", &format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(17))),
    ];
    rows.extend(trailers());
    rows
}

fn trailers() -> Vec<Row> {
    let trailer = |name: &'static str, line: &str, names: &[&'static str]| {
        let body = format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n");
        row("B14", name, &chunked(&body), passes().body("hello").without_trailers(names).into())
    };
    vec![
        trailer("trailer content-length", "Content-Length: 4", &["content-length"]),
        trailer("trailer transfer-encoding", "Transfer-Encoding: chunked", &["transfer-encoding"]),
        trailer("trailer host", "Host: evil.test", &["host"]),
        trailer("trailer authorization", "Authorization: Basic eA==", &["authorization"]),
        trailer("trailer x-forwarded-for", "X-Forwarded-For: 6.6.6.6", &["x-forwarded-for"]),
        trailer(
            "a forbidden trailer among others",
            "X-Sum: 1\r\nTransfer-Encoding: chunked\r\nX-End: 2",
            &["transfer-encoding"],
        ),
    ]
}

#[test]
fn the_chunk_grammar_is_exact() {
    run(&rows());
}
